"""A Bulk Data server over HTTP that keeps to the specification, and whose faults a test chooses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt

from tests.servers.local import FHIR_JSON, Received, Reply

NDJSON = {"Content-Type": "application/fhir+ndjson"}
Lines = Mapping[str, Sequence[bytes]]
"""The content of each file, by its name `Type-number`."""


def outcome(code: str, says: str = "because") -> bytes:
    issue = {"severity": "error", "code": code, "diagnostics": says}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()


@dataclass
class BulkServer:
    """One server with one export; `answer` is the script of a local server, `base` is set when that runs."""

    files: Mapping[str, bytes]
    base: str = ""
    polls: int = 1
    """How often it says that it is not ready."""
    retry_after: str = "0"
    public_key: Any = None
    """Of the client that it knows; without one it wants no token."""
    errors: Sequence[bytes] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    fault: Callable[[Received], Reply | None] = lambda received: None
    """Asked first for every request."""
    jobs: int = 0
    deleted: list[str] = field(default_factory=list)
    links: int = 0
    """How often the links were made anew."""
    tokens: int = 0
    scopes: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    """The jti of tokens that were used."""

    def answer(self, received: Received) -> Reply:
        found = self.fault(received)
        if found is not None:
            return found
        path = urlsplit(received.path).path.removeprefix("/fhir/")
        if path == ".well-known/smart-configuration":
            told = {"token_endpoint": f"{self.base}/token", "capabilities": ["permission-v2"]}
            return Reply(json.dumps(told).encode())
        if path == "token":
            return self._token(received)
        if self.public_key is not None and received.headers.get("authorization") != f"Bearer token-{self.tokens}":
            return Reply(outcome("login"), 401)
        if path.endswith("$export"):
            self.jobs += 1
            self.asked = parse_qs(urlsplit(received.path).query)
            assert received.headers["prefer"] == "respond-async"
            return Reply(b"", 202, {"Content-Location": f"{self.base}/jobs/{self.jobs}"})
        if path.startswith("jobs/"):
            return self._job(received, path.removeprefix("jobs/"))
        link, _, name = path.removeprefix("files/").partition("/")
        if name == "errors":
            return Reply(b"\n".join(self.errors), 200, NDJSON)
        if link != str(self.links):
            return Reply(outcome("expired"), 403)
        return Reply(self.files[name], 200, NDJSON)

    def _job(self, received: Received, job: str) -> Reply:
        if job in self.deleted or job != str(self.jobs):
            return Reply(outcome("not-found"), 404)
        if received.method == "DELETE":
            self.deleted.append(job)
            return Reply(b"", 202)
        if self.polls > 0:
            self.polls -= 1
            return Reply(b"", 202, {"X-Progress": "in progress", "Retry-After": self.retry_after})
        self.links += 1
        entries = [
            {
                "type": name.partition("-")[0],
                "url": f"{self.base}/files/{self.links}/{name}",
                "count": self.counts.get(name, content.count(b"\n")),
            }
            for name, content in self.files.items()
        ]
        errors = [{"type": "OperationOutcome", "url": f"{self.base}/files/0/errors"}] if self.errors else []
        manifest = {
            "transactionTime": "2026-11-01T00:00:00Z",
            "request": f"{self.base}/Patient/$export",
            "requiresAccessToken": self.public_key is not None,
            "output": entries,
            "error": errors,
        }
        return Reply(json.dumps(manifest).encode(), 200, {"Content-Type": "application/json"})

    def _token(self, received: Received) -> Reply:
        form = {name: values[0] for name, values in parse_qs(received.body.decode()).items()}
        try:
            claims = jwt.decode(
                form["client_assertion"], self.public_key, ["ES384"], audience=f"{self.base}/token", subject="replay"
            )
        except jwt.PyJWTError:
            return Reply(b'{"error":"invalid_client"}', 400, {"Content-Type": "application/json"})
        assert claims["iss"] == claims["sub"] == "replay"
        assert claims["exp"] - claims["iat"] <= 300
        assert form["grant_type"] == "client_credentials"
        assert form["client_assertion_type"] == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        assert claims["jti"] not in self.seen
        self.seen.add(claims["jti"])
        self.scopes.append(form["scope"])
        self.tokens += 1
        given = {"access_token": f"token-{self.tokens}", "token_type": "bearer", "expires_in": 300}
        return Reply(json.dumps(given).encode(), 200, {"Content-Type": FHIR_JSON})
