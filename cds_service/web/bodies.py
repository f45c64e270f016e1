"""From a body as it was sent, perhaps compressed and in another charset, to JSON in UTF-8."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable
from encodings import normalize_encoding
from encodings.aliases import aliases

from cds_service.hooks.errors import Malformed, NotJson, TooLarge
from cds_service.hooks.request import is_utf8

JSON_TYPES = ("application/json", "application/json+fhir", "application/x-json", "text/json", "text/x-json")
"""Media types that are read, beside every one that ends with +json."""
"""Beside everything that ends in `+json`. The third is what DSTU2 called FHIR's JSON."""
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
Grow = Callable[[int], None]
"""Told of so many bytes more; it may raise to stop the reading."""
_PIECE = 500_000
"""Bytes that are decompressed at once."""
_MEMBERS = 16
"""Of one gzip file: what is left after each is copied."""
_GZIP = b"\x1f\x8b"
"""No JSON begins so."""
_WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16", b"{\0": "utf-16-le", b"\0{": "utf-16-be"}
"""How JSON in UTF-16 begins."""
_CHARSETS = {
    "utf_16": "utf-16",
    "utf_16_le": "utf-16-le",
    "utf_16_be": "utf-16-be",
    "latin_1": "iso8859-1",
    "iso8859_15": "iso8859-15",
    "cp1252": "cp1252",
}
"""The charsets that are read, by the names of Python's modules."""


def is_json(media_type: str) -> bool:
    """Whether a body of this media type is read; none is taken for JSON."""
    return not media_type or media_type in JSON_TYPES or media_type.endswith("+json")


def plain(body: bytes, encoding: str, charset: str, limit: int, grow: Grow = lambda count: None) -> bytes:
    """The body as `Content-Encoding` and the charset of its `Content-Type` say, at most `limit` bytes.

    A charset of single bytes that the body contradicts by being valid UTF-8 is not believed. `grow` is told of
    what it takes beside `body`, piece by piece. Raises TooLarge, Malformed or NotJson, and what `grow` raises.
    """
    names = [name for name in (part.strip().lower() for part in encoding.split(",")) if name not in ("", "identity")]
    if len(names) > 1 or any(name not in _WINDOWS for name in names):
        raise NotJson("the body may be compressed by gzip or deflate, and once")
    if not names and body.startswith(_GZIP):
        names = ["gzip"]  # its header was lost on the way
    for name in names:
        body = _inflated(body, _WINDOWS[name], limit, grow)
    return _in_utf8(body, charset, grow)


def _inflated(body: bytes, window: int, limit: int, grow: Grow) -> bytes:
    """Bounded by what comes out, so that a bomb stops at the limit, and many at once where there is no more room."""
    if window == zlib.MAX_WBITS and not _has_header(body):
        window = -window  # some clients send deflate without its header
    found: list[bytes] = []
    left = limit + 1
    try:
        for _ in range(_MEMBERS):
            reader = zlib.decompressobj(window)
            while not reader.eof:
                part = reader.decompress(body, min(left, _PIECE))
                body = reader.unconsumed_tail
                grow(len(part))
                found.append(part)
                left -= len(part)
                if left <= 0:
                    raise TooLarge(f"the body is larger than {limit} bytes when it is decompressed")
                if not part and not reader.eof and not body:
                    raise Malformed("the compressed body is cut off")
            body = reader.unused_data.lstrip(b"\0")  # a further member of gzip, or padding
            if not body:
                return b"".join(found)
    except zlib.error as error:
        raise Malformed("the body is not compressed as its Content-Encoding says") from error
    raise TooLarge(f"the compressed body has more than {_MEMBERS} members")


def _has_header(body: bytes) -> bool:
    """RFC 1950: the method, and a check sum of the first two bytes."""
    return len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0


def _in_utf8(body: bytes, charset: str, grow: Grow) -> bytes:
    wide = _WIDE.get(body[:2])
    if wide is None and (not charset or charset.lower() in ("utf-8", "utf8", "us-ascii", "ascii")):
        return body
    # Not `codecs.lookup`: it keeps each name that it was ever asked for.
    given = normalize_encoding(charset).lower()
    name = wide or _CHARSETS.get(aliases.get(given, given), "unknown")
    if wide is None and not name.startswith("utf-16") and is_utf8(body):
        return body
    if name == "unknown":
        raise NotJson("the body must be in UTF-8")
    try:
        grow(len(body))  # in another form
        return body.decode(name).encode()
    except UnicodeError as error:
        raise Malformed("the body is not in the charset of its Content-Type") from error
