"""Clauses over the chart, in three values: it holds, it does not, or it cannot be told and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from functools import singledispatch

import msgspec

from cds_service import units
from cds_service.chart.chart import written
from cds_service.chart.facts import Act, Fact, Measurement, Medicine, Members, Problem, on
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import steps_at_dosing_weight, steps_at_every_weight
from cds_service.rules.outcome import Reason

QUESTION = "question"
"""The fact of a reason that asks about words without a code; it is said whatever the rule needs."""


class Verdict(msgspec.Struct, frozen=True):
    """`holds` is None where it cannot be told; then `reasons` say why. `facts` are what it rests on."""

    holds: bool | None
    facts: tuple[Fact, ...] = ()
    reasons: tuple[Reason, ...] = ()


NO = Verdict(False)


def unknown(fact: str, says: str) -> Verdict:
    return Verdict(None, reasons=(Reason(fact, says),))


@singledispatch
def evaluate(clause: model.Clause, case: Case, since: datetime | None = None) -> Verdict:
    """The verdict of a clause. `since` leaves out measurements that are not later (for `unless_later`)."""
    raise TypeError(f"no way to evaluate {type(clause).__name__}")


@evaluate.register
def _(clause: model.Any, case: Case, since: datetime | None = None) -> Verdict:
    verdicts = [evaluate(part, case, since) for part in clause.of]
    if any(v.holds for v in verdicts):
        return Verdict(True, facts=_facts(v for v in verdicts if v.holds))
    if any(v.holds is None for v in verdicts):
        return Verdict(None, reasons=_reasons(verdicts))
    return NO


@evaluate.register
def _(clause: model.All, case: Case, since: datetime | None = None) -> Verdict:
    verdicts: list[Verdict] = []
    for part in clause.of:
        verdicts.append(evaluate(part, case, since))
        if verdicts[-1].holds is False:
            return NO
    if any(v.holds is None for v in verdicts):
        return Verdict(None, reasons=_reasons(verdicts))
    return Verdict(True, facts=_facts(verdicts))


@evaluate.register
def _(clause: model.Not, case: Case, since: datetime | None = None) -> Verdict:
    (verdict,) = (evaluate(part, case, since) for part in clause.of)
    if verdict.holds is None:
        return verdict
    return Verdict(not verdict.holds)


def _facts(verdicts: Iterable[Verdict]) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(fact for verdict in verdicts for fact in verdict.facts))


def _reasons(verdicts: Iterable[Verdict]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reason for verdict in verdicts for reason in verdict.reasons))


def _in_sets(members: Members, sets: Sequence[str]) -> bool:
    for reference in sets:
        name, _, group = reference.partition("/")
        member = members.get(name)
        if member is not None and (not group or member.group == group):
            return True
    return False


def _without_codes(sets: Sequence[str], case: Case) -> Verdict | None:
    """Could not tell, where none of the sets has any code."""
    if all(case.valuesets[name].no_codes for name in sets):
        titles = ", ".join(case.valuesets[name].title for name in sets)
        return unknown("terminology", f"there is no code for it yet: {titles}")
    return None


def _not_found(key: str, case: Case) -> Verdict:
    """Nothing was found: absent as recorded, if the list is complete."""
    gap = case.chart.gap(key)
    return NO if gap is None else unknown(key, gap)


# Problems -------------------------------------------------------------------------------------------------


@evaluate.register
def _(clause: model.ConditionIs, case: Case, since: datetime | None = None) -> Verdict:
    matches = [p for p in case.chart.problems_by_set.of(clause.sets) if _problem_matches(p, clause, case)]
    if matches:
        return Verdict(True, facts=tuple(_problem_fact(p, case.now) for p in matches))
    if clause.within is not None and (undated := _undated(clause, case)):
        return unknown("conditions", f"{undated.name} has no date")
    if clause.status != "inactive" and clause.undated != "only":
        for problem, meanings in case.chart.open_problems:
            if question := _question(clause, problem.members, meanings):
                return unknown(QUESTION, f"a problem {question}: {problem.name}")
    return _not_found("conditions", case)


def _undated(clause: model.ConditionIs, case: Case) -> Problem | None:
    """A problem that would match but for a date that nobody recorded."""
    undated = [p for p in case.chart.problems_by_set.of(clause.sets) if p.when is None]
    at_any_time = msgspec.structs.replace(clause, within=None) if undated else clause
    return next((p for p in undated if _problem_matches(p, at_any_time, case)), None)


def _question(clause: model.ConditionIs | model.AllergyIs, members: Members, meanings: frozenset[str]) -> str | None:
    """Why an entry may be meant that is in none of the clause's sets."""
    if _in_sets(members, clause.asks):
        return "does not say enough"
    if any(reference.partition("/")[0] in meanings for reference in clause.sets):
        return "stands in words only"
    return None


def _problem_matches(problem: Problem, clause: model.ConditionIs, case: Case) -> bool:
    found = [problem.members[s.partition("/")[0]] for s in clause.sets if _in_sets(problem.members, [s])]
    counting = [member for member in found if clause.history or not member.history]
    if not counting:
        return False
    past = not problem.active or all(member.history for member in counting)
    if (clause.status == "active" and past) or (clause.status == "inactive" and not past):
        return False
    if clause.undated == "only":
        return problem.when is None
    if clause.within is not None:
        if problem.when is None:
            return clause.undated == "yes"
        if problem.when.age(case.now) > case.book.window(clause.within, case.now):
            return False
    if clause.unless_later and problem.when is not None:
        later = [evaluate(part, case, problem.when.latest) for part in clause.unless_later]
        return not all(verdict.holds for verdict in later)
    return True


def _problem_fact(problem: Problem, now: datetime) -> Fact:
    status = "active" if problem.active else "not active"
    if problem.assumed_active:
        status = "no status recorded, counted as active"
    return Fact(f"{problem.name} ({status}, {on(problem.when, now)})", problem.reference)


# Measurements ---------------------------------------------------------------------------------------------


@evaluate.register
def _(clause: model.ObservationIs, case: Case, since: datetime | None = None) -> Verdict:
    if missing := _without_codes(clause.sets, case):
        return missing
    key = case.chart.query_of(clause.sets[0])
    found = [m for name in clause.sets for m in case.chart.measurements(name)]
    if clause.within is not None:
        window = case.book.window(clause.within, case.now)
        found = [m for m in found if case.chart.age_within(m.when, window)]
    if since is not None:
        found = [m for m in found if m.when.earliest > since]
    if not found:
        return _not_found(key, case)
    verdicts = [_compare(m, clause, case, key) for m in _which(found, clause.which)]
    if any(v.holds for v in verdicts):
        return Verdict(True, facts=_facts(v for v in verdicts if v.holds))
    if any(v.holds is None for v in verdicts):
        return Verdict(None, reasons=_reasons(verdicts))
    return NO


def _which(found: list[Measurement], which: str) -> list[Measurement]:
    found = sorted(found, key=lambda m: m.when.latest, reverse=True)
    if which == "newest":
        return [m for m in found if m.when.latest == found[0].when.latest]
    if which == "newest-of-each-code":
        return list({m.code: m for m in reversed(found)}.values())
    return found


def _compare(m: Measurement, clause: model.ObservationIs, case: Case, key: str) -> Verdict:
    if clause.any_value:
        return _measured(m, case) if m.quantity or m.answers or m.number is not None else NO
    if clause.answer:
        return _answer(m, clause, case, key)
    if clause.date_ahead is not None:
        return _date_ahead(m, clause.date_ahead, case)
    if clause.above_reference:
        return _above_reference(m, case, key)
    comparisons: list[tuple[list[str], Callable[[Fraction, Fraction], bool]]] = [
        (clause.above, lambda value, limit: value > limit),
        (clause.below, lambda value, limit: value < limit),
        (clause.at_most, lambda value, limit: value <= limit),
        (clause.at_least, lambda value, limit: value >= limit),
    ]
    for limits, holds in comparisons:
        if limits:
            try:
                value, limit = _in_unit_of(m, limits, case)
            except units.UnitError as error:
                return unknown(key, f"{m.name} of {on(m.when, case.now)}: {error}")
            if not holds(value, limit):
                return NO
    return _measured(m, case)


def _measured(m: Measurement, case: Case) -> Verdict:
    """It holds, by this measurement."""
    figure = str(m.quantity.value) if m.quantity and m.quantity.value is not None else None
    fact = Fact(f"{m.name}: {_value(m)} ({on(m.when, case.now)})", m.reference, figure)
    return Verdict(True, facts=(fact,))


def _value(m: Measurement) -> str:
    if m.quantity is not None:
        return written(m.quantity)
    if m.number is not None:
        return str(m.number)
    return m.date.text if m.date else "as coded"


def _in_unit_of(m: Measurement, limits: Sequence[str], case: Case) -> tuple[Fraction, Fraction]:
    """(value, limit), both in the canonical unit of the first limit whose kind of unit fits. Raises UnitError."""
    if m.number is not None:
        return Fraction(m.number), case.number(limits[0])
    if m.quantity is None or m.quantity.value is None:
        raise units.UnitError("it has no value")
    if m.quantity.comparator:
        raise units.UnitError("it is not an exact value")
    fault: units.UnitError | None = None
    for name in limits:
        unit = case.limit(name).unit
        text = m.quantity.unit_text
        if unit == "1" and text is None:
            return units.exact(m.quantity.value), case.number(name)
        for dimension in units.dimensions_of(unit):
            try:
                value = units.quantity(m.quantity.value, text or "", dimension).value
            except units.UnitError as error:
                fault = error
            else:
                return value, case.number(name) * units.find(unit, dimension).factor
    raise fault or units.UnitError("its unit cannot be read")


def _answer(m: Measurement, clause: model.ObservationIs, case: Case, key: str) -> Verdict:
    codings = (*m.answers, *m.interpretation)
    if any(case.valuesets.member(name, codings) for name in clause.answer):
        return _measured(m, case)
    if any(case.valuesets.member(name, codings) for name in clause.answered_no):
        return NO
    if not codings and m.quantity is not None:
        return NO
    return unknown(key, f"{m.name} of {on(m.when, case.now)}: its answer is not known")


def _date_ahead(m: Measurement, limit: str, case: Case) -> Verdict:
    if m.date is None:
        return unknown("results", f"{m.name} of {on(m.when, case.now)}: it has no date")
    ahead = m.date.latest.date() - case.now.date()
    return _measured(m, case) if 0 <= ahead.days <= case.book.window(limit, case.now).days else NO


def _above_reference(m: Measurement, case: Case, key: str) -> Verdict:
    if case.valuesets.member("ans_high", m.interpretation) or case.valuesets.member("ans_positive", m.interpretation):
        return _measured(m, case)
    if m.quantity is None or m.quantity.value is None:
        return NO if m.answers else unknown(key, f"{m.name} of {on(m.when, case.now)}: it has no value")
    highs = [r.high for r in m.ranges if r.high is not None and r.high.value is not None]
    same_unit = [h for h in highs if h.unit_text in (None, m.quantity.unit_text)]
    if len(same_unit) != 1 or m.quantity.comparator:
        if m.interpretation:
            return NO
        return unknown(key, f"{m.name} of {on(m.when, case.now)}: the laboratory gives no range for it")
    (high,) = same_unit
    assert high.value is not None
    try:
        above = units.exact(m.quantity.value) > units.exact(high.value)
    except units.UnitError as error:
        return unknown(key, f"{m.name} of {on(m.when, case.now)}: {error}")
    return _measured(m, case) if above else NO


# Medicines, procedures, allergies, setting ------------------------------------------------------------------


@evaluate.register
def _(clause: model.MedicineIs, case: Case, since: datetime | None = None) -> Verdict:
    matches = [m for m in case.chart.medicines_by_set.of(clause.sets) if _medicine_matches(m, clause, case)]
    if matches:
        return Verdict(True, facts=tuple(_medicine_fact(m, case.now) for m in matches))
    if clause.running:
        return _not_found("administrations", case)
    first = _not_found("medications", case)
    return first if first.holds is None else _not_found("administrations", case)


def _medicine_matches(medicine: Medicine, clause: model.MedicineIs, case: Case) -> bool:
    if clause.running:
        return medicine.given and medicine.status == "in-progress"
    if clause.routes and not medicine.routes.intersection(clause.routes):
        return False
    if clause.reasons and not _in_sets(medicine.reasons, clause.reasons):
        return False
    if clause.started_within is not None:
        window = case.book.window(clause.started_within, case.now)
        return medicine.start is not None and medicine.start.age(case.now) <= window
    if medicine.given and medicine.status != "in-progress":
        if clause.within is None or medicine.end is None:
            return False
        return medicine.end.age(case.now) <= case.book.window(clause.within, case.now)
    return True


def _medicine_fact(medicine: Medicine, now: datetime) -> Fact:
    state = "drafted" if medicine.drafted else "given" if medicine.given else "ordered"
    if medicine.given and medicine.status == "in-progress":
        state = "running"
    return Fact(f"{medicine.name} ({state}, {on(medicine.start, now)})", medicine.reference)


@evaluate.register
def _(clause: model.ProcedureIs, case: Case, since: datetime | None = None) -> Verdict:
    matches = [a for a in case.chart.acts_by_set.of(clause.sets) if _act_matches(a, clause, case)]
    if matches:
        return Verdict(True, facts=tuple(Fact(f"{a.name} ({on(a.when, case.now)})", a.reference) for a in matches))
    return _not_found("procedures", case)


def _act_matches(act: Act, clause: model.ProcedureIs, case: Case) -> bool:
    if clause.this_encounter and not act.this_encounter:
        return False
    if clause.within is not None and not act.in_progress:
        window = case.book.window(clause.within, case.now)
        if act.when is None or act.when.age(case.now) > window:
            return False
    later = [
        other
        for other in case.chart.acts_by_set.of(clause.unless_later)
        if other.when is not None and (act.when is None or other.when.latest > act.when.latest)
    ]
    return not later


@evaluate.register
def _(clause: model.AllergyIs, case: Case, since: datetime | None = None) -> Verdict:
    of_sets = case.chart.allergies_by_set.of(clause.sets)
    matches = [a for a in of_sets if clause.kind == "any" or a.intolerance == (clause.kind == "intolerance")]
    if matches:
        return Verdict(True, facts=tuple(Fact(a.name, a.reference) for a in matches))
    for allergy, meanings in case.chart.open_allergies:
        if question := _question(clause, allergy.members, meanings):
            return unknown(QUESTION, f"an allergy {question}: {allergy.name}")
    return _not_found("allergies", case)


@evaluate.register
def _(clause: model.EncounterIs, case: Case, since: datetime | None = None) -> Verdict:
    if _in_sets(case.chart.setting, clause.sets):
        return Verdict(True)
    asked = {name.partition("/")[0] for name in clause.sets}
    if case.chart.encounter is None or not asked.intersection(case.chart.setting):
        return unknown("encounter", case.chart.gap("encounter") or "the setting is not known")
    return NO


@evaluate.register
def _(clause: model.OrderIs, case: Case, since: datetime | None = None) -> Verdict:
    order = case.order
    if clause.indication and not order.indication.all.intersection(clause.indication):
        return NO
    if clause.context and not order.indication.contexts.intersection(clause.context):
        return NO
    if clause.ingredient and case.valuesets.member(clause.ingredient[0], order.draft.description.all_codings) is None:
        return NO
    if clause.single_dose or clause.single_dose_at_most is not None:
        return _single_dose(case, clause.single_dose_at_most)
    return Verdict(True)


def _single_dose(case: Case, limit: str | None) -> Verdict:
    steps = steps_at_dosing_weight(case)
    if len(steps) != 1 or not steps[0].finite or steps[0].written.repeat.interval is not None:
        return NO
    if limit is None:
        return Verdict(True)
    doses = [step.mg_per_kg for step in steps_at_every_weight(case)]
    known = [dose for dose in doses if dose is not None]
    if len(known) < len(doses):
        return unknown("weight", "the dose in mg/kg cannot be computed")
    return Verdict(max(known) <= case.number(limit))


@evaluate.register
def _(clause: model.MonitoringIs, case: Case, since: datetime | None = None) -> Verdict:
    ordered = case.chart.ordered_services()
    if all(any(_in_sets(members, [name]) for members in ordered) for name in clause.sets):
        return Verdict(True)
    return _not_found("serviceRequests", case)
