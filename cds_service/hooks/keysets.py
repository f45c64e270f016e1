"""A client's public keys (a JWK Set), from its URL or from a file: cached, read anew when they age or rotate."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
import msgspec

from cds_service import transport
from cds_service.deadline import NEVER, Deadline
from cds_service.errors import CdsError
from cds_service.hooks import outbound
from cds_service.hooks.clients import Network
from cds_service.site_file import read_bytes
from cds_service.transport import Budget

log = logging.getLogger("ketamine_cds")

_MAX_BYTES = 256_000
_MAX_AGE = 300.0
"""Seconds after which keys are read anew."""
_LONGEST = 3600.0
"""Seconds for which keys are used whose source no longer answers."""
_PAUSE = 10.0
"""Seconds between two readings, so that tokens with invented key ids cannot be used against the client's server."""
_PAUSE_AFTER_FAILURE = 2.0

_FAMILY: Mapping[str, tuple[str, str | None]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
}
"""The key type and curve of each algorithm (RFC 7518, RFC 8037)."""
_PUBLIC = ("kty", "crv", "x", "y", "n", "e")
"""The members of a key that verify. Of its private ones, which a client may publish by mistake, nothing is made."""


class KeysUnavailable(CdsError):
    """A JWK Set could not be read; the message says why, without its content."""


class KeySet:
    """The keys of one source. `read` gives the JWK Set as JSON and raises KeysUnavailable.

    It is called in a thread of its own, one at a time: an order waits for it as long as it can, and it goes on for
    the orders that follow.
    """

    def __init__(self, read: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._lock = threading.Lock()
        self._reading: threading.Event | None = None
        """Set when the reading that is under way has ended."""
        self._keys: list[dict[str, Any]] = []
        self._read_at: float | None = None
        self._next_reading = clock()
        self._made: dict[tuple[str, str], jwt.PyJWK] = {}

    def key(self, kid: str, algorithm: str, deadline: Deadline = NEVER) -> jwt.PyJWK | None:
        """The key of that id for that algorithm. An unknown one makes the set be read anew, now and then.

        Keys that have aged are read anew aside: no order waits for that. Raises KeysUnavailable where there are none.
        """
        if self._is_older_than(_LONGEST):
            self._wait(deadline)
            if self._is_older_than(_LONGEST):
                raise KeysUnavailable("the client's keys could not be read")
        elif self._is_older_than(_MAX_AGE):
            self.begin_reading()
        found = self._find(kid, algorithm)
        if found is None:
            self._wait(deadline)
            found = self._find(kid, algorithm)
        return found

    def usable(self, algorithms: Sequence[str]) -> list[str]:
        """Read now, for whoever looks at a deployment: the algorithm of each key that could verify a token.

        Raises KeysUnavailable.
        """
        keys = _keys(self._read())
        return [
            name for key in keys if key.get("kid") for name in algorithms if _fits(key, name) and _is_key(key, name)
        ]

    def _is_older_than(self, seconds: float) -> bool:
        return self._read_at is None or self._clock() - self._read_at > seconds

    def _find(self, kid: str, algorithm: str) -> jwt.PyJWK | None:
        made = self._made
        if (kid, algorithm) not in made:
            fitting = [key for key in self._keys if key.get("kid") == kid and _fits(key, algorithm)]
            if len(fitting) != 1:
                return None
            try:
                made[kid, algorithm] = _public(fitting[0], algorithm)
            except jwt.PyJWTError:
                return None
        return made[kid, algorithm]

    def _wait(self, deadline: Deadline) -> None:
        """Until the set has been read anew, or the deadline is over."""
        reading = self.begin_reading()
        if reading is not None:
            reading.wait(min(deadline.left, threading.TIMEOUT_MAX))

    def begin_reading(self) -> threading.Event | None:
        """The end of the reading that is under way, or of a new one; None before the pause since the last is over."""
        with self._lock:
            if self._reading is None and self._clock() >= self._next_reading:
                self._reading = threading.Event()
                threading.Thread(target=self._read_anew, args=(self._reading,), name="keys", daemon=True).start()
            return self._reading

    def _read_anew(self, ended: threading.Event) -> None:
        """What cannot be read leaves the keys as they are."""
        pause = _PAUSE_AFTER_FAILURE
        try:
            self._keys = _keys(self._read())
            self._made = {}
            self._read_at = self._clock()
            pause = _PAUSE
        except KeysUnavailable as error:
            log.warning("a client's keys: %s", error)
        finally:
            with self._lock:
                self._next_reading = self._clock() + pause
                self._reading = None
            ended.set()


def _keys(body: bytes) -> list[dict[str, Any]]:
    """The keys of a JWK Set. Members that are no keys are passed over, as RFC 7517 has it."""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:  # the last: it is not UTF-8
        raise KeysUnavailable("the JWK Set is not JSON") from error
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise KeysUnavailable("the JWK Set has no keys")
    return [key for key in listed if isinstance(key, dict)]


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    """Whether a key is meant for the algorithm: by type and curve, and by what the key itself says of its use."""
    kind, curve = _FAMILY[algorithm]
    operations = key.get("key_ops", ["verify"])
    return (
        key.get("kty") == kind
        and (curve is None or key.get("crv") == curve)
        and key.get("alg", algorithm) == algorithm
        and key.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def _is_key(key: Mapping[str, Any], algorithm: str) -> bool:
    try:
        _public(key, algorithm)
    except jwt.PyJWTError:
        return False
    return True


def _public(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK:
    """Raises PyJWTError."""
    return jwt.PyJWK({name: key[name] for name in _PUBLIC if name in key}, algorithm)


# Where they come from -------------------------------------------------------------------------------------------


def from_file(path: str) -> KeySet:
    def read() -> bytes:
        try:
            return read_bytes(Path(path))
        except OSError as error:
            raise KeysUnavailable(f"the file of a JWK Set cannot be read: {error.strerror}") from error

    return KeySet(read)


def from_url(url: str, network: Network, deadline: float, ca_bundle: str | None = None) -> KeySet:
    """Keys at a URL: no redirects, no addresses but those of `network`, at most `deadline` seconds and 256 kB."""
    session = transport.session(lambda address: outbound.is_allowed(address, network), ca_bundle, connections=1)

    def read() -> bytes:
        try:
            return transport.get(session, url, {}, Deadline.after(deadline), Budget(_MAX_BYTES))
        except transport.NotInTime as error:
            raise KeysUnavailable("the server of a JWK Set did not answer in time") from error
        except transport.TooLarge as error:
            raise KeysUnavailable("the JWK Set is too large") from error
        except transport.Refused as error:
            raise KeysUnavailable(f"the server of a JWK Set answered {error.status}") from error
        except transport.Failure as error:
            raise KeysUnavailable("the server of a JWK Set could not be reached") from error

    return KeySet(read)
