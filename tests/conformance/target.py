"""The service under test as a CDS client meets it: any base URL, nothing but HTTP."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import requests

from cds_service.commands.examples import AS_OF, moved
from tests.conformance.signing import Caller

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds."""
JSON = "application/json"
ORIGIN = "https://ehr.example.org"
"""Of the web page from which a client in a browser calls."""
HOOK_INSTANCE = "7f3c2b10-6d1e-4c55-9a01-000000000301"

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True)
class Answer:
    """What came back; `seconds` from the first byte sent to the last one received."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def content(self) -> Any:
        """The decoded JSON, numbers as exact decimals; None where it is not JSON."""
        try:
            return _DECODER.decode(self.body)
        except msgspec.DecodeError:
            return None

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True)
class Posed:
    """A request that can be sent to a service of its hook. `is_valid`: it is no error of the caller."""

    name: str
    hook: str
    body: Mapping[str, Any]
    is_valid: bool = True


@dataclass(frozen=True)
class Exchange:
    """A request, the service it went to, and the answer."""

    posed: Posed
    service: Mapping[str, Any]
    answer: Answer

    def __str__(self) -> str:
        return f"{self.posed.name} at {self.service.get('id')}"


class _Unwatched(requests.Session):
    """A session as it was before tests.conformance.watch came: here the invariants are tests of their own."""

    send = requests.Session.send


class Target:
    """A CDS service at `base`. `is_ours`: started by the suite, so that whatever we do must be there to be seen."""

    def __init__(self, base: str, is_ours: bool, caller: Caller | None = None) -> None:
        self.base = base.rstrip("/")
        self.is_ours = is_ours
        self._caller = caller
        self._session = _Unwatched()
        self._session.trust_env = False

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request with exactly these headers, and a token where the suite was given a key."""
        url = self.base + path
        given = dict(headers or {})
        if self._caller is not None:
            given.setdefault("Authorization", f"Bearer {self._caller.token(url)}")
        start = time.perf_counter()
        got = self._session.request(
            method, url, data=body, headers=given, timeout=PATIENCE, allow_redirects=False, auth=_as_given
        )
        return Answer(got.status_code, got.headers, got.content, time.perf_counter() - start)

    def discovery(self) -> Answer:
        return self.send("GET", "/cds-services", headers={"Accept": JSON})

    def call(self, service: str, request: Mapping[str, Any], **headers: str) -> Answer:
        return self.post(service, _ENCODER.encode(request), **headers)

    def post(self, service: str, body: bytes, **headers: str) -> Answer:
        return self.send("POST", f"/cds-services/{service}", body, {"Content-Type": JSON, "Accept": JSON} | headers)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No password of this machine's .netrc in the place of the token."""
    return request


def posed() -> list[Posed]:
    """The examples of this project, the specification, the hook library and known clients; or those of a folder.

    KETAMINE_TEST_CONFORMANCE_REQUESTS names a folder of JSON files, each a whole request, for a service of its own.
    """
    folder = os.environ.get("KETAMINE_TEST_CONFORMANCE_REQUESTS")
    if folder:
        return [_read(path) for path in sorted(Path(folder).glob("*.json"))]
    ours = sorted((ROOT / "examples").glob("*.json"))
    theirs = sorted((ROOT / "tests" / "hooks" / "examples").glob("*.json"))
    return [_read(path) for path in (*ours, *theirs)]


def _read(path: Path) -> Posed:
    """The hook library shows contexts alone; what every request has is put around them."""
    body = json.loads(path.read_bytes(), parse_float=Decimal)
    hook = body.get("hook") or ("order-select" if "order-select" in path.stem else "order-sign")
    whole = {"hook": hook, "hookInstance": HOOK_INSTANCE, **body}
    # As sent today: the services of others know no other clock.
    return Posed(path.stem, hook, moved(whole, datetime.now(UTC) - AS_OF), is_valid="before-1.0" not in path.stem)
