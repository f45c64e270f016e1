"""Clauses over the order itself and the setting that it is given in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from cds_service.chart.facts import Fact, Used
from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders.dosage import Written
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.regimen import Step
from cds_service.protocol import model
from cds_service.rules.case import Case, once_of_patient
from cds_service.rules.clauses.verdict import (
    NO,
    SETTING,
    YES,
    Verdict,
    evaluates,
    facts_of,
    in_sets,
    not_found,
    unknown,
    without_codes,
)
from cds_service.rules.dosing_weight import dosing_weight, steps_at_dosing_weight, steps_at_every_weight
from cds_service.rules.running import previous_rate
from cds_service.says import Named, Said, listed
from cds_service.says import findings as says


@evaluates(model.EncounterIs)
def _(clause: model.EncounterIs, case: Case, since: datetime | None = None) -> Verdict:
    if in_sets(case.chart.setting, clause.sets):
        return Verdict(True)
    if without_codes(clause.sets, case):
        places = listed(Named(f"set-{name}", case.valuesets[name].title.lower()) for name in clause.sets)
        return unknown(SETTING, says.NO_LOCATION_CODE(places), "not-judged")
    asked = {name.partition("/")[0] for name in clause.sets}
    if case.chart.encounter is None or not asked.intersection(case.chart.setting):
        return _not_on_record(case, "encounter", says.SETTING_NOT_KNOWN)
    return NO


def _not_on_record(case: Case, key: str, why: Said) -> Verdict:
    """A fact that is not there: because its list did not come, or because nobody recorded it."""
    missing = not_found(case, key)
    return missing if missing.holds is None else unknown(key, why, "not-measured")


@evaluates(model.OrderIs)
def _(clause: model.OrderIs, case: Case, since: datetime | None = None) -> Verdict:
    of_order, of_steps = kept(clause, "what is asked", _asked)
    for holds, asked in of_order:
        if not holds(case, asked):
            return NO
    if not of_steps:
        return YES
    verdicts = [verdict(case, asked) for verdict, asked in of_steps]
    if any(verdict.holds is False for verdict in verdicts):
        return NO
    return next((verdict for verdict in verdicts if verdict.holds is None), Verdict(True, facts_of(verdicts)))


def _asked(clause: model.OrderIs) -> tuple[Sequence[tuple[_OfOrder, Any]], Sequence[tuple[_OfSteps, Any]]]:
    """What a clause asks of the order, and of its steps, each with the value of its field: most ask for one thing."""
    given = {name: value for name in clause.__struct_fields__ if (value := getattr(clause, name))}
    return (
        [(holds, given[name]) for name, holds in _OF_ORDER.items() if name in given],
        [(verdict, given[name]) for name, verdict in _OF_STEPS.items() if name in given],
    )


_OfOrder = Callable[[Case, Any], bool]
_OfSteps = Callable[[Case, Any], Verdict]


def _holds_ingredient(case: Case, value_set: str) -> bool:
    return case.valuesets.member(value_set, case.order.draft.description.all_codings) is not None


def _continuous(case: Case) -> list[Step]:
    return [step for step in steps_at_dosing_weight(case) if step.kind == "continuous"]


def _is_repeated(case: Case) -> bool:
    return any(w.repeat.interval is not None and w.repeat.count != 1 for w in case.order.written)


def _named_routes(order: KetamineOrder) -> set[str]:
    """The routes of its instructions, and those that words or a second code name beside them."""
    return {kind for written in order.written for kind in (written.route.kind, *written.route.named)}


def _per_week_above(case: Case, limit: str) -> Verdict:
    most = case.number(limit)
    planned = [each for written in case.order.written if (each := planned_per_week(written)) is not None]
    if any(each > most for each in planned):
        figure = show(max(planned), most)
        used = Used("amount", value=figure, unit="/wk")
        return Verdict(True, (Fact(says.DOSES_A_WEEK(figure), case.order.reference, figure, used),))
    if any(written.repeat.unreadable for written in case.order.written):
        return unknown("dose", says.HOW_OFTEN_UNREAD, "not-placed")
    return NO


def planned_per_week(written: Written) -> Fraction | None:
    """Doses in seven days; a dose that is given once, or only so many times, counts as so many."""
    per_week, count = written.repeat.per_week, written.repeat.count
    if per_week is None:
        return None
    return min(per_week, Fraction(count)) if count else per_week


def _finite_at_most(case: Case, limit: str) -> Verdict:
    steps = steps_at_every_weight(case)
    if not steps or any(step.kind not in ("bolus", "short") for step in steps):
        return NO
    doses = [step.mg_per_kg for step in steps]
    known = [dose for dose in doses if dose is not None]
    if len(known) < len(doses):
        return unknown("weight", says.NO_DOSE_PER_KG, "not-measured")
    return Verdict(max(known) <= case.number(limit))


def _planned_longer_than(case: Case, limit: str) -> Verdict:
    """The end that is written: of the step, of its bounds, or of the supply; steps one after the other add up."""
    most = case.book.minutes(limit)
    steps = _continuous(case)
    ends = [end for step in steps if (end := _planned_minutes(step, case))]
    longest = max([*ends, *_in_turn(steps)], default=None)
    if longest is None or longest <= most:
        return NO
    hours = show(longest / 60)
    used = Used("amount", value=hours, unit="h")
    return Verdict(True, (Fact(says.PLANNED_FOR(hours), case.order.reference, hours, used),))


def _in_turn(steps: Sequence[Step]) -> Iterator[Fraction]:
    """How long the steps with an end of their own run from the first to the last: by their dates, by their order."""
    own = [(step, end) for step in steps if (end := _own_minutes(step)) is not None]
    dated = [(start, end) for step, end in own if (start := step.written.start) is not None]
    if dated:
        first = min(start for start, _ in dated)
        yield max(Fraction(round((start - first).total_seconds()), 60) + end for start, end in dated)
    if len(dated) < len(own):
        longest: dict[int | None, Fraction] = {}
        for step, end in own:
            longest[step.written.sequence] = max(end, longest.get(step.written.sequence, end))
        yield sum(longest.values(), Fraction(0))


def _own_minutes(step: Step) -> Fraction | None:
    """How long a step runs; one that is repeated, from its first dose to the end of its last."""
    repeat, bounds = step.written.repeat, step.written.bounds_minutes
    if not step.finite or step.minutes is None:
        return bounds
    if repeat.interval is None:
        return step.minutes
    counted = (repeat.count - 1) * repeat.interval + step.minutes if repeat.count is not None else None
    return min((end for end in (counted, bounds) if end is not None), default=step.minutes)


def _planned_minutes(step: Step, case: Case) -> Fraction | None:
    ends = (_own_minutes(step), case.order.supply_minutes)
    return next((end for end in ends if end is not None), None)


def _has_no_end(step: Step, case: Case) -> bool:
    return _planned_minutes(step, case) is None and step.written.repeat.count is None and not step.spoken


def _cut_by(case: Case, limit: str) -> Verdict:
    before = previous_rate(case, dosing_weight(case).bodies[0])
    rates = [times for step in _continuous(case) if before and (times := before.times(step)) is not None]
    if before is None or not before.running or not rates:
        return NO
    return Verdict(max(rates) <= 1 - case.number(limit) / 100, (before.fact,))


def _single_dose(case: Case, limit: str | None) -> Verdict:
    steps = steps_at_dosing_weight(case)
    if len(steps) != 1 or steps[0].kind not in ("bolus", "short") or steps[0].written.repeat.interval is not None:
        return NO
    if limit is None:
        return Verdict(True)
    doses = [step.mg_per_kg for step in steps_at_every_weight(case)]
    known = [dose for dose in doses if dose is not None]
    if len(known) < len(doses):
        return unknown("weight", says.NO_DOSE_PER_KG, "not-measured")
    return Verdict(max(known) <= case.number(limit))


_OF_ORDER: Mapping[str, _OfOrder] = {
    "drug": lambda case, asked: case.order.drug in asked,
    "indication": lambda case, asked: not case.order.indication.all.isdisjoint(asked),
    "only_indication": lambda case, asked: case.order.indication.is_only(asked),
    "judged_as": lambda case, asked: any(use.name in asked for use in case.order.indication.uses),
    "analgesic": lambda case, _: case.order.indication.is_default,
    "context": lambda case, asked: not case.order.indication.contexts.isdisjoint(asked),
    "ingredient": lambda case, asked: _holds_ingredient(case, asked[0]),
    "reason": lambda case, asked: in_sets(case.chart.reasons(case.order.request), asked),
    "category": lambda case, asked: in_sets(case.chart.members(case.order.request.category), asked),
    "status_reason": lambda case, asked: in_sets(case.chart.members([case.order.request.status_reason]), asked),
    "route": lambda case, asked: any(written.route.kind in asked for written in case.order.written),
    "labelled": lambda case, _: case.order.labelled_nasal,
    "route_other_than": lambda case, asked: bool(_named_routes(case.order).difference(asked)),
    "repeated": lambda case, _: _is_repeated(case),
}
"""Whether an order is as a field of a clause asks."""

_OF_STEPS: Mapping[str, _OfSteps] = {
    "single_dose": lambda case, _: _single_dose(case, None),
    "single_dose_at_most": _single_dose,
    "continuous": lambda case, _: Verdict(bool(_continuous(case))),
    "finite_at_most": _finite_at_most,
    "planned_longer_than": _planned_longer_than,
    "without_end": lambda case, _: Verdict(any(_has_no_end(step, case) for step in _continuous(case))),
    "per_week_above": _per_week_above,
    "cut_by": _cut_by,
}
"""Whether its steps are."""


@evaluates(model.PatientIs)
def _(clause: model.PatientIs, case: Case, since: datetime | None = None) -> Verdict:
    chart = case.chart
    if clause.sex is not None and chart.sex != clause.sex:
        return _not_on_record(case, "patient", says.SEX_NOT_RECORDED) if chart.sex is None else NO
    if clause.age_at_least is None and clause.age_below is None:
        return Verdict(True)
    years = chart.age_years
    if years is None:
        return _not_on_record(case, "patient", says.BIRTH_NOT_KNOWN)
    if clause.age_at_least is not None and years < case.number(clause.age_at_least):
        return NO
    if clause.age_below is not None and years >= case.number(clause.age_below):
        return NO
    return Verdict(True, (Fact(says.AGE(str(years)), used=Used("age", value=str(years), unit="a")),))


@evaluates(model.MonitoringIs)
def _(clause: model.MonitoringIs, case: Case, since: datetime | None = None) -> Verdict:
    watched = _watched(case)
    if not watched.isdisjoint(clause.sets) if clause.seen else watched.issuperset(clause.sets):
        return YES
    if clause.seen and case.chart.is_promised("serviceRequests"):
        return YES
    return not_found(case, "serviceRequests")  # an order is what is asked for; a procedure under way is enough


@once_of_patient
def _watched(case: Case) -> frozenset[str]:
    """The value sets, and their groups, of what is ordered or under way."""
    ordered = [*case.chart.ordered_services, *(act.members for act in case.chart.acts if act.in_progress)]
    held = [(name, member) for members in ordered for name, member in members.items()]
    return frozenset(name for name, _ in held).union(f"{name}/{member.group}" for name, member in held)
