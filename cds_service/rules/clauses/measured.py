"""Clauses over what was measured."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from typing import Literal

import msgspec

from cds_service import units
from cds_service.chart.account import in_words
from cds_service.chart.facts import Measurement, on, value_of
from cds_service.fhir.dates import When
from cds_service.lazy import Made, kept
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.clauses.measured_said import fact
from cds_service.rules.clauses.medicines import around_doses
from cds_service.rules.clauses.verdict import (
    NO,
    Verdict,
    evaluates,
    facts_of,
    left_open,
    not_found,
    reasons_of,
    without_codes,
)
from cds_service.rules.outcome import Reason, not_placed
from cds_service.says import Says
from cds_service.says import findings as says
from cds_service.says.entries import (
    ANSWER_NOT_KNOWN,
    HAS_NO_VALUE,
    NO_EXACT_VALUE,
    NO_NUMBER_WITH_UNIT,
    READING_EMPTY_AND,
    READING_SAYS_BUT,
)
from cds_service.terminology import answers

_PLACED = operator.attrgetter("when.placed")
_PLAIN = ("1", "{score}")
"""Units of limits that a number alone is held to."""
_Holds = Callable[[Fraction, Fraction], bool]
_COMPARISONS: dict[str, _Holds] = {
    "above": operator.gt,
    "below": operator.lt,
    "at_most": operator.le,
    "at_least": operator.ge,
}
"""How a value is compared with the limits of an element of the clause."""


@evaluates(model.ObservationIs)
def _(clause: model.ObservationIs, case: Case, since: datetime | None = None) -> Verdict:
    window = case.book.window(clause.within, case.now) if clause.within is not None else None
    if missing := without_codes(clause.sets, case):
        named = _left_open((), (), clause, case, window, since)
        return Verdict(None, reasons=(*named, *missing.reasons)) if named else missing
    if clause.around_dose is not None and not case.viewing:
        return NO  # how an order goes on after harm is another rule's matter
    chart = case.chart
    recorded = [m for name in clause.sets for m in chart.measurements(name)]
    if since is not None:
        recorded = [m for m in recorded if m.when.earliest > since]
    unread: tuple[Reason, ...] = ()
    if clause.around_dose is not None:
        is_around, unread = around_doses(case, clause.around_dose)
        every, recorded = recorded, [m for m in recorded if is_around(m.when)]
        if len(recorded) == len(every):
            unread = ()
    if window is None:
        found = recorded
    elif since is None and clause.around_dose is None:
        found = [m for name in clause.sets for m in chart.measurements_within(name, window)]
    else:
        found = [m for m in recorded if chart.age_within(m.when, window)]
    chosen = _which(found, clause.which) if found else []
    verdict = _of_placed(found, chosen, clause, case)
    if verdict.holds:
        return verdict
    reasons = (*_left_open(recorded, chosen, clause, case, window, since), *unread)
    if reasons:
        return Verdict(None, reasons=(*reasons, *verdict.reasons))
    return verdict if found else not_found(case, *map(chart.query_of, clause.sets))


def _of_placed(
    found: Sequence[Measurement], chosen: Sequence[Measurement], clause: model.ObservationIs, case: Case
) -> Verdict:
    """The verdict by the readings that were understood so far that it is known what, whose and of when they are.

    `chosen` are those among them that the clause's `which` names.
    """
    if not found:
        return NO
    if clause.twice_within is not None:
        return _twice(found, clause, case)
    if clause.risen_by is not None or clause.fallen_by is not None:
        return _changed(found, clause, case)
    verdicts = [_compare(m, clause, case) for m in chosen]
    if held := [v for v in verdicts if v.holds]:
        return Verdict(True, facts=facts_of(held))
    if None in [v.holds for v in verdicts]:
        return Verdict(None, reasons=reasons_of(verdicts))
    return NO


def _left_open(
    recorded: Sequence[Measurement],
    chosen: Sequence[Measurement],
    clause: model.ObservationIs,
    case: Case,
    window: timedelta | None,
    since: datetime | None,
) -> tuple[Reason, ...]:
    """The readings that could have decided and are not among those that were `chosen`.

    A reading gives way to a newer one only: one that could not be placed, or whose date is too coarse, counts here
    unless it is certainly older than all that were found, or than the window.
    """
    coarse = [m for m in recorded if m.when.is_coarse] if case.chart.has_coarse_readings else []
    if not coarse and case.chart.account.is_settled:
        return ()
    oldest = min((m.when.placed for m in chosen), default=None)
    if clause.which != "newest" or clause.twice_within is not None:
        oldest = None

    def counts(when: When | None) -> bool:
        if when is None:
            return True
        if window is not None and not case.chart.may_be_within(when, window):
            return False
        return (oldest is None or when.latest >= oldest) and (since is None or when.latest > since)

    entries = case.chart.account.open(
        clause.sets,
        "reading",
        counts=lambda entry: counts(entry.when) and (entry.has_value or not clause.any_value),
    )
    told = {id(m) for m in chosen}
    coarse = [m for m in coarse if id(m) not in told and counts(m.when)]
    return (*left_open(entries), *(_reason(m, case, says.DATE_TOO_COARSE) for m in coarse))


def _reason(m: Measurement, case: Case, why: Says) -> Reason:
    """A reading that was given and does not decide, in its own words."""
    said = value_of(m.part)
    sets = sorted(case.valuesets.members_of(*m.code))
    title = case.valuesets[sets[0]].named if sets else m.name
    name = next(iter(m.part.code.words if m.part.code else ()), title)
    date = on(m.when, case.now)
    told = READING_SAYS_BUT(name, date, in_words(said), why) if said else READING_EMPTY_AND(name, date, why)
    return not_placed(told, m.reference, case.chart.is_urgent(sets), title)


def _not_understood(m: Measurement, case: Case, why: Says) -> Verdict:
    return Verdict(None, reasons=(_reason(m, case, why),))


def _twice(found: Sequence[Measurement], clause: model.ObservationIs, case: Case) -> Verdict:
    """Two readings for which it holds, the newest among them: one alone may be an error."""

    def holds(m: Measurement) -> Verdict:
        if clause.risen_by is None:
            return _compare(m, clause, case)
        return _changed([m, *(other for other in found if other.when.latest < m.when.latest)], clause, case)

    newest = max(m.when.placed for m in found)
    last = [holds(m) for m in found if m.when.placed == newest]
    of_last = next((verdict for verdict in last if verdict.holds), last[0])
    if not of_last.holds:
        return of_last
    span = case.book.window(clause.twice_within or "", case.now)
    before = [holds(m) for m in found if timedelta(0) < newest - m.when.placed <= span]
    confirming = next((verdict for verdict in before if verdict.holds), None)
    if confirming is None:
        return next((verdict for verdict in before if verdict.holds is None), NO)
    # The newest figure is the one that a summary names.
    facts = (*of_last.facts, *(msgspec.structs.replace(fact, figure=None) for fact in confirming.facts))
    return Verdict(True, facts=facts)


def _changed(found: Sequence[Measurement], clause: model.ObservationIs, case: Case) -> Verdict:
    """The newest against the lowest (or highest) before it in the window; a rise is in per cent of that."""
    newest, *earlier = sorted(found, key=lambda m: m.when.placed, reverse=True)
    name = clause.risen_by or clause.fallen_by or ""
    values: list[Fraction] = []
    for m in (newest, *earlier):
        value = _plain_value(m, case)
        if value is None:
            return _not_understood(m, case, says.NO_EXACT_VALUE)
        values.append(value)
    if not earlier:
        return NO
    if len({m.quantity.unit_text if m.quantity else None for m in found}) > 1:
        return _not_understood(newest, case, says.OTHER_UNIT)
    if clause.risen_by is not None:
        holds = values[0] > min(values[1:]) * (1 + case.number(name) / 100)
    else:
        holds = max(values[1:]) - values[0] >= case.number(name)
    return _measured(newest, case) if holds else NO


def _plain_value(m: Measurement, case: Case) -> Fraction | None:
    if (points := _points(m, case)) is not None:
        return Fraction(points)
    if m.quantity is None or m.quantity.value is None or m.quantity.comparator:
        return None
    try:
        return units.exact(m.quantity.value)
    except units.UnitError:
        return None


def _which(found: Sequence[Measurement], which: str) -> list[Measurement]:
    if which == "newest":
        newest = max(map(_PLACED, found))
        return [m for m in found if m.when.placed == newest]
    found = sorted(found, key=_PLACED, reverse=True)
    if which == "newest-of-each-code":
        return list({m.code: m for m in reversed(found)}.values())
    return found


def _compare(m: Measurement, clause: model.ObservationIs, case: Case) -> Verdict:
    if clause.present:
        return _measured(m, case)
    if clause.any_value:
        return _measured(m, case) if value_of(m.part) is not None else NO
    if clause.answer:
        return _answer(m, clause, case)
    if clause.date_ahead is not None:
        return _date_ahead(m, clause.date_ahead, case)
    if clause.above_reference:
        return _above_reference(m, case)
    if clause.above_reference_times is not None:
        return _times_reference(m, case, case.number(clause.above_reference_times))
    if clause.in_reference:
        return _in_reference(m, case)
    comparisons = kept(clause, "comparisons", _comparisons)
    for holds, limits in comparisons:
        try:
            value, limit = _in_unit_of(m, limits, case)
        except units.UnitError as error:
            return _not_understood(m, case, error.says)
        if not _is_certain(m, value, limit):
            return _not_understood(m, case, NO_EXACT_VALUE)
        if not holds(value, limit):
            return NO
    return _measured(m, case, case.limit(comparisons[0][1][0]).unit if comparisons else None)


def _comparisons(clause: model.ObservationIs) -> Sequence[tuple[_Holds, Sequence[str]]]:
    return [(holds, limits) for name, holds in _COMPARISONS.items() if (limits := getattr(clause, name))]


def _is_certain(m: Measurement, value: Fraction, limit: Fraction) -> bool:
    """Whether a value with a comparator lies on one side of a limit, whatever it is: > 200 is above 180."""
    match m.quantity.comparator if m.quantity is not None else None:
        case None:
            return True
        case ">" | ">=":
            return value > limit
        case "<" | "<=":
            return value < limit
    return False


def _measured(m: Measurement, case: Case, unit: str | None = None) -> Verdict:
    """It holds, by this measurement. Its figure for a summary is in `unit`, that of the limit it was held to."""
    chart = case.chart  # the case remembers this verdict, and must not be held by it
    return Verdict(True, facts=Made(lambda: [fact(m, chart, unit)]))


def _in_unit_of(m: Measurement, limits: Sequence[str], case: Case) -> tuple[Fraction, Fraction]:
    """(value, limit), both in the canonical unit of the first limit whose kind of unit fits. Raises UnitError."""
    plain = next((name for name in limits if case.limit(name).unit in _PLAIN), None)
    if plain is not None and (points := _points(m, case)) is not None:
        return Fraction(points), case.number(plain)
    if m.quantity is None or m.quantity.value is None:
        raise units.UnitError(HAS_NO_VALUE if value_of(m.part) is None else NO_NUMBER_WITH_UNIT)
    fault: units.UnitError | None = None
    for name in limits:
        unit = case.limit(name).unit
        text = m.quantity.unit_text
        if unit in _PLAIN and text is None:
            return units.exact(m.quantity.value), case.number(name)
        for dimension in units.dimensions_of(unit):
            try:
                value = units.quantity(m.quantity.value, text or "", dimension).value
            except units.UnitError as error:
                fault = error
            else:
                return value, case.book.canonical(name, dimension)
    raise fault or units.UnitError(says.UNIT_UNREAD)


def _points(m: Measurement, case: Case) -> int | None:
    """A plain number, or the points that a coded answer of a scale stands for."""
    if m.number is not None:
        return m.number
    members = (member for coding in m.answers for member in case.valuesets.members_of(*coding).values())
    return next((member.score for member in members if member.score is not None), None)


def _answer(m: Measurement, clause: model.ObservationIs, case: Case) -> Verdict:
    codings, words = (*m.answers, *m.interpretation), (*m.words, *m.interpreted)
    yes = any(answers.holds(name, codings, words, case.valuesets) for name in clause.answer)
    no = any(answers.holds(name, codings, words, case.valuesets) for name in clause.answered_no)
    if yes and not no:
        return _measured(m, case)
    if no and not yes:
        return NO
    if m.quantity is not None and not m.answers and not m.words:
        return NO  # a number, with or without a flag beside it, answers nothing
    return _not_understood(m, case, ANSWER_NOT_KNOWN)


def _date_ahead(m: Measurement, limit: str, case: Case) -> Verdict:
    date = case.chart.when(m.date)
    if date is None:
        return _not_understood(m, case, says.NO_DATE_VALUE)
    ahead = date.latest.date() - case.now.date()
    return _measured(m, case) if 0 <= ahead.days <= case.book.window(limit, case.now).days else NO


def _above_reference(m: Measurement, case: Case) -> Verdict:
    interpreted = partial(answers.holds, codings=m.interpretation, words=m.interpreted, valuesets=case.valuesets)
    roles = case.valuesets.roles
    if interpreted(roles.above_reference) or interpreted(roles.answer_yes):
        return _measured(m, case)
    if m.quantity is None or m.quantity.value is None:
        return _by_answer(m, case)
    verdict = _times_reference(m, case, Fraction(1))
    return NO if verdict.holds is None and m.interpretation else verdict


def _by_answer(m: Measurement, case: Case) -> Verdict:
    """Of a result that is no number: what another clause reads as an answer is not above anything."""
    roles = case.valuesets.roles
    if any(answers.holds(n, m.answers, m.words, case.valuesets) for n in (roles.answer_yes, roles.answer_no)):
        return NO
    return _not_understood(m, case, ANSWER_NOT_KNOWN if m.words or m.answers else says.HAS_NO_NUMBER)


def _times_reference(m: Measurement, case: Case, times: Fraction) -> Verdict:
    """Above so many times the upper end of the laboratory's own range."""
    try:
        value, high = _with_bound(m, "high")
    except units.UnitError as error:
        return _not_understood(m, case, error.says)
    if value <= high * times:
        below = m.quantity is not None and m.quantity.comparator in (None, "<", "<=")
        return NO if below else _not_understood(m, case, NO_EXACT_VALUE)
    above = m.quantity is not None and m.quantity.comparator in (None, ">", ">=")
    return _measured(m, case) if above else _not_understood(m, case, NO_EXACT_VALUE)


def _in_reference(m: Measurement, case: Case) -> Verdict:
    if m.quantity is not None and m.quantity.comparator:
        return _not_understood(m, case, NO_EXACT_VALUE)
    try:
        value, low = _with_bound(m, "low")
        _, high = _with_bound(m, "high")
    except units.UnitError as error:
        return _not_understood(m, case, error.says)
    return _measured(m, case) if low <= value <= high else NO


def _with_bound(m: Measurement, end: Literal["low", "high"]) -> tuple[Fraction, Fraction]:
    """(value, the laboratory's bound for it), in one unit. Raises UnitError where there is no such bound."""
    if m.quantity is None or m.quantity.value is None:
        raise units.UnitError(HAS_NO_VALUE)
    bounds = [b for r in m.ranges if (b := r.high if end == "high" else r.low) is not None and b.value is not None]
    same_unit = [b for b in bounds if b.unit_text in (None, m.quantity.unit_text)]
    if len(same_unit) != 1 or same_unit[0].value is None:
        raise units.UnitError(says.NO_RANGE)
    return units.exact(m.quantity.value), units.exact(same_unit[0].value)
