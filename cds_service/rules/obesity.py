"""Row 11: a dose that is within its limit on actual weight and above it on ideal body weight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from cds_service.orders.regimen import Body, Step
from cds_service.rules.case import Case
from cds_service.rules.dose_finding import Finding, uses, view
from cds_service.rules.dosing_weight import DosingWeight, IdealWeight, ideal_weight
from cds_service.rules.outcome import Reason

RULE = "obesity-dosing-weight"


@dataclass(frozen=True, slots=True)
class Obesity:
    """What row 11 found: findings on ideal weight, or why it could not be told."""

    ideal: IdealWeight | None
    findings: tuple[Finding, ...] = ()
    unknown: Reason | None = None


def judge(case: Case, weight: DosingWeight) -> Obesity:
    if weight.doubt is not None:
        return Obesity(None)
    if weight.newest is None or weight.newest.kg is None:
        return Obesity(None, unknown=Reason("weight", "there is no usable weight"))
    actual = weight.newest.kg
    ideal = ideal_weight(case, actual)
    if ideal.bmi is not None and ideal.bmi < case.number("obesity-bmi"):
        return Obesity(ideal)
    if ideal.kg is None:
        return Obesity(ideal, unknown=Reason("height", ideal.why_not or "the ideal body weight is not known"))
    return Obesity(ideal, tuple(_above_on_ideal(case, actual, ideal.kg)))


def _above_on_ideal(case: Case, actual: Fraction, ideal: Fraction) -> Iterator[Finding]:
    for use in uses(case.order):
        if use == "procedural":
            continue
        here = view(case, use, Body.of(actual))
        for each in here.own:
            limit, figure = _limit_of(each.step, use == "depression", case)
            if limit is None or figure is None or each.step.route.kind not in case.limit(limit).routes:
                continue
            on_ideal = figure * actual / ideal
            if figure <= case.number(limit) < on_ideal:
                unit = case.limit(limit).unit
                yield Finding(
                    RULE,
                    "above-on-ideal-weight",
                    on_ideal,
                    unit,
                    limit,
                    (each.step,),
                    "ideal-weight",
                    Body.of(actual),
                )


def _limit_of(step: Step, depression: bool, case: Case) -> tuple[str | None, Fraction | None]:
    """The warning limit that the step is judged by, and its figure on actual weight."""
    if (
        depression
        and step.finite
        and (step.minutes is None or step.minutes <= case.number("depression-minutes-longest"))
    ):
        return "depression-dose-warn", step.mg_per_kg
    if step.kind == "continuous":
        return "rate-warn", step.mg_per_kg_per_hour
    if step.kind in ("bolus", "short") and not depression:
        return "bolus-warn", step.mg_per_kg
    return None, None
