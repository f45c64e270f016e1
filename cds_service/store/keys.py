"""Keyed digests: they tell the same from the other, and nothing to whoever does not hold the key."""

from __future__ import annotations

import hmac
from pathlib import Path

SHORTEST = 32
_HEX_DIGITS = 32


class UnusableKey(Exception):
    """The key cannot be used; the message says why and never holds any of it."""


class Key:
    """A site's secret. Another key makes other digests: records of before and after no longer meet."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST:
            raise UnusableKey(f"the key is shorter than {SHORTEST} bytes")
        self._secret = secret

    def digest(self, kind: str, *parts: str) -> str:
        """128 bits of HMAC-SHA-256 as hexadecimal digits. `kind` keeps digests of different things apart."""
        # Each part is told by its length, so that no two lists of parts run into one.
        message = b"".join(f"{len(part)}:".encode() + part.encode("utf-8", "replace") for part in (kind, *parts))
        return hmac.digest(self._secret, message, "sha256").hex()[:_HEX_DIGITS]


def read(path: str) -> Key:
    """The key in a file, without the line break at its end. Raises UnusableKey."""
    try:
        return Key(Path(path).read_bytes().strip())
    except OSError as error:
        raise UnusableKey(f"{path}: {error.strerror}") from error
