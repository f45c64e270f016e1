"""Letters as they are meant: without what nobody sees, and plain where they only look otherwise."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

_UNSEEN = (
    *(code for code in (*range(0x20), *range(0x7F, 0xA0)) if not chr(code).isspace()),
    *(0x00AD, 0x034F, 0x061C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180E, 0x3164, 0xFEFF, 0xFFA0),
    *range(0x180B, 0x180E),  # Mongolian variations
    *range(0x200B, 0x2010),  # zero width, and marks of direction
    *range(0x202A, 0x202F),  # embeddings and overrides of direction
    *range(0x2060, 0x2070),  # joiners, operators, isolates of direction
    *range(0xFE00, 0xFE10),  # variations
    *range(0xFFF9, 0xFFFC),  # annotations
    *range(0xE0000, 0xE0080),  # tags
    *range(0xE0100, 0xE01F0),  # more variations
)
_ANOTHER_WIDTH = (*range(0xFF01, 0xFF5F), 0x3000)
_ANOTHER_FONT = (*range(0x2100, 0x2150), *range(0x1D400, 0x1D800))
_LOOKS = ("<wide>", "<font>")
"""Unlike ² or ½, which mean another number than their plain digits do."""

MEANT: dict[int, str | None] = dict.fromkeys(_UNSEEN) | {
    code: unicodedata.normalize("NFKC", chr(code))
    for code in (*_ANOTHER_WIDTH, *_ANOTHER_FONT)
    if unicodedata.decomposition(chr(code)).startswith(_LOOKS)
}
"""For `str.translate`."""
ACCENTS = dict.fromkeys(range(0x0300, 0x0370))
"""For `str.translate`, of a text that is composed: what is left stands on no letter that has it."""
_MANY_MARKS = re.compile(r"([^\w\x00-\x7f]{30})[^\w\x00-\x7f]+")
"""More accents than any language puts on a letter; among them they are brought into their order one by one."""


def normalized(form: Literal["NFC", "NFKD"], text: str) -> str:
    """A text in a normal form of Unicode, without the accents beyond 30 on one letter (UAX 15, stream-safe text).

    The library takes the square of their number: 6 s for 80,000, during which no other call goes on.
    """
    return unicodedata.normalize(form, _MANY_MARKS.sub(r"\1", text))
