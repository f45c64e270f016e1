"""An order without a usable maximum: what its worst hour may come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from cds_service.orders import often
from cds_service.orders.regimen import MINUTES_PER_HOUR, Body, Step, mass
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.dose_finding import Finding, Found, Measured, View, views, why_unknown
from cds_service.rules.dosing_weight import reading
from cds_service.rules.outcome import Reason
from cds_service.rules.reads import asks


@asks(
    "bodySize",
    "patient",
    limits=("hour", "span", "rate"),
    tiers=("no maximum", "maximum too high", "maximum below the rate", "no end"),
)
def judge(case: Case, rule: Rule) -> Found:
    """As needed without a maximum or with one that is too high, a maximum against its rate, a range without end."""
    findings: list[Finding] = []
    doubts: list[Reason] = []
    for here in views(case):
        for found in _caps(case, RuleLimits(case, rule), here):
            if isinstance(found, Reason):
                doubts.append(found)
            else:
                tier, amount = found
                findings.append(Finding(rule.id, rule.tier_of[tier], amount))
    return findings, doubts


def _caps(case: Case, limits: RuleLimits, here: View) -> Iterator[tuple[str, Measured] | Reason]:
    hour = limits.id("hour")

    basal = _basal(here, limits.limit("hour").routes)

    def found(tier: str, figure: Fraction | None, unit: str, limit: str | None, step: Step) -> tuple[str, Measured]:
        most = limits.number("hour") - basal if basal and step.finite else None
        return tier, Measured(figure, unit, limit, (step,), "cap", here.body, here.use.name, most)

    for each in here.own:
        step = each.step
        if step.route.kind not in limits.limit("hour").routes:
            continue
        cap = _cap(case, step, here.body)
        worst = _worst_hour(step, cap, limits.number("span"))
        if worst is not None and step.finite and step.written.as_needed:
            worst += basal
        if step.written.as_needed and step.written.cap is None and _times(step) is None:
            yield found("no maximum", worst, "mg/kg", hour, step)
        elif step.written.as_needed and not case.order.indication.alone:
            if worst is None:
                yield why_unknown(step, case)
            elif worst > limits.number("hour"):
                yield found("maximum too high", worst, "mg/kg", hour, step)
        if cap is not None and _cap_contradicts(step, cap):
            yield found("maximum below the rate", None, "", None, step)
        open_ended = any(amount is not None and amount.open_ended for amount in (step.dose, step.rate))
        ranged = step.rate is not None and step.rate.shape == "range" and not step.rate.open_ended
        if open_ended or (step.written.titrate and not ranged and step.written.cap is None):
            yield found("no end", None, "mg/kg/h", limits.id("rate"), step)


def _basal(here: View, routes: Sequence[str]) -> Fraction:
    """mg/kg/h of what runs beside the doses as needed of the same order."""
    rates = [each.step.mg_per_kg_per_hour for each in here.own if _is_basal(each.step, routes)]
    return sum((rate for rate in rates if rate is not None), Fraction(0))


def _is_basal(step: Step, routes: Sequence[str]) -> bool:
    return step.kind == "continuous" and not step.written.as_needed and step.route.kind in routes


@dataclass(frozen=True, slots=True)
class _Cap:
    mg: Fraction | None
    mg_per_kg: Fraction | None
    minutes: Fraction


def _cap(case: Case, step: Step, body: Body) -> _Cap | None:
    cap = step.written.cap
    if cap is None:
        return None
    mg, mg_per_kg = mass(cap.amount, reading(case, case.order, body))
    return _Cap(mg, mg_per_kg, cap.minutes)


def _worst_hour(step: Step, cap: _Cap | None, hour: Fraction) -> Fraction | None:
    """mg/kg in the worst hour of an as-needed step: repeats within it, or the whole cap of each of its periods.

    Never more than all doses that it may have.
    """
    interval = step.written.repeat.interval
    times = [each for each in (_times(step), interval and math.ceil(hour / interval)) if each is not None]
    capped = None
    if cap is not None and cap.mg_per_kg is not None:
        capped = cap.mg_per_kg * math.ceil(hour / cap.minutes)
    if not step.finite:
        hourly = step.mg_per_kg_per_hour
    elif times and step.mg_per_kg is not None:
        hourly = step.mg_per_kg * min(times)
    else:
        return capped
    return min((most for most in (hourly, capped) if most is not None), default=None)


def _times(step: Step) -> int | None:
    """How many doses a finite step may have in all, where its timing counts them and no words have it repeated."""
    if not step.finite or any(map(often.is_again, step.written.words)):
        return None
    return step.written.repeat.count


def _cap_contradicts(step: Step, cap: _Cap) -> bool:
    """A continuous rate over the cap's period gives more than the cap."""
    if step.kind != "continuous" or step.finite:
        return False
    hours = cap.minutes / MINUTES_PER_HOUR
    for rate, most in ((step.mg_per_hour, cap.mg), (step.mg_per_kg_per_hour, cap.mg_per_kg)):
        if rate is not None and most is not None:
            return rate * hours > most
    return False
