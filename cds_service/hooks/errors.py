"""Errors of the wire, each with its HTTP status; they are sent as an OperationOutcome and never echo the request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cds_service.errors import CdsError


class HookError(CdsError):
    """Base: an answer that is not 200. `code` is an OperationOutcome issue type."""

    status = 500
    code = "exception"
    headers: Mapping[str, str] = MappingProxyType({})
    """Headers that go with the answer."""


class Malformed(HookError):
    """400: the body is not JSON, or not a CDS Hooks request."""

    status = 400
    code = "structure"


class Unauthenticated(HookError):
    """401: the call carries no token, or none that can be accepted. `reason` is a word for counting and logging."""

    status = 401
    code = "login"

    def __init__(self, reason: str, says: str, error: str | None = "invalid_token") -> None:
        """`error` is that of RFC 6750; None where no token was sent."""
        super().__init__(says)
        self.reason = reason
        described = f', error="{error}", error_description="{says}"' if error else ""
        self.headers = {"WWW-Authenticate": f'Bearer realm="cds-services"{described}'}
        self.client: str | None = None
        """The configured id of whom the token says that it is from; nothing proves that."""
        self.expected = ""
        """What the token should have said, for the log."""


class UnknownService(HookError):
    """404: there is no service of that id."""

    status = 404
    code = "not-found"


class PreconditionFailed(HookError):
    """412: data that a service cannot do without could not be had (requirement 54)."""

    status = 412
    code = "required"


class TooSlow(HookError):
    """408: the body did not arrive in time."""

    status = 408
    code = "timeout"


class TooLarge(HookError):
    """413: the body is larger than the service reads."""

    status = 413
    code = "too-long"


class HeaderTooLarge(HookError):
    """431: address and header are larger than the service reads."""

    status = 431
    code = "too-long"


class NotJson(HookError):
    """415: the body is declared as something else than JSON."""

    status = 415
    code = "not-supported"


class TooManyRequests(HookError):
    """429: the client calls more often than its entry allows."""

    status = 429
    code = "throttled"

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many calls; try again in {seconds} s")
        self.headers = {"Retry-After": str(seconds)}


class Busy(HookError):
    """503: the service has as much in hand as it can do in time."""

    status = 503
    code = "throttled"
    headers: Mapping[str, str] = MappingProxyType({"Retry-After": "1"})

    def __init__(self) -> None:
        super().__init__("the service is busy; try again in 1 s")


def operation_outcome(code: str, diagnostics: str) -> dict[str, Any]:
    """A FHIR R4 OperationOutcome with one error."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": diagnostics}],
    }
