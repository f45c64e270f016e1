"""Errors of the wire, each with its HTTP status; they are sent as an OperationOutcome and never echo the request."""

from __future__ import annotations

from typing import Any


class HookError(Exception):
    """Base: an answer that is not 200. `code` is an OperationOutcome issue type."""

    status = 500
    code = "exception"


class Malformed(HookError):
    """400: the body is not JSON, or not a CDS Hooks request."""

    status = 400
    code = "structure"


class UnknownService(HookError):
    """404: there is no service of that id."""

    status = 404
    code = "not-found"


class PreconditionFailed(HookError):
    """412: data that a service cannot do without could not be had (requirement 54)."""

    status = 412
    code = "required"


class TooLarge(HookError):
    """413: the body is larger than the service reads."""

    status = 413
    code = "too-long"


class NotJson(HookError):
    """415: the body is declared as something else than JSON."""

    status = 415
    code = "not-supported"


def operation_outcome(code: str, diagnostics: str) -> dict[str, Any]:
    """A FHIR R4 OperationOutcome with one error."""
    return {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": code, "diagnostics": diagnostics}],
    }
