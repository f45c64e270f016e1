"""From what is written to what the patient gets: steps in mg, mg/kg, mg/h and mg/kg/h at a given weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Literal

import msgspec
from msgspec.structs import replace

from cds_service.orders import text
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.route import Route
from cds_service.units import Quantity

Kind = Literal["bolus", "short", "continuous"]
MINUTES_PER_HOUR = 60


@dataclass(frozen=True, slots=True)
class Conventions:
    """How a dose is classed (clinical-evidence 4a); the protocol's limits fill them."""

    bolus_minutes: Fraction
    """A dose that runs no longer is a bolus."""
    continuous_minutes: Fraction
    """A dose that runs this long or longer is continuous."""
    tolerance: Fraction
    """Two statements of one dose that differ by no more (of the smaller) are the same: 0.05."""


class Body(msgspec.Struct, frozen=True, cache_hash=True):
    """The weights (kg) at which an order is read: `given_by` turns mg/kg into mg, `judged_by` mg into mg/kg.

    They differ only where a weight is doubted: the pump would give mg by the new one, the patient may have the old.
    """

    given_by: Fraction | None
    judged_by: Fraction | None

    @classmethod
    def of(cls, kg: Fraction | None) -> Body:
        return cls(kg, kg)


class Step(msgspec.Struct, frozen=True):
    """One part of a regimen: what is given, and how fast. None where it cannot be computed."""

    written: Written
    kind: Kind | None
    finite: bool
    mg: Fraction | None = None
    mg_per_kg: Fraction | None = None
    mg_per_hour: Fraction | None = None
    mg_per_kg_per_hour: Fraction | None = None
    minutes: Fraction | None = None
    dose: Amount | None = None
    rate: Amount | None = None
    contradictions: tuple[str, ...] = ()
    why_unknown: str | None = None
    """Why `kind` is None, or why a figure is missing."""
    spoken: bool = False
    """Read from words: it may raise a finding, never clear one."""

    @property
    def route(self) -> Route:
        return self.written.route

    @property
    def is_push(self) -> bool:
        """The method or route says so; a stated duration counts where it is compared."""
        return self.written.push


class Reading(msgspec.Struct, frozen=True):
    """What a regimen is computed with."""

    body: Body
    mg_per_ml: Fraction | None
    conventions: Conventions
    container_is_dose: bool = False
    """Depression: a volume beside a rate is the dose (over dose / rate), not the bag."""


def regimen(written: Sequence[Written], reading: Reading) -> tuple[Step, ...]:
    """All steps of an order's dosage instructions, in their order. Instructions without any amount give none."""
    steps: list[Step] = []
    for each in written:
        if each.has_amount:
            steps.append(_step(each, reading))
        elif each.text:
            steps += _spoken(each, reading)
    return tuple(steps)


def mass(amount: Amount, reading: Reading) -> tuple[Fraction | None, Fraction | None]:
    """(mg, mg/kg) of a dose, or (mg/h, mg/kg/h) of a rate."""
    given_by, judged_by = reading.body.given_by, reading.body.judged_by
    value = amount.value
    if amount.dimension.startswith("volume"):
        if reading.mg_per_ml is None:
            return None, None
        value = value * reading.mg_per_ml
    if "bodymass" in amount.dimension:
        mg = value * given_by if given_by is not None else None
        if given_by == judged_by or mg is None or judged_by is None:
            return mg, value
        return mg, mg / judged_by
    return value, value / judged_by if judged_by is not None else None


def _step(written: Written, reading: Reading) -> Step:
    dose, dose_faults = _agreed(written.dose, "dose", reading)
    rate, rate_faults = _agreed(written.rate, "rate", reading)
    contradictions = (*dose_faults, *rate_faults, *_against_text(written, dose, rate, reading))
    step = Step(written, None, False, dose=dose, rate=rate, contradictions=contradictions)
    if rate is None:
        assert dose is not None
        if written.rate_refused:
            return replace(step, finite=True, why_unknown="the rate beside the dose cannot be read")
        return _classed(_finite(step, mass(dose, reading), written.minutes), reading)
    return _beside_rate(step, dose, rate, reading)


def _beside_rate(step: Step, dose: Amount | None, rate: Amount, reading: Reading) -> Step:
    """A rate, alone or beside a dose: a container, a finite dose, or a rate over a stated time."""
    written = step.written
    per_hour = mass(rate, reading)
    is_volume = written.container or (dose is not None and dose.dimension == "volume")
    if dose is not None and not is_volume:
        return _mass_beside_rate(step, mass(dose, reading), per_hour, reading)
    if dose is not None and reading.container_is_dose and written.minutes is None:
        return _mass_beside_rate(step, mass(dose, reading), per_hour, reading)
    minutes = written.minutes
    if minutes is None and not is_volume:
        minutes = written.bounds_minutes
    if minutes is None:
        return replace(step, kind="continuous", mg_per_hour=per_hour[0], mg_per_kg_per_hour=per_hour[1])
    hours = minutes / MINUTES_PER_HOUR
    given = tuple(None if x is None else x * hours for x in per_hour)
    return _classed(_finite(step, (given[0], given[1]), minutes), reading)


def _mass_beside_rate(
    step: Step,
    given: tuple[Fraction | None, Fraction | None],
    per_hour: tuple[Fraction | None, Fraction | None],
    reading: Reading,
) -> Step:
    """A dose at a rate: a finite dose over dose / rate, or over the stated time where they agree."""
    minutes = next(
        (
            amount / speed * MINUTES_PER_HOUR
            for amount, speed in zip(given, per_hour, strict=True)
            if amount is not None and speed is not None and speed > 0
        ),
        None,
    )
    stated = step.written.minutes
    if stated is not None:
        if minutes is not None and not _close(minutes, stated, reading.conventions.tolerance):
            said = "dose, rate and duration do not fit each other"
            step = replace(step, contradictions=(*step.contradictions, said))
            hours = stated / MINUTES_PER_HOUR
            by_rate = [None if x is None else x * hours for x in per_hour]
            larger = [
                max((x for x in pair if x is not None), default=None) for pair in zip(given, by_rate, strict=True)
            ]
            given = (larger[0], larger[1])
        minutes = stated
    if minutes is None:
        why = "the run time cannot be computed without a weight"
        return replace(step, finite=True, mg=given[0], mg_per_kg=given[1], why_unknown=why)
    return _classed(_finite(step, given, minutes), reading)


def _finite(step: Step, given: tuple[Fraction | None, Fraction | None], minutes: Fraction | None) -> Step:
    mg, mg_per_kg = given
    hours = minutes / MINUTES_PER_HOUR if minutes else None
    return replace(
        step,
        finite=True,
        mg=mg,
        mg_per_kg=mg_per_kg,
        minutes=minutes,
        mg_per_hour=mg / hours if mg is not None and hours else None,
        mg_per_kg_per_hour=mg_per_kg / hours if mg_per_kg is not None and hours else None,
    )


def _classed(step: Step, reading: Reading) -> Step:
    if step.minutes is None or step.minutes <= reading.conventions.bolus_minutes:
        return replace(step, kind="bolus")
    if step.minutes < reading.conventions.continuous_minutes:
        return replace(step, kind="short")
    return replace(step, kind="continuous")


def _close(a: Fraction, b: Fraction, tolerance: Fraction) -> bool:
    return abs(a - b) <= tolerance * min(a, b)


def _agreed(amounts: tuple[Amount, ...], what: str, reading: Reading) -> tuple[Amount | None, tuple[str, ...]]:
    """The amount that counts: the first one, or the highest where two statements of it disagree."""
    if not amounts:
        return None, ()
    pairs = [_comparable(a, b, reading) for a, b in combinations(_extremes(amounts), 2)]
    if all(pair is None or _close(*pair, reading.conventions.tolerance) for pair in pairs):
        return amounts[0], ()
    highest = amounts[0]
    for other in amounts[1:]:
        pair = _comparable(highest, other, reading)
        highest = other if pair is not None and pair[1] > pair[0] else highest
    return highest, (f"the ordered and the calculated {what} differ; the higher is judged",)


def _extremes(amounts: tuple[Amount, ...]) -> list[Amount]:
    """The least and the most of each kind of unit: where these agree, all do."""
    if len(amounts) <= 2:
        return list(amounts)
    kinds = dict.fromkeys(amount.dimension for amount in amounts)
    of_kind = [[amount for amount in amounts if amount.dimension == kind] for kind in kinds]
    return [end(some, key=lambda amount: amount.value) for some in of_kind for end in (min, max)]


def _comparable(a: Amount, b: Amount, reading: Reading) -> tuple[Fraction, Fraction] | None:
    """Both in the same measure, where there is one."""
    if a.dimension == b.dimension:
        return a.value, b.value
    for x, y in zip(mass(a, reading), mass(b, reading), strict=True):
        if x is not None and y is not None:
            return x, y
    return None


def _against_text(written: Written, dose: Amount | None, rate: Amount | None, reading: Reading) -> tuple[str, ...]:
    """A single amount in the text that is another than the structured one of its kind."""
    spoken = text.read(written.text)
    for amount, said in ((dose, spoken.doses), (rate, spoken.rates)):
        same_kind = [q for q in said if amount is not None and q.dimension == amount.dimension]
        if amount is not None and len(said) == 1 and same_kind and not _says(amount, same_kind[0], reading):
            return ("the text and the structured dose differ",)
    return ()


def _says(amount: Amount, said: Quantity, reading: Reading) -> bool:
    low = amount.low if amount.low is not None else amount.value
    return any(_close(said.value, bound, reading.conventions.tolerance) for bound in (amount.value, low))


def _spoken(written: Written, reading: Reading) -> list[Step]:
    """Steps from words alone, each judged for itself."""
    said = text.read(written.text)
    steps = []
    for quantity in said.doses:
        step = replace(_bare(written), dose=_as_amount(quantity))
        assert step.dose is not None
        steps.append(_classed(_finite(step, mass(step.dose, reading), said.minutes), reading))
    for quantity in said.rates:
        step = replace(_bare(written), rate=_as_amount(quantity))
        assert step.rate is not None
        per_hour = mass(step.rate, reading)
        if said.minutes is not None and not said.doses:
            hours = said.minutes / MINUTES_PER_HOUR
            given = tuple(None if x is None else x * hours for x in per_hour)
            steps.append(_classed(_finite(step, (given[0], given[1]), said.minutes), reading))
        else:
            steps.append(replace(step, kind="continuous", mg_per_hour=per_hour[0], mg_per_kg_per_hour=per_hour[1]))
    return steps


def _bare(written: Written) -> Step:
    return Step(written, None, False, spoken=True)


def _as_amount(quantity: Quantity) -> Amount:
    return Amount(quantity.dimension, quantity.value, quantity.unit.code, quantity.written, "quantity", ())
