"""The patient's age."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from msgspec.structs import replace

from cds_service.chart.facts import Fact, Used
from cds_service.figures import show
from cds_service.orders.proposal import Proposal
from cds_service.orders.regimen import Step
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.ceiling import Ceiling
from cds_service.rules.clauses import evaluate
from cds_service.rules.clauses.verdict import NO
from cds_service.rules.dosing_weight import steps_at_every_weight
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.says import findings as says


def _no_age(case: Case, rule: Rule) -> Outcome:
    unread = undelivered(case.chart, "patient")
    missing = Reason("patient", says.BIRTH_NOT_KNOWN)
    return could_not_tell(rule, case.order.reference, *(unread or (missing,)))


@asks("patient", limits=("infant", "adult", "in years"), tiers=("below infant", "below adult"))
def child(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    months, years = case.chart.age_months, case.chart.age_years
    if months is None or years is None:
        return _no_age(case, rule), []
    limits = RuleLimits(case, rule)
    if months < limits.number("infant"):
        return fired(case, rule, rule.tier_of["below infant"], age=says.MONTHS(str(months))), []
    if years < limits.number("adult"):
        age = says.YEARS(str(years)) if months >= limits.number("in years") else says.MONTHS(str(months))
        return fired(case, rule, rule.tier_of["below adult"], age=age), []
    return clear(rule, case.order.reference), []


@asks("patient", "bodySize", limits=("age", "rate", "dose"), tiers=("high dose", "confused", "age alone"))
def older_adult(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    years = case.chart.age_years
    if years is None:
        return _no_age(case, rule), []
    limits = RuleLimits(case, rule)
    if years < limits.number("age"):
        return clear(rule, case.order.reference), []
    age = says.YEARS(str(years))
    high = [] if case.order.labelled_nasal else [f for s in steps_at_every_weight(case) if (f := _high(limits, s))]
    if high:
        _, name, figure = max(high, key=lambda found: found[2] - case.number(found[1]))
        limit, unit = case.number(name), case.limit(name).unit
        values = {"figure": f"{show(figure, limit)} {unit}", "limit": f"{show(limit)} {unit}"}
        outcome = fired(case, rule, rule.tier_of["high dose"], age=age, **values)
        return replace(outcome, ceilings=_ceilings(case, high)), []
    confused = rule.tier(rule.tier_of["confused"])
    verdict = evaluate(confused.when, case) if confused.when is not None else NO
    if verdict.holds:
        return fired(case, rule, confused.name, *verdict.facts, age=age), []
    fact = Fact(says.AGE(age), used=Used("age", value=str(years), unit="a"))
    outcome = fired(case, rule, rule.tier_of["age alone"], fact, age=age)
    return replace(outcome, reasons=verdict.reasons), []


def _high(limits: RuleLimits, step: Step) -> tuple[Step, str, Fraction] | None:
    """A step that is high for an older adult, the limit that it passes, and its figure."""
    name, figure = ("rate", step.mg_per_kg_per_hour) if step.kind == "continuous" else ("dose", step.mg_per_kg)
    if figure is not None and step.route.kind in limits.limit(name).routes and figure > limits.number(name):
        return step, limits.id(name), figure
    return None


def _ceilings(case: Case, high: Sequence[tuple[Step, str, Fraction]]) -> tuple[Ceiling, ...]:
    """What is not high for an older adult. For depression no lower dose is asked for: too little is known of them."""
    asks = not case.order.indication.in_sessions
    found = {(step.written.index, case.limit(name).unit, case.number(name)) for step, name, _ in high}
    return tuple(Ceiling(*each, asks) for each in sorted(found))
