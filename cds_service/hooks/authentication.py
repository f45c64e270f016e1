"""Which client calls: the signed token (JWT) of CDS Hooks 2.0.1, "Trusting CDS Clients", requirements 195 to 206.

Everything about a token is checked before it counts as used, and the answer says what was wrong with it but repeats
nothing of it. Nothing here is taken from the request's Host header: the audience is the configured public URL.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import jwt

from cds_service.deadline import NEVER, Deadline
from cds_service.hooks.clients import Client
from cds_service.hooks.errors import Unauthenticated
from cds_service.hooks.keysets import KeySet, KeysUnavailable
from cds_service.hooks.replay import ReplayGuard

MAX_TOKEN = 8192
"""Characters of a token; a longer one is refused unread."""

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+")
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC).timestamp() - 86_400
_SIGNATURES = jwt.PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


@dataclass(frozen=True)
class Keys:
    """Where a client's keys are: one set for all its tokens, or one for each URL that a token may name (`jku`)."""

    file: KeySet | None
    by_url: Mapping[str, KeySet]

    def named(self, jku: Any) -> KeySet | None:
        """The set for a token's `jku`; None where it names a URL that is not the client's."""
        if jku is None:
            return self.file or (next(iter(self.by_url.values())) if len(self.by_url) == 1 else None)
        if not self.by_url:
            return self.file  # given by hand: nothing is fetched, so that it does not matter what the token names
        return self.by_url.get(jku) if isinstance(jku, str) else None


class Authenticator:
    """The clients that may call, and how each is known. `public_url` is where they reach the service."""

    def __init__(
        self,
        clients: Sequence[tuple[Client, Keys]],
        public_url: str,
        replay: ReplayGuard,
        tolerance: timedelta = timedelta(seconds=60),
    ) -> None:
        """`tolerance`: how far a client's clock may be off."""
        self._clients = {
            (issuer, client.tenant): (client, keys) for client, keys in clients for issuer in client.issuers
        }
        self._public_url = public_url.rstrip("/")
        self._replay = replay
        self._tolerance = tolerance

    def read_keys(self) -> None:
        """Begin to read the keys of all clients."""
        for _, keys in self._clients.values():
            for each in (*keys.by_url.values(), *([keys.file] if keys.file else [])):
                each.begin_reading()

    def client(self, authorization: str | None, path: str, now: datetime, deadline: Deadline = NEVER) -> Client:
        """The client that signed the token of an Authorization header, for a call of `path` at the moment `now`.

        Keys that are not there yet are waited for until the deadline. Raises Unauthenticated.
        """
        token = _token(authorization)
        header, claims = _parts(token)
        algorithm, kid = _header(header)
        client, keys = self._claimed(claims)
        if algorithm not in client.algorithms:
            _refuse("algorithm", "the token is signed with an algorithm that is not allowed")
        _verify(token, keys, header.get("jku"), kid, algorithm, deadline)
        expires = self._times(claims, client, now)
        if not self._is_for_us(claims.get("aud"), client, path):
            _refuse("audience", "the token's audience is not the URL that was called")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti:
            _refuse("malformed", "the token has no jti")
        if not self._replay.first_use(str(claims["iss"]), jti, expires + self._tolerance):
            _refuse("replayed", "the token was used before")
        return client

    def _claimed(self, claims: Mapping[str, Any]) -> tuple[Client, Keys]:
        """The client that the token says it is from, not yet believed."""
        issuer, tenant = claims.get("iss"), claims.get("tenant")
        if not isinstance(issuer, str) or not (tenant is None or isinstance(tenant, str)):
            _refuse("malformed", "the token has no issuer, or its tenant is not a string")
        found = self._clients.get((issuer, tenant)) or self._clients.get((issuer, None))
        return found or _refuse("issuer", "the token's issuer is not a client of this service")

    def _times(self, claims: Mapping[str, Any], client: Client, now: datetime) -> datetime:
        """When the token expires; it is valid now, and for no longer than the client may ask for."""
        expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
        not_before = _moment(claims, "nbf") if "nbf" in claims else issued
        if expires + self._tolerance <= now:
            _refuse("expired", "the token has expired")
        if max(issued, not_before) - self._tolerance > now:
            _refuse("not-yet", "the token is not valid yet")
        if not timedelta() < expires - issued <= timedelta(seconds=client.max_lifetime_seconds):
            _refuse("lifetime", f"the token is not made for at most {client.max_lifetime_seconds} s")
        return expires

    def _is_for_us(self, audience: Any, client: Client, path: str) -> bool:
        bases = [self._public_url, *(alias.rstrip("/") for alias in client.audience)]
        accepted = {*bases, *(base + path for base in bases)}
        named = audience if isinstance(audience, list) else [audience]
        return any(isinstance(each, str) and each.rstrip("/") in accepted for each in named)


def _refuse(reason: str, says: str) -> NoReturn:
    raise Unauthenticated(reason, says)


def _token(authorization: str | None) -> str:
    if not authorization:
        raise Unauthenticated("missing", "the call must carry a token: Authorization: Bearer …", error=None)
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        _refuse("malformed", "the Authorization header holds no bearer token")
    if len(token) > MAX_TOKEN:
        _refuse("too-large", f"the token is longer than {MAX_TOKEN} characters")
    return token


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not yet believed."""
    found = _COMPACT.fullmatch(token)
    if found is None:
        _refuse("malformed", "the token is not a signed JWT")
    return _object(found[1]), _object(found[2])


def _object(segment: str) -> dict[str, Any]:
    """A JSON object in which no name stands twice: of two, another reader might take the other."""
    try:
        text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)).decode()
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (binascii.Error, ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        _refuse("malformed", "the token's header or claims are not JSON objects without duplicates")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _header(header: Mapping[str, Any]) -> tuple[str, str]:
    """(alg, kid)."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        _refuse("malformed", "the token's typ is not JWT")
    if "crit" in header or "b64" in header:
        _refuse("malformed", "the token asks for an extension that is not understood")
    if not isinstance(algorithm, str) or not isinstance(kid, str):
        _refuse("malformed", "the token's header has no alg or no kid")
    return algorithm, kid


def _verify(token: str, keys: Keys, jku: Any, kid: str, algorithm: str, deadline: Deadline) -> None:
    keyset = keys.named(jku)
    if keyset is None:
        _refuse("jku", "the token's jku is not one of the client's")
    try:
        key = keyset.key(kid, algorithm, deadline)
    except KeysUnavailable:
        _refuse("keys-unavailable", "the client's keys cannot be read at the moment")
    if key is None:
        _refuse("unknown-key", "the client has no key of that kid for that algorithm")
    try:
        _SIGNATURES.decode_complete(token, key, algorithms=[algorithm])
    except jwt.PyJWTError:
        _refuse("signature", "the token's signature is not that of the client's key")


def _moment(claims: Mapping[str, Any], name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _refuse("malformed", f"the token's {name} is not a number of seconds")
    if not 0 <= value <= _LAST_MOMENT:
        _refuse("malformed", f"the token's {name} is no moment")
    return datetime.fromtimestamp(value, UTC)
