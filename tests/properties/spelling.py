"""Units by their spelling (prefix, `/kg`, `/h`), not by the service's table, and numbers as people write them."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cds_service import units
from tests.scenarios.build import UCUM

_MASS = {"kg": 10**6, "g": 1000, "mg": 1, "ug": Fraction(1, 1000), "ng": Fraction(1, 10**6)}
VOLUME = {"L": 1000, "mL": 1, "ml": 1, "uL": Fraction(1, 1000)}
_MINUTES = {"s": Fraction(1, 60), "min": 1, "h": 60, "d": 1440, "wk": 10080}
_SPELT = {
    "mcg": "ug", "\u00b5g": "ug", "\u03bcg": "ug", "microgram": "ug", "micrograms": "ug", "Mikrogramm": "ug",
    "microgrammes": "ug", "milligram": "mg", "Milligramm": "mg", "miligramos": "mg", "hr": "h", "hrs": "h",
    "hour": "h", "hours": "h", "Std": "h", "Stunde": "h", "heure": "h", "minute": "min", "minutes": "min",
    "mins": "min", "day": "d", "days": "d", "Tag": "d", "24h": "d", "24 h": "d", "kgs": "kg", "kilogram": "kg",
    "kg KG": "kg", "millilitres": "mL",
}  # fmt: skip
SPELLINGS = [
    "mcg", "mcg/kg", "mcg/kg/min", "mcg/kg/minute", "mcg/kg/hr", "mcg/min", "\u00b5g", "\u00b5g/kg/min",
    "\u03bcg/kg/h", "mg/kg/hr", "mg/kg/hour", "mg/kg/minute", "mg/kg/day", "mg/hr", "mg/minute", "mg/day", "mg/24h",
    "mg/24 h", "mg/h/kg", "mg/(h.kg)", "ug.kg-1.min-1", "ug/kg.min", "mL/hr", "ml/hour", "ml/Std", "ml/kg/h",
    "Milligramm", "micrograms per kilogram per minute", "Mikrogramm/kg KG/Stunde", "milligram per kilogram",
    "microgrammes/kg/heure", "miligramos", "millilitres per hour", "minute", "minutes", "mins", "hr", "hrs", "hour",
    "hours", "day", "days", "Stunde", "kgs",
]  # fmt: skip
"""Some of the ways in which people write the units of the table."""
WEIGHTS = {
    "kg": Fraction(1), "kgs": Fraction(1), "g": Fraction(1, 1000), "[lb_av]": Fraction("0.45359237"),
    "lb": Fraction("0.45359237"), "lbs": Fraction("0.45359237"), "[oz_av]": Fraction("0.45359237") / 16,
    "oz": Fraction("0.45359237") / 16, "[stone_av]": Fraction("0.45359237") * 14,
}  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """A unit of dose or rate by its spelling: mg or mL, perhaps per kg, perhaps per hour."""

    text: str
    factor: Fraction
    volume: bool
    per_kg: bool
    rate: bool


def unit(text: str) -> Unit:
    """The unit as its spelling says. Raises KeyError for a part that this file does not know."""
    parts = (
        text.replace("(", "").replace(")", "").replace("-1", "").replace(".", "/").replace(" per ", "/").split("/")
    )
    first, *below = [_SPELT.get(part, part) for part in parts]
    times = [part for part in below if part != "kg"]
    per_hour = Fraction(60) / Fraction(_MINUTES[times[0]]) if times else Fraction(1)
    amount = VOLUME[first] if first in VOLUME else _MASS[first]
    return Unit(text, amount * per_hour, first in VOLUME, "kg" in below, bool(times))


def _texts(*dimensions: str) -> list[str]:
    return [text for text in (*units.codes(), *SPELLINGS) if units.is_of(text, *dimensions)]


DOSE_UNITS = [unit(text) for text in _texts("mass", "mass_per_bodymass", "volume")]
RATE_UNITS = [
    unit(text)
    for text in _texts("mass_per_time", "mass_per_bodymass_time", "volume_per_time", "volume_per_bodymass_time")
]
TIME_UNITS = {text: Fraction(_MINUTES[_SPELT.get(text, text)]) for text in _texts("time")}


def decimal(value: Fraction) -> Decimal | None:
    """The number as a clinician could write it; None where it does not end, or only after 25 places."""
    rest = value.denominator
    twos = (rest & -rest).bit_length() - 1
    rest >>= twos
    fives = 0
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    places = max(twos, fives)
    if rest != 1 or places > 25:
        return None
    return Decimal(value.numerator * 10**places // value.denominator).scaleb(-places)


def plain(value: Decimal) -> Decimal:
    """Without an exponent."""
    return Decimal(f"{value:f}")


def quantity(value: Fraction, text: str) -> dict[str, Any] | None:
    written = decimal(value)
    return None if written is None else {"value": plain(written), "unit": text, "system": UCUM, "code": text}


def in_unit(per_kg: Fraction, of: Unit, kg: Fraction, mg_per_ml: Fraction) -> Fraction:
    """`per_kg` (mg/kg, or mg/kg/h for a rate) as the number before a unit."""
    amount = per_kg / of.factor
    if not of.per_kg:
        amount *= kg
    return amount / mg_per_ml if of.volume else amount
