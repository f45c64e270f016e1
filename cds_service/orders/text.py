"""Doses in words: read only to raise a finding, never to clear one."""

from __future__ import annotations

import re
from fractions import Fraction

import msgspec

from cds_service import units
from cds_service.orders.dosage import DOSE_DIMENSIONS, RATE_DIMENSIONS
from cds_service.units import Quantity

_BODY_WEIGHT = ("kg", "kgs")
"""In words these say what the patient weighs."""
_SPELLINGS = [
    text
    for text in (*units.codes(), *units.ALIASES)
    if units.is_of(text, *DOSE_DIMENSIONS, *RATE_DIMENSIONS) and text not in _BODY_WEIGHT
]
_NUMBER = r"(?<![\d.,])(\d{1,6}(?:[.,]\d{1,6})?|[.,]\d{1,6})"
_UNIT = "(" + "|".join(re.escape(text) for text in sorted(_SPELLINGS, key=len, reverse=True)) + r")(?![\w/{])"
_AMOUNT = re.compile(_NUMBER + r"\s*" + _UNIT)
_TIME = r"\s+" + _NUMBER + r"\s*((?i:minutes?|min|mins|hours?|hrs?|h))\b"
_OVER = re.compile(r"\b(?i:over|during)" + _TIME)
_IN = re.compile(_UNIT + r"\s+(?i:(?:iv\s+)?in)" + _TIME)
"""Only behind an amount: `repeat in 90 min` is no run time."""


class Spoken(msgspec.Struct, frozen=True):
    """The amounts that a text states. `minutes` only where it says over how long."""

    doses: tuple[Quantity, ...] = ()
    rates: tuple[Quantity, ...] = ()
    minutes: Fraction | None = None


def _number(text: str) -> Fraction:
    """`0,5` and `.5` are 0.5. `1,000` may be a thousand: since a text only raises, the larger reading counts."""
    if re.fullmatch(r"[1-9]\d{0,2},\d{3}", text):
        return Fraction(text.replace(",", ""))
    text = text.replace(",", ".")
    return Fraction(f"0{text}" if text.startswith(".") else text)


def read(text: str | None) -> Spoken:
    """Every dose and rate with a unit of the closed table. Of a range the number before the unit, its upper end."""
    if not text:
        return Spoken()
    doses: list[Quantity] = []
    rates: list[Quantity] = []
    for number, spelling in _AMOUNT.findall(text):
        for dimensions, found in ((RATE_DIMENSIONS, rates), (DOSE_DIMENSIONS, doses)):
            if units.is_of(spelling, *dimensions):
                unit = units.find(spelling, *dimensions)
                found.append(Quantity(_number(number) * unit.factor, unit))
                break
    return Spoken(tuple(doses), tuple(rates), _minutes(text))


def _minutes(text: str) -> Fraction | None:
    over = _OVER.search(text) or _IN.search(text)
    if over is None:
        return None
    number, unit = over.groups()[-2:]
    return _number(number) * (60 if unit.lower().startswith("h") else 1) or None
