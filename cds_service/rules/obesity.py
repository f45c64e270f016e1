"""A dose that is within its limit on actual weight and above it on ideal body weight."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from cds_service.orders.indication import Use
from cds_service.orders.regimen import Body, Step
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.dose_finding import Finding, Found, Measured, View, is_session, views_at
from cds_service.rules.dosing_weight import dosing_weight, ideal_weight
from cds_service.rules.outcome import Reason
from cds_service.rules.reads import asks
from cds_service.says import findings as says


@asks("bodySize", "patient", limits=("bmi", "rate", "dose", "session"))
def judge(case: Case, rule: Rule) -> Found:
    weight, limits = dosing_weight(case), RuleLimits(case, rule)
    if weight.doubt is not None:
        return [], []
    if weight.newest is None or weight.newest.kg is None:
        return [], [Reason("weight", says.NO_USABLE_WEIGHT)]
    actual = weight.newest.kg
    ideal = ideal_weight(case, actual)
    if ideal.bmi is not None and ideal.bmi < limits.number("bmi"):
        return [], []
    if ideal.kg is None:
        return [], [Reason("height", ideal.why_not or says.NO_IDEAL_WEIGHT)]
    if case.order.indication.alone:
        return [], []
    seen = views_at(case, [Body.of(actual)])
    amounts = [amount for here in seen for amount in _above_on_ideal(case, limits, here, actual, ideal.kg)]
    tier_of: dict[str | None, str] = {limit: tier.name for tier in rule.tiers for limit in tier.limits}
    return [Finding(rule.id, tier_of[amount.limit], amount) for amount in amounts], []


def _above_on_ideal(
    case: Case, limits: RuleLimits, here: View, actual: Fraction, ideal: Fraction
) -> Iterator[Measured]:
    for each in here.own:
        name, figure = _limit_of(each.step, here.use, case)
        if name is None or figure is None or each.step.route.kind not in limits.limit(name).routes:
            continue
        on_ideal = figure * actual / ideal
        if figure <= limits.number(name) < on_ideal:
            unit = limits.limit(name).unit
            yield Measured(on_ideal, unit, limits.id(name), (each.step,), "ideal-weight", here.body, here.use.name)


def _limit_of(step: Step, use: Use, case: Case) -> tuple[str | None, Fraction | None]:
    """The warning limit that the step is judged by, and its figure on actual weight."""
    if is_session(step, use, case):
        return "session", step.mg_per_kg
    if step.kind == "continuous":
        return "rate", step.mg_per_kg_per_hour
    if step.kind in ("bolus", "short") and use.session is None:
        return "dose", step.mg_per_kg
    return None, None
