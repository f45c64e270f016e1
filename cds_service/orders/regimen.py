"""From one instruction to what the patient gets: a step in mg, mg/kg, mg/h and mg/kg/h at a given weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from operator import attrgetter
from typing import Literal

import msgspec
from msgspec.structs import replace

from cds_service import units
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.measure import COUNT_DIMENSIONS
from cds_service.orders.route import Route
from cds_service.says import Said
from cds_service.says import orders as says

Kind = Literal["bolus", "short", "continuous"]
MINUTES_PER_HOUR = 60


@dataclass(frozen=True, slots=True)
class Conventions:
    """The limits of the protocol by which a dose is classed."""

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
    contradictions: tuple[Said, ...] = ()
    uncompared: tuple[Said, ...] = ()
    """Amounts of its words that cannot be held against it."""
    why_unknown: Said | None = None
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


FIGURES: Mapping[str, Callable[[Step], Fraction | None]] = {
    "mg": attrgetter("mg"),
    "mg/kg": attrgetter("mg_per_kg"),
    "mg/h": attrgetter("mg_per_hour"),
    "mg/kg/h": attrgetter("mg_per_kg_per_hour"),
}
"""What a step comes to, by its unit."""


class Reading(msgspec.Struct, frozen=True):
    """What a regimen is computed with."""

    body: Body
    mg_per_ml: Fraction | None
    conventions: Conventions
    container_is_dose: bool = False
    """Depression: a volume beside a rate is the dose (over dose / rate), not the bag."""
    mg_in: Mapping[str, Fraction] = {}
    """mg in one of each unit that the product is counted in."""


def mass(amount: Amount, reading: Reading) -> tuple[Fraction | None, Fraction | None]:
    """(mg, mg/kg) of a dose, or (mg/h, mg/kg/h) of a rate."""
    given_by, judged_by = reading.body.given_by, reading.body.judged_by
    value = amount.value
    if amount.dimension.startswith("volume"):
        if reading.mg_per_ml is None:
            return None, None
        value = value * reading.mg_per_ml
    elif amount.dimension in COUNT_DIMENSIONS:
        if amount.unit not in reading.mg_in:
            return None, None
        value = value * reading.mg_in[amount.unit]
    if "bodymass" in amount.dimension:
        mg = value * given_by if given_by is not None else None
        if given_by == judged_by or mg is None or judged_by is None:
            return mg, value
        return mg, mg / judged_by
    return value, value / judged_by if judged_by is not None else None


def step_of(written: Written, reading: Reading) -> Step:
    dose, dose_faults = _agreed(written.dose, says.TWO_DOSES, reading)
    rate, rate_faults = _agreed(written.rate, says.TWO_RATES, reading)
    contradictions = tuple(dict.fromkeys((*written.contradictions, *dose_faults, *rate_faults)))
    step = computed(Step(written, None, False, dose=dose, rate=rate, contradictions=contradictions), reading)
    return replace(step, contradictions=(*step.contradictions, *_above_most(step, reading)))


def computed(step: Step, reading: Reading) -> Step:
    """The step with its figures, from its dose and its rate."""
    if step.rate is not None:
        return _beside_rate(step, step.dose, step.rate, reading)
    assert step.dose is not None
    if step.written.rate_refused:
        return replace(step, finite=True, why_unknown=says.RATE_UNREAD)
    return classed(finite(step, mass(step.dose, reading), step.written.minutes), reading)


def _above_most(step: Step, reading: Reading) -> Iterator[Said]:
    """Yield each of the order's own maxima (per administration, per period) that its finite doses exceed."""
    written = step.written
    most = [(says.ABOVE_OWN_LARGEST, written.at_most, 1)]
    if written.cap is not None:
        doses, repeat = 1, written.repeat
        if repeat.interval is not None and not written.as_needed:
            doses = math.ceil(written.cap.minutes / repeat.interval)
            doses = min(doses, repeat.count) if repeat.count else doses
        most.append((says.ABOVE_OWN_MAXIMUM, written.cap.amount, doses))
    for fault, amount, times in most:
        if amount is not None and step.finite:
            pairs = zip((step.mg, step.mg_per_kg), mass(amount, reading), strict=True)
            if any(given is not None and limit is not None and given * times > limit for given, limit in pairs):
                yield fault


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
    if minutes is None and dose is None and _is_repeated_dose(written, rate):
        minutes = rate.per_minutes
    elif minutes is None and not is_volume:
        minutes = written.bounds_minutes
    if minutes is None:
        return replace(step, kind="continuous", mg_per_hour=per_hour[0], mg_per_kg_per_hour=per_hour[1])
    hours = minutes / MINUTES_PER_HOUR
    given = tuple(None if x is None else x * hours for x in per_hour)
    return classed(finite(step, (given[0], given[1]), minutes), reading)


_ONE = frozenset(units.find(code, "time").factor for code in ("s", "min", "h", "d", "wk"))
"""Minutes: a ratio to one of these is a speed."""


def _is_repeated_dose(written: Written, rate: Amount) -> bool:
    """Whether a ratio is a dose: 21 mg in 20 min every 6 h for 3 days is one, 500 mg in 24 h every day is not."""
    interval, bounds = written.repeat.interval, written.bounds_minutes
    if rate.per_minutes is None or rate.per_minutes in _ONE:
        return False
    if interval is None:
        return written.repeat.count is not None and bounds is None
    return rate.per_minutes < interval and (bounds is None or bounds > interval)


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
        if minutes is not None and not close(minutes, stated, reading.conventions.tolerance):
            said = says.DO_NOT_FIT
            step = replace(step, contradictions=(*step.contradictions, said))
            hours = stated / MINUTES_PER_HOUR
            by_rate = [None if x is None else x * hours for x in per_hour]
            larger = [
                max((x for x in pair if x is not None), default=None) for pair in zip(given, by_rate, strict=True)
            ]
            given = (larger[0], larger[1])
        minutes = stated
    if minutes is None:
        why = says.NO_RUN_TIME
        return replace(step, finite=True, mg=given[0], mg_per_kg=given[1], why_unknown=why)
    return classed(finite(step, given, minutes), reading)


def finite(step: Step, given: tuple[Fraction | None, Fraction | None], minutes: Fraction | None) -> Step:
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


def classed(step: Step, reading: Reading) -> Step:
    if step.minutes is None or step.minutes <= reading.conventions.bolus_minutes:
        return replace(step, kind="bolus")
    if step.minutes < reading.conventions.continuous_minutes:
        return replace(step, kind="short")
    return replace(step, kind="continuous")


def close(a: Fraction, b: Fraction, tolerance: Fraction) -> bool:
    return abs(a - b) <= tolerance * min(a, b)


def _agreed(amounts: tuple[Amount, ...], differ: Said, reading: Reading) -> tuple[Amount | None, tuple[Said, ...]]:
    """The amount that counts: the first one, or the highest where two statements of it disagree."""
    if not amounts:
        return None, ()
    pairs = [comparable(a, b, reading) for a, b in combinations(_extremes(amounts), 2)]
    if all(pair is None or close(*pair, reading.conventions.tolerance) for pair in pairs):
        return amounts[0], ()
    highest = amounts[0]
    for other in amounts[1:]:
        pair = comparable(highest, other, reading)
        highest = other if pair is not None and pair[1] > pair[0] else highest
    if len({amount.path for amount in amounts}) == 1:
        return highest, ()  # how one quantity contradicts itself is said already
    return highest, (differ,)


def _extremes(amounts: tuple[Amount, ...]) -> list[Amount]:
    """The least and the most of each kind of unit: where these agree, all do."""
    if len(amounts) <= 2:
        return list(amounts)
    kinds = dict.fromkeys(amount.dimension for amount in amounts)
    of_kind = [[amount for amount in amounts if amount.dimension == kind] for kind in kinds]
    return [end(some, key=lambda amount: amount.value) for some in of_kind for end in (min, max)]


def comparable(a: Amount, b: Amount, reading: Reading) -> tuple[Fraction, Fraction] | None:
    """Both amounts in one measure; None if they share none."""
    if a.dimension == b.dimension:
        return a.value, b.value
    for x, y in zip(mass(a, reading), mass(b, reading), strict=True):
        if x is not None and y is not None:
            return x, y
    return None


_RUNS_IN = frozenset({"intravenous", "subcutaneous"})


def says_how_fast(written: Written) -> bool:
    """Whether an instruction says a rate, or a dose that is no bag: in a time, at once, or not by a line."""
    said = written.said
    if written.rate or said.rates:
        return True
    is_no_bag = bool(written.minutes or said.minutes or written.push) or written.route.kind not in _RUNS_IN
    return is_no_bag and bool(written.dose or said.doses)
