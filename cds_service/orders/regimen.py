"""From what is written to what the patient gets: steps in mg, mg/kg, mg/h and mg/kg/h at a given weight."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Literal

import msgspec
from msgspec.structs import replace

from cds_service import units
from cds_service.orders import text, words
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.measure import RATE_DIMENSIONS
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
    uncompared: tuple[str, ...] = ()
    """Amounts of its words that cannot be held against it."""
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
    """All steps of an order's dosage instructions, in their order. Instructions without any amount give none.

    Words may raise a step or add one, never lower or remove one.
    """
    structured = [[_step(way, reading) for way in _ways(each)] for each in written]
    known = [amount for ways in structured for step in ways for amount in _stated_by(step, reading)]
    steps: list[Step] = []
    for each, ways in zip(written, structured, strict=True):
        for step in ways:
            raised, beside = _with_words(step, known, reading)
            steps += [raised, *beside]
            known += [amount for step in beside for amount in _stated_by(step, reading)]
        if not ways and each.words:
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


def _ways(written: Written) -> list[Written]:
    """An instruction with an amount; twice where one quantity may be a dose and may be a rate."""
    if {amount.path for amount in written.dose} & {amount.path for amount in written.rate}:
        return [dataclasses.replace(written, dose=()), dataclasses.replace(written, rate=())]
    return [written] if written.has_amount else []


def _step(written: Written, reading: Reading) -> Step:
    dose, dose_faults = _agreed(written.dose, "dose", reading)
    rate, rate_faults = _agreed(written.rate, "rate", reading)
    contradictions = tuple(dict.fromkeys((*written.contradictions, *dose_faults, *rate_faults)))
    step = _computed(Step(written, None, False, dose=dose, rate=rate, contradictions=contradictions), reading)
    return replace(step, contradictions=(*step.contradictions, *_above_most(step, reading)))


def _computed(step: Step, reading: Reading) -> Step:
    """The step with its figures, from its dose and its rate."""
    if step.rate is not None:
        return _beside_rate(step, step.dose, step.rate, reading)
    assert step.dose is not None
    if step.written.rate_refused:
        return replace(step, finite=True, why_unknown="the rate beside the dose cannot be read")
    return _classed(_finite(step, mass(step.dose, reading), step.written.minutes), reading)


def _above_most(step: Step, reading: Reading) -> Iterator[str]:
    """A dose above the order's own most: per administration, or in whatever period."""
    cap = step.written.cap
    for name, amount in (("single dose", step.written.at_most), ("dose in a period", cap.amount if cap else None)):
        most = mass(amount, reading) if amount is not None and step.finite else (None, None)
        if any(
            given is not None and limit is not None and given > limit
            for given, limit in zip((step.mg, step.mg_per_kg), most, strict=True)
        ):
            yield f"the dose is above the order's own largest {name}"


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
    return _classed(_finite(step, (given[0], given[1]), minutes), reading)


_ONE = frozenset(units.find(code, "time").factor for code in ("s", "min", "h", "d", "wk"))
"""Minutes: a ratio to one of these is a speed."""


def _is_repeated_dose(written: Written, rate: Amount) -> bool:
    """21 mg in 20 min, every 6 h, for 3 days: no infusion of three days. 500 mg in 24 h every day is one."""
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
    if len({amount.path for amount in amounts}) == 1:
        return highest, ()  # how one quantity contradicts itself is said already
    return highest, (f"two statements of the {what} differ; the higher is judged",)


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


# Words ------------------------------------------------------------------------------------------------------


class Stated(msgspec.Struct, frozen=True):
    """An amount that the structure states, so that words may repeat it."""

    is_rate: bool
    figures: tuple[Fraction | None, Fraction | None]
    """(mg, mg/kg) of a dose, or (mg/h, mg/kg/h) of a rate."""
    dimension: str | None = None
    value: Fraction | None = None
    """As it is written, where it is."""


def _stated_by(step: Step, reading: Reading) -> Iterator[Stated]:
    """What words may say of a step: its doses and rates, both ends of them, what they come to, and its caps."""
    written = step.written
    cap = written.cap.amount if written.cap is not None else None
    for amount in (*written.dose, *written.rate, step.dose, step.rate, written.at_most, cap):
        if amount is not None:
            yield _stated(amount, reading)
            if amount.low is not None:
                yield _stated(dataclasses.replace(amount, value=amount.low), reading)
    yield Stated(False, (step.mg, step.mg_per_kg))
    yield Stated(True, (step.mg_per_hour, step.mg_per_kg_per_hour))
    if cap is not None and written.cap is not None:
        hours = written.cap.minutes / MINUTES_PER_HOUR
        mg, mg_per_kg = mass(cap, reading)
        yield Stated(True, (mg and mg / hours, mg_per_kg and mg_per_kg / hours))


def _stated(amount: Amount, reading: Reading) -> Stated:
    return Stated(amount.dimension in RATE_DIMENSIONS, mass(amount, reading), amount.dimension, amount.value)


def _repeats(amount: Amount, known: Sequence[Stated], reading: Reading) -> bool:
    """Whether words only repeat what the structure states."""
    said = _stated(amount, reading)
    for each in known:
        pairs = [*zip(each.figures, said.figures, strict=True)]
        if each.dimension == said.dimension:
            pairs.append((each.value, said.value))
        close = (x is not None and y is not None and _close(x, y, reading.conventions.tolerance) for x, y in pairs)
        if each.is_rate == said.is_rate and any(close):
            return True
    return False


def _with_words(step: Step, known: Sequence[Stated], reading: Reading) -> tuple[Step, list[Step]]:
    """The step with the higher of its own amounts and of those in its words, and steps that stand in words alone."""
    said = text.read("; ".join(step.written.words), alone=False)
    step = _at_shorter_time(step, said.minutes, reading)
    beside: list[Step] = []
    for quantities in (said.doses, said.rates):
        amounts = [_as_amount(quantity) for quantity in quantities]
        others = [amount for amount in amounts if not _repeats(amount, known, reading)]
        if not others:
            continue
        own = step.rate if others[0].dimension in RATE_DIMENSIONS else step.dose
        if own is None:
            # mL beside a rate are the bag, not a dose.
            others = [amount for amount in others if amount.dimension != "volume"]
            beside += [
                _aloud(step.written, each, None, reading)
                for each in {(a.dimension, a.value): a for a in others}.values()
            ]
            faults = tuple(f"the words say {words.amount(amount)} as well" for amount in others)
            step = replace(step, contradictions=(*step.contradictions, *dict.fromkeys(faults)))
        else:
            step = _raised(step, own, others, len(others) == len(amounts), reading)
    return step, beside


def _raised(step: Step, own: Amount, others: Sequence[Amount], none_repeats: bool, reading: Reading) -> Step:
    """The step at the highest of `others` where that is above its `own` amount. A lower one is only said."""
    pairs = [(other, _comparable(own, other, reading)) for other in others]
    higher = [(pair[1] / pair[0], other) for other, pair in pairs if pair is not None and pair[1] > pair[0]]
    lower = [other for other, pair in pairs if pair is not None and pair[1] <= pair[0]]
    unlike = [other for other, pair in pairs if pair is None and other.dimension != "volume"]
    if higher:
        most = max(higher, key=lambda each: each[0])[1]
        fault = f"the words say {words.amount(most)} and the structure {words.amount(own)}; the higher is judged"
        changed = replace(step, rate=most) if own is step.rate else replace(step, dose=most)
        step = _computed(replace(changed, contradictions=(*step.contradictions, fault)), reading)
    elif lower and none_repeats:
        fault = f"the words say {words.amount(lower[0])} and the structure {words.amount(own)}; the higher is judged"
        step = replace(step, contradictions=(*step.contradictions, fault))
    faults = (f"“{words.amount(other)}” in words cannot be held against {words.amount(own)}" for other in unlike)
    return replace(step, uncompared=(*step.uncompared, *dict.fromkeys(faults)))


def _at_shorter_time(step: Step, minutes: Fraction | None, reading: Reading) -> Step:
    """The step over the time that its words say, where that is another than the one beside its dose."""
    written, tolerance = step.written, reading.conventions.tolerance
    cap = written.cap.minutes if written.cap is not None else None
    known = [each for each in (written.minutes, written.bounds_minutes, cap, step.minutes) if each is not None]
    if minutes is None or written.minutes is None or any(_close(minutes, each, tolerance) for each in known):
        return step
    fault = f"the words say over {words.duration(minutes)}, the structure over {words.duration(written.minutes)}"
    step = replace(step, contradictions=(*step.contradictions, fault))
    if step.rate is not None or minutes > written.minutes:
        return step
    return _computed(replace(step, written=dataclasses.replace(written, minutes=minutes)), reading)


def _spoken(written: Written, reading: Reading) -> list[Step]:
    """Steps from words alone, each judged for itself."""
    said = text.read("; ".join(written.words))
    minutes = said.minutes if not said.doses else None
    steps = [_aloud(written, _as_amount(quantity), said.minutes, reading) for quantity in said.doses]
    return steps + [_aloud(written, _as_amount(quantity), minutes, reading) for quantity in said.rates]


def _aloud(written: Written, amount: Amount, minutes: Fraction | None, reading: Reading) -> Step:
    """A step that stands in words alone."""
    figures = mass(amount, reading)
    if amount.dimension not in RATE_DIMENSIONS:
        step = Step(written, None, False, dose=amount, spoken=True)
        return _classed(_finite(step, figures, minutes), reading)
    step = Step(written, None, False, rate=amount, spoken=True)
    if minutes is not None:
        hours = minutes / MINUTES_PER_HOUR
        given = tuple(None if x is None else x * hours for x in figures)
        return _classed(_finite(step, (given[0], given[1]), minutes), reading)
    return replace(step, kind="continuous", mg_per_hour=figures[0], mg_per_kg_per_hour=figures[1])


def _as_amount(quantity: Quantity) -> Amount:
    return Amount(quantity.dimension, quantity.value, quantity.unit.code, quantity.written, "quantity", ())
