"""Whether the words of an order leave its dose to the bedside, without an end."""

from __future__ import annotations

import re

from cds_service.orders.dosage_words import WORDS, one_of
from cds_service.orders.windows import matches

_TABLE = WORDS["titration"]
_DOWN = rf"\s+{one_of(_TABLE['down'])}(?![^\W_])(?!\s*(?:/|{one_of(WORDS['route']['or'])})\s*\w)"
_TITRATE = re.compile(
    rf"(?P<not>\b{one_of(WORDS['often']['not'])}\s+(?:(?:{one_of(_TABLE['between'])})\s+){{0,2}})?"
    rf"\b{one_of(_TABLE['words'])}\b(?P<down>{_DOWN})?"
    rf"(?P<ends>\s*(?:[.,;)\n]|$)|\s+{one_of(_TABLE['by_whom'])}\b)?",
    re.IGNORECASE,
)
_RISE = re.compile(rf"\b{one_of(WORDS['escalation']['words'])}\b", re.IGNORECASE)


def is_open_ended(text: str) -> bool:
    """Whether a text has a dose titrated or raised. `do not titrate` and `titrate down` raise none.

    A denial counts only where nothing follows: `do not titrate faster than every 30 min` has it titrated.
    """
    return any(map(_rises, matches(_TITRATE, text))) or any(matches(_RISE, text))


def _rises(found: re.Match[str]) -> bool:
    is_denied = found["not"] is not None and found["ends"] is not None
    return found["down"] is None and not is_denied
