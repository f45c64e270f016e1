"""The dose of an order as a link to a SMART app carries it: drug, route, figures and units, nothing of the patient.

The EHR hands the text back with the launch (CDS Hooks: `appContext`), so that it is read as any input is.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

import msgspec
from msgspec import Meta

from cds_service import units
from cds_service.errors import UNREADABLE
from cds_service.orders.regimen import Step

_PLACES = 6
_LONGEST = 500
_Number = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$")]
_Name = Annotated[str, Meta(pattern=r"^[a-z-]{1,40}$")]


class Amount(msgspec.Struct, frozen=True, omit_defaults=True):
    """A dose over some minutes, again after some, or a rate; for some minutes in all."""

    value: _Number
    unit: Annotated[str, Meta(max_length=20)]
    over: _Number | None = None
    every: _Number | None = None
    until: _Number | None = None


class Carried(msgspec.Struct, frozen=True, omit_defaults=True):
    """An order of one drug by one route: a dose, a rate, or first the one and then the other."""

    drug: _Name
    route: _Name
    dose: Amount | None = None
    rate: Amount | None = None
    prn: bool = False


def carry(drug: str, steps: Sequence[Step]) -> str | None:
    """The order as text; None where it says more than one dose and one rate, or what has no figure."""
    doses, rates = list[Amount | None](), list[Amount | None]()
    for step in steps:
        of = rates if step.kind == "continuous" else doses
        of.append(None if step.kind is None or step.spoken else _amount(step))
    routes, as_needed = {step.route.kind for step in steps}, {step.written.as_needed for step in steps}
    is_told = bool(steps) and None not in (*doses, *rates)
    if not is_told or len(doses) > 1 or len(rates) > 1 or len(routes) > 1 or len(as_needed) > 1:
        return None
    made = Carried(drug, routes.pop(), next(iter(doses), None), next(iter(rates), None), as_needed.pop())
    return msgspec.json.encode(made).decode()


def carried(text: object) -> Carried | None:
    """What a launch has handed back; None where that is nothing which this service could have written."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    try:
        found = msgspec.json.decode(text, type=Carried)
    except (msgspec.DecodeError, *UNREADABLE):
        return None
    return found if all(each.unit in units.codes() for each in (found.dose, found.rate) if each) else None


def _amount(step: Step) -> Amount | None:
    """The step as it is written, of a range the highest; a volume as the mass in it."""
    written, repeat = step.written, step.written.repeat
    given = step.rate if step.kind == "continuous" else step.dose
    if given is not None and given.open_ended:
        return None
    if given is not None and given.per_minutes is None and _is_mass(given.unit):
        value: Fraction | None = given.written
        unit = given.unit
    else:
        value, unit = (step.mg_per_hour, "mg/h") if step.kind == "continuous" else (step.mg, "mg")
    if repeat.unreadable or repeat.in_a_week is not None or repeat.count not in (None, 1):
        return None
    is_rate = step.kind == "continuous"
    until = step.minutes if is_rate and step.finite else written.bounds_minutes
    times = None if is_rate else step.minutes, repeat.interval, until
    numbers = [_number(each) for each in (value, *times)]
    if numbers[0] is None or any(each is None for each, of in zip(numbers[1:], times, strict=True) if of is not None):
        return None
    return Amount(numbers[0], unit, *numbers[1:])


def _is_mass(unit: str) -> bool:
    return any(each.startswith("mass") for each in units.dimensions_of(unit))


def _number(value: Fraction | None) -> str | None:
    """As a decimal, where it is one of few places: a rounded dose would be another dose."""
    if value is None or value * 10**_PLACES % 1 or value >= 10**_PLACES:
        return None
    return f"{(Decimal(value.numerator) / Decimal(value.denominator)).normalize():f}"
