"""Keyed digests: they tell the same from the other, and nothing to whoever does not hold the key."""

from __future__ import annotations

import hmac
import os
import zlib
from collections.abc import Set
from itertools import pairwise
from pathlib import Path

from cds_service.errors import ConfigurationError
from cds_service.site_file import read_bytes

SHORTEST = 32
_HEX_DIGITS = 32
_OTHERS = 0o077
_OTHERS_OF_A_GROUP = 0o027
_LEAST_COMPRESSED = 22
"""Bytes. 32 random ones, or what `openssl rand` writes of them, take more; what repeats or counts takes fewer."""


class UnusableKey(ConfigurationError):
    """The key cannot be used; the message says why and never holds any of it."""


class Key:
    """A site's secret. Another key makes other digests: records of before and after no longer meet.

    `former` is the key that was in use before, where one is given: what it made is still found.
    """

    def __init__(self, secret: bytes, former: Key | None = None) -> None:
        if len(secret) < SHORTEST:
            raise UnusableKey(f"the key is shorter than {SHORTEST} bytes")
        if _is_guessable(secret):
            raise UnusableKey("the key can be guessed, since it repeats itself; openssl rand -base64 48 makes one")
        self._secret = secret
        self.former = former

    def is_secret(self, given: bytes) -> bool:
        """Whether somebody has given the secret itself; how long that takes says nothing of it."""
        return hmac.compare_digest(given, self._secret)

    def digest(self, kind: str, *parts: str) -> str:
        """128 bits of HMAC-SHA-256 as hexadecimal digits. `kind` keeps digests of different things apart."""
        # Each part is told by its length, so that no two lists of parts run into one.
        message = b"".join(f"{len(part)}:".encode() + part.encode("utf-8", "replace") for part in (kind, *parts))
        return hmac.digest(self._secret, message, "sha256").hex()[:_HEX_DIGITS]


def read(path: str) -> Key:
    """The key in a file, without the line break at its end. Raises UnusableKey.

    A text of two lines, each long enough for a key, is two keys: the first is used, the second was used before.
    """
    content = _content(path)
    try:
        first, *former = _secrets(content)
        if len(former) > 1:
            raise UnusableKey(f"it holds {1 + len(former)} keys, and two are the most: the new one and the former")
        return Key(first, Key(former[0]) if former else None)
    except UnusableKey as error:
        raise UnusableKey(f"{path}: {error}") from None


def text(path: str) -> str:
    """A secret in a file that another party has chosen, as long and as random as that made it. Raises UnusableKey."""
    content = _content(path)
    if not content or not content.isascii() or not content.decode().isprintable():
        raise UnusableKey(f"{path}: it holds no secret in one line of ASCII")
    return content.decode()


def _content(path: str) -> bytes:
    """What stands in a file that nobody else can read, without white space around it. Raises UnusableKey."""
    file = Path(path)
    try:
        content = read_bytes(file).strip()  # first, for a folder is never to be closed by chmod 600
        if is_open(file.stat(), os.geteuid(), {os.getegid(), *os.getgroups()}):
            raise UnusableKey(f"{path}: others than its owner can read it; chmod 600 {path}")
        return content
    except OSError as error:
        raise UnusableKey(f"{path}: {error.strerror}") from error


def is_open(file: os.stat_result, user: int, groups: Set[int]) -> bool:
    """Whether others than this user can read the file, or a group change it.

    Root's file may be read by a group of the user: so Kubernetes mounts a secret for a service that is not root.
    """
    is_given = file.st_uid == 0 and user != 0 and file.st_gid in groups
    return bool(file.st_mode & (_OTHERS_OF_A_GROUP if is_given else _OTHERS))


def _secrets(content: bytes) -> list[bytes]:
    """One secret a line, or all of it: bytes that are no text may hold line breaks, and so may one wrapped text."""
    lines = [line.strip() for line in content.splitlines()]
    is_text = content.isascii() and all(line.decode("ascii").isprintable() for line in lines)
    return lines if is_text and lines and all(len(line) >= SHORTEST for line in lines) else [content]


def _is_guessable(secret: bytes) -> bool:
    """Whether it, or the steps from byte to byte, are mostly one pattern."""
    steps = bytes((after - before) % 256 for before, after in pairwise(secret))
    # What compression adds to every text, however short, does not count.
    overhead = len(zlib.compress(b"", 9))
    return any(len(zlib.compress(each, 9)) - overhead < _LEAST_COMPRESSED for each in (secret, steps))
