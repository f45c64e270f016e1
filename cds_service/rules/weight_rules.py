"""No weight, an old weight, a weight that cannot be believed."""

from __future__ import annotations

from fractions import Fraction

from msgspec.structs import replace

from cds_service.chart.facts import Fact, on, weighed
from cds_service.figures import show
from cds_service.orders.regimen import Body, Step
from cds_service.protocol.model import SEVERITIES, Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.dose_outcomes import passed_at, verdict
from cds_service.rules.dosing_weight import DosingWeight, dosing_weight, steps_at
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.says import Says
from cds_service.says import findings as says

_OUTPATIENT = ("outpatient", "home", "virtual")
AT_ANY_WEIGHT = ("weights", "rate", "dose", "usual rate", "usual dose")


@asks(
    *("bodySize", "patient", "encounter", "medications", "medicationStatements", "administrations"),
    limits=AT_ANY_WEIGHT,
    tiers=("too high at any weight", "no weight"),
    other_rules=True,
)
def missing(case: Case, rule: Rule) -> Outcome:
    """No weight: doses in mg cannot be checked, unless they are too high for every adult."""
    weight = dosing_weight(case)
    if case.order.labelled_nasal:
        return clear(rule, case.order.reference, says.NASAL)
    if weight.newest is not None:
        because = says.WEIGHT_NOT_BELIEVED if weight.doubt and weight.previous is None else None
        return clear(rule, case.order.reference, because)
    facts = [
        Fact(says.VALUE_NOT_USED(w.written, on(w.when, case.now), w.problem or ""), w.reference)
        for w in weight.unreadable
    ]
    unread = undelivered(case.chart, "bodySize")
    facts += map(Fact, weight.unplaced)
    facts += [Fact(reason.says) for reason in unread]
    dangerous, values = at_any_weight(case, RuleLimits(case, rule))
    found = "too high at any weight" if dangerous else "no weight"
    outcome = fired(case, rule, rule.tier_of[found], *facts, **values)
    return replace(outcome, reasons=unread)


def at_any_weight(case: Case, limits: RuleLimits) -> tuple[bool, dict[str, str]]:
    """Whether a dose in mg is critical even in the heaviest adult, and between which figures it lies."""
    lightest, heaviest = limits.numbers("weights")
    best = steps_at(case, Body.of(heaviest))
    worst_case = steps_at(case, Body.of(lightest))
    values: dict[str, str] = {}
    dangerous = False
    for step, other in zip(best, worst_case, strict=True):
        name = "rate" if step.kind == "continuous" else "dose"
        figure, high = (_figure(each) for each in (step, other))
        if figure is None or high is None or figure == high:
            continue
        limit = limits.number(name)
        routed = step.route.kind in limits.limit(f"usual {name}").routes
        if not values:
            values = {"low": show(figure, limit), "high": show(high, limit), "unit": limits.limit(name).unit}
            values["limit"] = show(limit)
            values["passes_below"] = _passes_below(limits, step)
        dangerous = dangerous or (routed and figure > limit and not case.order.indication.alone)
    if values and not dangerous and (passed := passed_at(case, Body.of(heaviest))) is not None:
        return True, values | {"limit": show(case.number(passed))}
    return dangerous, values


def _figure(step: Step) -> Fraction | None:
    return step.mg_per_kg_per_hour if step.kind == "continuous" else step.mg_per_kg


def _passes_below(limits: RuleLimits, step: Step) -> str:
    """The weight below which the dose is above its warning limit."""
    mg, limit = (step.mg_per_hour, "usual rate") if step.kind == "continuous" else (step.mg, "usual dose")
    return show(mg / limits.number(limit)) if mg is not None else ""


@asks(
    "bodySize",
    "patient",
    "encounter",
    limits=("in hospital", "outpatient", "too old"),
    sets=("class",),
    tiers=("older than too old", "older than allowed"),
)
def stale(case: Case, rule: Rule) -> Outcome:
    """A weight older than the setting allows."""
    weight = dosing_weight(case).shown
    if case.order.labelled_nasal or weight is None:
        return clear(rule, case.order.reference, says.NASAL if case.order.labelled_nasal else says.NO_WEIGHT)
    member = case.chart.setting.get(rule.sets["class"])
    outpatient = member is not None and member.group in _OUTPATIENT
    age = weight.when.age_at_most(case.now)
    limits = RuleLimits(case, rule)
    allowed = limits.window("outpatient" if outpatient else "in hospital")
    if age <= allowed:
        return clear(rule, case.order.reference)
    told = says.WEIGHT_OF(weight.written, on(weight.when, case.now))
    fact = Fact(told, weight.reference, used=weighed(weight))
    found = "older than too old" if age > limits.window("too old") else "older than allowed"
    return fired(case, rule, rule.tier_of[found], fact, days=str(age.days), allowed=str(allowed.days))


@asks(
    *("bodySize", "patient"),
    limits=AT_ANY_WEIGHT,
    tiers=("the verdict depends on it", "not believed"),
    other_rules=True,
)
def implausible(case: Case, rule: Rule) -> Outcome:
    """A weight that is doubted: critical where the verdict depends on it."""
    weight = dosing_weight(case)
    if weight.newest is not None and weight.doubt is None and weight.unheld and not case.order.labelled_nasal:
        return could_not_tell(rule, case.order.reference, *weight.unheld)
    if case.order.labelled_nasal or weight.doubt is None or weight.newest is None:
        return clear(rule, case.order.reference, says.NASAL if case.order.labelled_nasal else None)
    newest = weight.newest
    facts = [
        Fact(says.WEIGHT(newest.written, on(newest.when, case.now)), newest.reference, used=weighed(newest)),
    ]
    values: dict[str, Says] = {"doubt": weight.doubt}
    if weight.previous is None:
        depends, ranges = at_any_weight(case, RuleLimits(case, rule))
        return fired(case, rule, _doubted(rule, depends), *facts, **values, **ranges)
    before = weight.previous
    told = says.WEIGHT_BEFORE(before.written, on(before.when, case.now))
    facts.append(Fact(told, before.reference, used=weighed(before)))
    values["given"] = _as_given(case, weight)
    return fired(case, rule, _doubted(rule, _verdict_flips(case, weight)), *facts, **values)


def _doubted(rule: Rule, depends: bool) -> str:
    return rule.tier_of["the verdict depends on it" if depends else "not believed"]


def _verdict_flips(case: Case, weight: DosingWeight) -> bool:
    """Whether the worst severity of the amounts is another on the other weight."""
    rules = case.protocol.rules
    severest = dict.fromkeys(weight.bodies, len(SEVERITIES))
    for finding in verdict(case).all:
        rule = rules[finding.rule]
        if rule.judge == "amounts":
            severity = SEVERITIES.index(rule.tier(finding.tier).severity)
            severest[finding.amount.body] = min(severity, severest.get(finding.amount.body, severity))
    return len(set(severest.values())) > 1


def _as_given(case: Case, weight: DosingWeight) -> str:
    """What the pump gives by the new weight, on the weight before."""
    for step in steps_at(case, weight.bodies[-1]):
        figure = _figure(step)
        if figure is not None:
            return f"{show(figure)} {'mg/kg/h' if step.kind == 'continuous' else 'mg/kg'}"
    return ""
