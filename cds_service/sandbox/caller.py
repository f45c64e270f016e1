"""The EHR's side of CDS Hooks: discovery, a call, feedback, each with a signed token where the client has a key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import msgspec
import requests

from cds_service.errors import CdsError
from cds_service.fhir import lenient

PATIENCE = 30.0
"""Seconds."""
_TOKEN_SECONDS = 300
_OTHERS = 0o077
_MOST_BYTES = 32_000_000


class Failed(CdsError):
    """A server did not do what it was asked; the message says which, and how it answered."""


class UnreadableKey(CdsError):
    """The private key cannot be used; the message holds nothing of it."""


@dataclass(frozen=True)
class Signer:
    """Who a client is, and the private key with which it signs."""

    key: Any
    kid: str
    algorithm: str
    issuer: str
    jku: str | None = None
    tenant: str | None = None

    @staticmethod
    def load(file: str, issuer: str, jku: str | None = None, tenant: str | None = None) -> Signer:
        """The private JWK in a file, as `keys new` writes it. Raises UnreadableKey."""
        try:
            content = Path(file).read_bytes()  # first, for a folder is never to be closed by chmod 600
            if Path(file).stat().st_mode & _OTHERS:
                raise UnreadableKey(f"{file}: others than its owner can read it; chmod 600 {file}")
            written = msgspec.json.decode(content)
            made = jwt.PyJWK(written)
            kid, algorithm = written["kid"], written["alg"]
        except OSError as error:
            raise UnreadableKey(f"{file}: {error.strerror}") from error
        except (msgspec.DecodeError, jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise UnreadableKey(
                f"{file}: not a private JWK with kid and alg; ketamine-cds keys new makes one"
            ) from None
        if "d" not in written:
            raise UnreadableKey(f"{file}: a public key; the private one is needed to sign")
        return Signer(made.key, kid, algorithm, issuer, jku, tenant)

    def token(self, url: str, **more: str) -> str:
        """A new token for one call of `url`, with `more` claims."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": url, "iat": now, "exp": now + _TOKEN_SECONDS, "jti": str(uuid4())}
        claims |= more
        if self.tenant:
            claims["tenant"] = self.tenant
        headers = {"kid": self.kid, "typ": "JWT"} | ({"jku": self.jku} if self.jku else {})
        return jwt.encode(claims, self.key, self.algorithm, headers=headers)


class Web:
    """JSON over HTTP: no proxy and no password of this machine, no redirects. Numbers are exact."""

    def __init__(self, ca_bundle: str | None = None) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        if ca_bundle:
            self.session.verify = ca_bundle

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Any = None) -> tuple[int, Any]:
        """(status, decoded body; None where it is no JSON). Raises Failed where nothing can be had."""
        data = None if body is None else lenient.encode(body)
        try:
            answer = self.session.request(
                method, url, data=data, headers=dict(headers), timeout=PATIENCE, allow_redirects=False
            )
        except requests.Timeout as error:
            raise Failed(f"{url} did not answer within {PATIENCE:g} s") from error
        except (requests.RequestException, ValueError) as error:
            raise Failed(f"{url} could not be reached") from error
        if len(answer.content) > _MOST_BYTES:
            raise Failed(f"{url} answered with more than {_MOST_BYTES} bytes")
        try:
            return answer.status_code, lenient.untyped(answer.content)
        except lenient.UNREADABLE:
            return answer.status_code, None


class Service:
    """A CDS service at `base`, as one of its clients calls it."""

    def __init__(self, base: str, web: Web, signer: Signer | None = None) -> None:
        self.base = base.rstrip("/")
        self._web = web
        self._signer = signer

    def services(self) -> list[dict[str, Any]]:
        """What discovery lists. Raises Failed."""
        found = self._asked("GET", f"{self.base}/cds-services")
        listed = found.get("services")
        if not isinstance(listed, list):
            raise Failed(f"{self.base}/cds-services lists no services")
        return [each for each in listed if isinstance(each, dict)]

    def call(self, service: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a hook. Raises Failed."""
        return self._asked("POST", f"{self.base}/cds-services/{service}", request)

    def tell(self, service: str, entry: Mapping[str, Any]) -> None:
        """Feedback on a card. Raises Failed."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        body = {"feedback": [{**entry, "outcomeTimestamp": at}]}
        self._asked("POST", f"{self.base}/cds-services/{service}/feedback", body, may_be_empty=True)

    def _asked(self, method: str, url: str, body: Any = None, may_be_empty: bool = False) -> dict[str, Any]:
        headers = {"Accept": "application/json"} | ({} if body is None else {"Content-Type": "application/json"})
        if self._signer:
            headers["Authorization"] = f"Bearer {self._signer.token(url)}"
        status, found = self._web.send(method, url, headers, body)
        if status != 200:
            raise Failed(f"{url} answered {status}{why(found)}")
        if not isinstance(found, dict) and not may_be_empty:
            raise Failed(f"{url} answered with no JSON object")
        return found if isinstance(found, dict) else {}


def why(found: Any) -> str:
    """What an OperationOutcome says."""
    issues = found.get("issue") if isinstance(found, dict) else None
    said = [str(each["diagnostics"]) for each in dicts(issues) if each.get("diagnostics")]
    return f": {'; '.join(said)}" if said else ""


def dicts(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; none where it is no list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
