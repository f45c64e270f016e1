"""The suite's own signature, for services that ask who calls: a JSON web token for each call."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt

from tests.hooks.tokens import Signer

KEY = "KETAMINE_TEST_CONFORMANCE_KEY"
"""A file with a private JSON web key (kid and alg in it), whose public half the service under test knows."""
ISSUER = "KETAMINE_TEST_CONFORMANCE_ISSUER"
LIFETIME = 300
"""Seconds."""


@dataclass(frozen=True)
class Caller:
    """A CDS client that the service under test knows: its key, and the `iss` and headers of its tokens."""

    key: Any
    algorithm: str
    issuer: str
    header: Mapping[str, str] = field(default_factory=dict)

    def token(self, url: str, header: Mapping[str, str] | None = None, **changes: Any) -> str:
        """A token for one call of `url`, but for what is changed."""
        return self.signed(self.key, self.algorithm, url, header, **changes)

    def signed(
        self, key: Any, algorithm: str, url: str, header: Mapping[str, str] | None = None, **changes: Any
    ) -> str:
        """The same token under another key or algorithm."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": url, "iat": now, "exp": now + LIFETIME, "jti": str(uuid.uuid4())}
        heads = {"typ": "JWT", **self.header, **(header or {})}
        # The library's own `encode` refuses a public key as a secret, which is just what an attacker would take.
        return jwt.PyJWS().encode(json.dumps(claims | changes).encode(), key, algorithm, headers=heads)


def caller() -> Caller | None:
    """The client that the environment names; None where it names none."""
    file = os.environ.get(KEY)
    if not file:
        return None
    written = json.loads(Path(file).read_text("utf-8"))
    algorithm = str(written.get("alg", "ES384"))
    header = {name: str(written[name]) for name in ("kid", "jku") if name in written}
    return Caller(jwt.PyJWK(written, algorithm).key, algorithm, os.environ.get(ISSUER, "conformance"), header)


def made(algorithm: str, issuer: str, kid: str) -> tuple[Caller, dict[str, Any]]:
    """A client with a new key pair, and the public half as a JSON web key."""
    pair = Signer(algorithm, kid)
    return Caller(pair.key, algorithm, issuer, {"kid": kid}), pair.jwk()
