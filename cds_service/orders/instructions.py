"""All instructions of an order as steps: what its structure gives, held against what its words say."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction

import msgspec
from msgspec.structs import replace

from cds_service import bounds
from cds_service.deadline import give_way
from cds_service.orders import words
from cds_service.orders.dosage import Amount, Written
from cds_service.orders.measure import RATE_DIMENSIONS
from cds_service.orders.regimen import (
    MINUTES_PER_HOUR,
    Reading,
    Step,
    classed,
    close,
    comparable,
    computed,
    finite,
    mass,
    step_of,
)
from cds_service.orders.text import NOTHING, Restated, Spoken
from cds_service.orders.unread import Unread
from cds_service.says import orders as says
from cds_service.units import Quantity

_DAY = 24 * MINUTES_PER_HOUR


def regimen(written: Sequence[Written], reading: Reading) -> tuple[Step, ...]:
    """All steps of an order's dosage instructions, in their order. Instructions without any amount give none.

    Words may raise a step or add one, never lower or remove one.
    """
    structured = [[step_of(way, reading) for way in _ways(each)] for each in written]
    if all(each.said == NOTHING for each in written):
        return tuple(step for ways in structured for step in ways)
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


def _ways(written: Written) -> list[Written]:
    """An instruction with an amount; twice where one quantity may be a dose and may be a rate."""
    if {amount.path for amount in written.dose} & {amount.path for amount in written.rate}:
        return [dataclasses.replace(written, dose=()), dataclasses.replace(written, rate=())]
    return [written] if written.has_amount else []


class Stated(msgspec.Struct, frozen=True):
    """An amount that the structure states, so that words may repeat it."""

    is_rate: bool
    figures: tuple[Fraction | None, Fraction | None]
    """(mg, mg/kg) of a dose, or (mg/h, mg/kg/h) of a rate."""
    dimension: str | None = None
    value: Fraction | None = None
    """The amount as written; None if it was computed."""


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
    give_way()
    said = _stated(amount, reading)
    for each in known:
        pairs = [*zip(each.figures, said.figures, strict=True)]
        if each.dimension == said.dimension:
            pairs.append((each.value, said.value))
        alike = (x is not None and y is not None and close(x, y, reading.conventions.tolerance) for x, y in pairs)
        if each.is_rate == said.is_rate and any(alike):
            return True
    return False


def _with_words(step: Step, known: Sequence[Stated], reading: Reading) -> tuple[Step, list[Step]]:
    """The step at the higher of its own amounts and those in its words, and steps that only the words state.

    The maximum of doses as needed is no dose beside them, and neither is one that is none of one dose.
    """
    said = step.written.said
    mixed = _of_mixture(said, reading)
    step = _at_shorter_time(step, said.minutes, reading)
    strange = (each.words for each in said.unread if not _is_known(each, step, known, reading))
    step = replace(step, uncompared=(*step.uncompared, *map(says.WORDS_UNREAD, dict.fromkeys(strange))))
    beside: list[Step] = []
    for quantities in (said.doses, said.rates):
        amounts = [_as_amount(quantity) for quantity in dict.fromkeys(quantities)]
        others = [amount for amount in amounts if not _repeats(amount, known, mixed)]
        others = [each for each in others if not _is_maximum(each, said, step)]
        if step.written.as_needed and step.rate is None:
            others = [each for each in others if not any(each == _as_amount(most) for most in said.most)]
        step = _unequal(step, quantities, said, known, mixed)
        if not others:
            continue
        own = step.rate if others[0].dimension in RATE_DIMENSIONS else step.dose
        if own is None:
            others = [each for each in others if not _repeats_over(each, said.minutes, known, mixed)]
            # mL beside a rate are the bag, not a dose.
            others = [amount for amount in others if amount.dimension != "volume"]
            beside += [
                _aloud(step.written, each, None, mixed)
                for each in {(a.dimension, a.value): a for a in others}.values()
            ]
            faults = tuple(says.WORDS_SAY_AS_WELL(words.amount(amount)) for amount in others)
            step = replace(step, contradictions=(*step.contradictions, *dict.fromkeys(faults)))
        else:
            # Millilitres that the structure orders are those of its product.
            own_reading = reading if own.dimension.startswith("volume") else mixed
            step = _raised(step, own, others, len(others) == len(amounts), own_reading)
    return step, beside


def _unequal(
    step: Step, quantities: Sequence[Quantity], said: Spoken, known: Sequence[Stated], reading: Reading
) -> Step:
    """The step with what its words equate and is not equal: `0.2 mg/kg/h = 14 mg/h` at another weight or strength."""
    own = step.rate if quantities is said.rates else step.dose
    alike = set(quantities)
    for each in dict.fromkeys(said.restated):
        if own is None or each.times != 1 or each.again not in alike:
            continue
        before, again = _as_amount(each.before), _as_amount(each.again)
        figures = zip(mass(before, reading), mass(again, reading), strict=True)
        if before.dimension == again.dimension or not any(None not in pair for pair in figures):
            continue
        if (repeats := _repeats(before, known, reading)) != _repeats(again, known, reading):
            fault = says.WORDS_AND_STRUCTURE(words.amount(again if repeats else before), words.amount(own))
            step = replace(step, contradictions=tuple(dict.fromkeys((*step.contradictions, fault))))
    return step


def _repeats_over(amount: Amount, minutes: Fraction | None, known: Sequence[Stated], reading: Reading) -> bool:
    """Whether a dose over the time that its words say is a rate of the structure: `168 mg over 24 hours`."""
    if minutes is None or amount.dimension in RATE_DIMENSIONS:
        return False
    per_hour = [x and x * MINUTES_PER_HOUR / minutes for x in mass(amount, reading)]
    rates = (figure for each in known if each.is_rate for figure in zip(each.figures, per_hour, strict=True))
    return any(x is not None and y is not None and close(x, y, reading.conventions.tolerance) for x, y in rates)


def _is_maximum(amount: Amount, said: Spoken, step: Step) -> bool:
    """Whether words that name a maximum mean no dose by it: that of many doses, or of one that is ordered in another
    measure, by weight or not, of which never more is given than is ordered. Where it is titrated, one goes up to it.
    """
    if any(amount == _as_amount(total) for total in said.totals):
        return True
    is_otherwise = step.dose is not None and step.dose.dimension != amount.dimension and not step.written.titrate
    return is_otherwise and any(amount == _as_amount(largest) for largest in said.largest)


def _is_known(unread: Unread, step: Step, known: Sequence[Stated], reading: Reading) -> bool:
    """Whether an amount that is not read seems to repeat what the structure states."""
    written, repeat = step.written, step.written.repeat
    if unread.quantity is not None:
        return _repeats(_as_amount(unread.quantity), known, reading)
    if unread.number is not None:
        return any(amount.written == unread.number for amount in (*written.dose, *written.rate))
    if unread.times is not None:
        a_day = _DAY / repeat.interval if repeat.interval else None
        return unread.times in (repeat.count, a_day)
    return False


def _raised(step: Step, own: Amount, others: Sequence[Amount], none_repeats: bool, reading: Reading) -> Step:
    """The step at the highest of `others` where that is above its `own` amount. A lower one is only said."""
    pairs = [(other, comparable(own, other, reading)) for other in others]
    higher = [(pair[1] / pair[0], other) for other, pair in pairs if pair is not None and pair[1] > pair[0]]
    lower = [other for other, pair in pairs if pair is not None and pair[1] <= pair[0]]
    unlike = [other for other, pair in pairs if pair is None and other.dimension != "volume"]
    if higher:
        most = max(higher, key=lambda each: each[0])[1]
        fault = says.WORDS_AND_STRUCTURE(words.amount(most), words.amount(own))
        changed = replace(step, rate=most) if own is step.rate else replace(step, dose=most)
        faults_so_far = tuple(dict.fromkeys((*step.contradictions, fault)))
        step = computed(replace(changed, contradictions=faults_so_far), reading)
    elif lower and none_repeats:
        fault = says.WORDS_AND_STRUCTURE(words.amount(lower[0]), words.amount(own))
        step = replace(step, contradictions=(*step.contradictions, fault))
    faults = (says.WORDS_NOT_COMPARABLE(words.amount(other), words.amount(own)) for other in unlike)
    return replace(step, uncompared=(*step.uncompared, *dict.fromkeys(faults)))


def _at_shorter_time(step: Step, minutes: Fraction | None, reading: Reading) -> Step:
    """The step over the time that its words say, where that is another than the one beside its dose."""
    written, tolerance = step.written, reading.conventions.tolerance
    cap = written.cap.minutes if written.cap is not None else None
    known = [each for each in (written.minutes, written.bounds_minutes, cap, step.minutes) if each is not None]
    if minutes is None or written.minutes is None or any(close(minutes, each, tolerance) for each in known):
        return step
    fault = says.WORDS_AND_TIME(words.duration(minutes), words.duration(written.minutes))
    step = replace(step, contradictions=(*step.contradictions, fault))
    if step.rate is not None or minutes > written.minutes:
        return step
    return computed(replace(step, written=dataclasses.replace(written, minutes=minutes)), reading)


def _spoken(written: Written, reading: Reading) -> list[Step]:
    """Steps from words alone, each judged for itself."""
    said = written.said
    reading = _of_mixture(said, reading)
    minutes = said.minutes if not said.doses else None
    doses = _highest(_given(_once(said.doses, said, reading), said, written))
    rates = _highest(_once(said.rates, said, reading))
    steps = [_aloud(written, _as_amount(quantity), said.minutes, reading) for quantity in doses]
    for amount in map(_as_amount, rates):
        steps.append(
            _aloud(written, amount, _until_empty(said, amount, reading) if minutes is None else minutes, reading)
        )
    return steps


def _highest(amounts: Sequence[Quantity]) -> list[Quantity]:
    """As many of each measure as an order has instructions, the highest: each is judged against all others."""
    found: list[Quantity] = []
    for dimension in dict.fromkeys(each.dimension for each in amounts):
        alike = [each for each in amounts if each.dimension == dimension]
        found += alike if len(alike) <= bounds.STEPS else sorted(alike, key=lambda each: each.value)[-bounds.STEPS :]
    return found if len(found) < len(amounts) else list(amounts)


def _once(amounts: Sequence[Quantity], said: Spoken, reading: Reading) -> list[Quantity]:
    """Those of doses or of rates that are no other one again: of two measures of one amount the one that is more."""
    left = Counter(amounts)
    kept: dict[Quantity, Quantity] = {}
    for each in said.restated:
        before = kept.get(each.before, each.before)
        if left[before] and left[each.again] and (most := _more(before, each, reading)) is not None:
            left[each.again if most is before else before] -= 1
            kept[each.again] = most
    return list(left.elements())


def _more(before: Quantity, said: Restated, reading: Reading) -> Quantity | None:
    """The greater of an amount and what says it again; None where they cannot be compared, or are two of one kind."""
    pairs = zip(mass(_as_amount(before), reading), mass(_as_amount(said.again), reading), strict=True)
    first, again = next(((x, y * said.times) for x, y in pairs if x is not None and y is not None), (None, None))
    if first is None or again is None:
        return None
    if close(first, again, reading.conventions.tolerance):
        return before
    if before.dimension == said.again.dimension:
        return None
    return before if first > again else said.again


def _given(doses: Sequence[Quantity], said: Spoken, written: Written) -> Sequence[Quantity]:
    """Those of the doses of words alone that are more than a maximum: of many doses, or of one that they state in
    another measure. Where it is titrated, one goes up to it.
    """
    totals, largest = set(said.totals), set(said.largest)
    stated = {each.dimension for each in doses if each not in largest}

    def is_only_maximum(dose: Quantity) -> bool:
        return dose in totals or (dose in largest and not written.titrate and bool(stated - {dose.dimension}))

    return [dose for dose in doses if not is_only_maximum(dose)] or doses


def _of_mixture(said: Spoken, reading: Reading) -> Reading:
    """The millilitres of a text are those of the mixture that it names, whatever was in the vial."""
    return reading if said.mixture is None else replace(reading, mg_per_ml=said.mixture[0] / said.mixture[1])


def _until_empty(said: Spoken, amount: Amount, reading: Reading) -> Fraction | None:
    """Minutes in which the mixture of a text has run in, where that is too short for an infusion that goes on."""
    mg_per_hour = mass(amount, reading)[0]
    if said.mixture is None or said.mixture[1] == 1 or not mg_per_hour:
        return None
    minutes = said.mixture[0] / mg_per_hour * MINUTES_PER_HOUR
    return minutes if minutes < reading.conventions.continuous_minutes else None


def _aloud(written: Written, amount: Amount, minutes: Fraction | None, reading: Reading) -> Step:
    """A step that only the words state."""
    figures = mass(amount, reading)
    if amount.dimension not in RATE_DIMENSIONS:
        step = Step(written, None, False, dose=amount, spoken=True)
        return classed(finite(step, figures, minutes), reading)
    step = Step(written, None, False, rate=amount, spoken=True)
    if minutes is not None:
        hours = minutes / MINUTES_PER_HOUR
        given = tuple(None if x is None else x * hours for x in figures)
        return classed(finite(step, (given[0], given[1]), minutes), reading)
    return replace(step, kind="continuous", mg_per_hour=figures[0], mg_per_kg_per_hour=figures[1])


def _as_amount(quantity: Quantity) -> Amount:
    return Amount(quantity.dimension, quantity.value, quantity.unit.code, quantity.written, "quantity", ())
