"""Rows 1-12: the regimen against the dosing limits, at every weight that may be the patient's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from cds_service.orders.regimen import Body, Step, mass
from cds_service.rules.case import Case
from cds_service.rules.dose_finding import (
    Doubt,
    Finding,
    Result,
    Use,
    View,
    may_clear,
    routed,
    uses,
    view,
    why_unknown,
)
from cds_service.rules.dosing_weight import reading
from cds_service.rules.outcome import Reason
from cds_service.rules.together import (
    Placed,
    by_route,
    doses_within,
    running_together,
    starting_within,
    total,
)


def findings(case: Case, body: Body) -> tuple[list[Finding], list[Doubt]]:
    """Everything that rows 1, 2, 4-10 and 12 find at one body, and what they could not tell."""
    found: list[Finding] = []
    doubts: list[Doubt] = []
    for use in uses(case.order):
        here = view(case, use, body)
        for rows in (_rates, _boluses, _pushes, _antidepressant, _caps):
            for result in rows(case, here):
                if isinstance(result, Finding):
                    found.append(dataclasses.replace(result, body=body))
                else:
                    doubts.append(result)
    return found, doubts


def _judged_as_antidepressant(step: Step, case: Case) -> bool:
    """Rows 9-10 judge finite doses up to a length; longer ones are judged by their rate."""
    return step.finite and (step.minutes is None or step.minutes <= case.number("depression-minutes-longest"))


# Rows 1 and 2: rates ----------------------------------------------------------------------------------------


def _rates(case: Case, here: View) -> Iterator[Result]:
    if here.use == "procedural":
        return

    def judged(steps: Sequence[Placed]) -> list[Placed]:
        return [
            each
            for each in routed(case, "rate-warn", steps)
            if not (here.use == "depression" and _judged_as_antidepressant(each.step, case))
        ]

    own, everything = judged(here.own), judged(here.all)
    for each in own:
        if each.step.kind == "continuous":
            yield from _rate(case, each.step.mg_per_kg_per_hour, (each.step,), "step")
        elif each.step.kind is None:
            yield from _doubtful_rate(why_unknown(each.step, case))
        yield from _repeats(case, each.step)
    continuous = [each for each in everything if each.step.kind == "continuous"]
    for route in by_route(continuous):
        sums = []
        for together in running_together(route):
            rate = total(together, lambda step: step.mg_per_kg_per_hour)
            if len(together) > 1 and rate is not None and any(each in own for each in together):
                sums.append((rate, tuple(each.step for each in together)))
        if sums:
            yield from _rate(case, *max(sums, key=lambda each: each[0]), "sum")


def _rate(
    case: Case, rate: Fraction | None, steps: tuple[Step, ...], how: Literal["step", "sum", "repeats"]
) -> Iterator[Result]:
    if rate is None:
        yield from _doubtful_rate(why_unknown(steps[0], case))
    elif rate > case.number("rate-critical"):
        yield Finding("rate-exceeds-ceiling", "above-critical", rate, "mg/kg/h", "rate-critical", steps, how)
    elif rate > case.number("rate-warn"):
        yield Finding("rate-exceeds-protocol-max", "above-warn", rate, "mg/kg/h", "rate-warn", steps, how)
    elif reason := may_clear(steps[0], case):
        yield from _doubtful_rate(reason)


def _doubtful_rate(reason: Reason) -> Iterator[Doubt]:
    yield Doubt("rate-exceeds-protocol-max", reason)
    yield Doubt("rate-exceeds-ceiling", reason)


def _repeats(case: Case, step: Step) -> Iterator[Result]:
    """Scheduled doses that start within one hour, summed, as a rate (4a, several steps)."""
    doses = doses_within(step, case.number("together-minutes"))
    if step.finite and doses > 1 and step.mg_per_kg is not None:
        yield from _rate(case, step.mg_per_kg * doses, (step,), "repeats")
    elif step.written.repeat.unreadable and step.finite:
        yield from _doubtful_rate(Reason("dose", "how often the dose is repeated cannot be read"))


# Rows 4-7: boluses and short infusions ------------------------------------------------------------------------


def _boluses(case: Case, here: View) -> Iterator[Result]:
    rules = ("bolus-above-usual-load", "bolus-exceeds-unmonitored-limit", "bolus-exceeds-protocol-max")
    for each in here.own:
        if each.step.kind is None:
            for rule in (*rules, "bolus-anaesthetic-range"):
                yield Doubt(rule, why_unknown(each.step, case))
        elif each.step.kind in ("bolus", "short"):
            yield from _anaesthetic(case, here.use, each.step)
            if here.use == "analgesic" and routed(case, "bolus-warn", [each]):
                yield from _bolus(case, each.step.mg_per_kg, (each.step,), "step")
    finite = [each for each in here.all if each.step.kind in ("bolus", "short")]
    hour = case.number("together-minutes")
    for together in (some for route in by_route(finite) for some in starting_within(route, hour)):
        if len(together) > 1 and any(each in here.own for each in together):
            yield from _boluses_together(case, here.use, together)


def _boluses_together(case: Case, use: Use, together: Sequence[Placed]) -> Iterator[Result]:
    """The sum of doses by one route, by the limits of that route."""
    dose = total(together, lambda step: step.mg_per_kg)
    if dose is None:
        return
    steps = tuple(each.step for each in together)
    label, start = _anaesthetic_limits(case, steps[0])
    if label is not None and dose > case.number(label):
        yield Finding("bolus-anaesthetic-range", "above-label", dose, "mg/kg", label, steps, "sum")
    elif use == "analgesic" and start is not None and dose >= case.number(start):
        yield _induction(dose, start, steps, "sum")
    elif use == "analgesic" and routed(case, "bolus-warn", together):
        yield from _bolus(case, dose, steps, "sum")


def _bolus(
    case: Case, dose: Fraction | None, steps: tuple[Step, ...], how: Literal["step", "sum"]
) -> Iterator[Result]:
    tiers = (
        ("bolus-critical", "bolus-exceeds-protocol-max", "above-both"),
        ("bolus-warn", "bolus-exceeds-unmonitored-limit", "above-unmonitored"),
        ("bolus-info", "bolus-above-usual-load", "above-usual"),
    )
    if dose is not None and dose >= case.number("bolus-anaesthetic"):
        return
    reason = why_unknown(steps[0], case) if dose is None else may_clear(steps[0], case)
    for limit, rule, tier in tiers:
        if dose is not None and dose > case.number(limit):
            yield Finding(rule, tier, dose, "mg/kg", limit, steps, how)
            return
    if reason is not None:
        for _, rule, _ in tiers:
            yield Doubt(rule, reason)


def _anaesthetic(case: Case, use: Use, step: Step) -> Iterator[Result]:
    dose = step.mg_per_kg
    label, start = _anaesthetic_limits(case, step)
    if label is None or start is None:
        return
    if dose is None:
        yield Doubt("bolus-anaesthetic-range", why_unknown(step, case))
    elif dose > case.number(label):
        yield Finding("bolus-anaesthetic-range", "above-label", dose, "mg/kg", label, (step,))
    elif dose >= case.number(start) and (use == "analgesic" or (use == "depression" and is_stated_push(step, case))):
        yield _induction(dose, start, (step,), "step")
    elif reason := may_clear(step, case):
        yield Doubt("bolus-anaesthetic-range", reason)


def _anaesthetic_limits(case: Case, step: Step) -> tuple[str | None, str | None]:
    """(labelled maximum, start of the range) by the route of a step."""
    pairs = (("label-max-iv", "label-max-im"), ("bolus-anaesthetic", "im-anaesthetic"))
    label, start = (next((n for n in names if step.route.kind in case.limit(n).routes), None) for names in pairs)
    return label, start


def _induction(dose: Fraction, limit: str, steps: tuple[Step, ...], how: Literal["step", "sum"]) -> Finding:
    return Finding("bolus-anaesthetic-range", "induction", dose, "mg/kg", limit, steps, how)


def is_stated_push(step: Step, case: Case) -> bool:
    """Method or route say push, or the stated time is no longer than a bolus (row 8)."""
    return step.is_push or (step.minutes is not None and step.minutes <= case.number("bolus-minutes"))


# Row 8: the speed of an analgesic dose --------------------------------------------------------------------------


def _pushes(case: Case, here: View) -> Iterator[Result]:
    if here.use != "analgesic":
        return
    for each in routed(case, "push-dose", here.own):
        step = each.step
        if step.kind not in ("bolus", "short"):
            continue
        too_fast = step.minutes is not None and step.minutes < case.number("push-minutes")
        if not too_fast and not (step.minutes is None and step.is_push):
            continue
        if step.mg_per_kg is None:
            yield Doubt("bolus-push-too-fast", why_unknown(step, case))
        elif step.mg_per_kg >= case.number("push-dose"):
            within_a_minute = step.minutes is not None and step.minutes < case.number("push-minutes-warn")
            tier = "under-a-minute" if within_a_minute else "fast"
            limit = "push-minutes-warn" if within_a_minute else "push-minutes"
            yield Finding("bolus-push-too-fast", tier, step.minutes, "min", limit, (step,))


# Rows 9 and 10: antidepressant doses ----------------------------------------------------------------------------


def _antidepressant(case: Case, here: View) -> Iterator[Result]:
    if here.use != "depression":
        return

    def judged(steps: Sequence[Placed]) -> list[Placed]:
        by_vein = routed(case, "depression-dose-warn", steps)
        return [each for each in by_vein if _judged_as_antidepressant(each.step, case)]

    own, everything = judged(here.own), judged(here.all)
    for each in own:
        yield from _antidepressant_dose(case, each.step.mg_per_kg, (each.step,), "step")
    span = case.number("depression-sum-hours") * 60
    for together in starting_within(everything, span):
        doses = total(together, lambda step: step.mg_per_kg, lambda step: doses_within(step, span))
        count = sum(doses_within(each.step, span) for each in together)
        if count > 1 and doses is not None and any(each in own for each in together):
            yield from _antidepressant_dose(case, doses, tuple(each.step for each in together), "sum")
    for each in routed(case, "depression-minutes", here.own):
        yield from _antidepressant_time(case, each.step)


def _antidepressant_dose(
    case: Case, dose: Fraction | None, steps: tuple[Step, ...], how: Literal["step", "sum"]
) -> Iterator[Result]:
    rule = "depression-dose-exceeds"
    if dose is None:
        yield Doubt(rule, why_unknown(steps[0], case))
    elif dose > case.number("depression-dose-critical"):
        yield Finding(rule, "above-critical", dose, "mg/kg", "depression-dose-critical", steps, how)
    elif dose > case.number("depression-dose-warn"):
        yield Finding(rule, "above-studied", dose, "mg/kg", "depression-dose-warn", steps, how)
    elif reason := may_clear(steps[0], case):
        yield Doubt(rule, reason)


def _antidepressant_time(case: Case, step: Step) -> Iterator[Result]:
    rule = "depression-infusion-too-fast"
    if step.kind is None:
        yield Doubt(rule, why_unknown(step, case))
    elif not step.finite or (step.minutes is None and not step.is_push):
        yield Finding(rule, "no-duration", None, "min", "depression-minutes", (step,))
    elif step.minutes is None or step.minutes < case.number("depression-minutes-critical") or step.is_push:
        yield Finding(rule, "much-too-fast", step.minutes, "min", "depression-minutes-critical", (step,))
    elif step.minutes < case.number("depression-minutes"):
        yield Finding(rule, "too-fast", step.minutes, "min", "depression-minutes", (step,))
    elif reason := may_clear(step, case):
        yield Doubt(rule, reason)


# Row 12: the worst case of an order ------------------------------------------------------------------------------


def _caps(case: Case, here: View) -> Iterator[Result]:
    rule = "uncapped-order"
    for each in routed(case, "uncapped-hour", here.own):
        step = each.step
        cap = _cap(case, step, here.body)
        worst = _worst_hour(case, step, cap)
        if step.written.as_needed and step.written.cap is None:
            yield Finding(rule, "no-cap", worst, "mg/kg", "uncapped-hour", (step,), "cap")
        elif step.written.as_needed and here.use != "procedural":
            if worst is None:
                yield Doubt(rule, why_unknown(step, case))
            elif worst > case.number("uncapped-hour"):
                yield Finding(rule, "worst-hour", worst, "mg/kg", "uncapped-hour", (step,), "cap")
        if cap is not None and _cap_contradicts(step, cap):
            yield Finding(rule, "cap-contradicts-rate", None, "", None, (step,), "cap")
        open_ended = any(amount is not None and amount.open_ended for amount in (step.dose, step.rate))
        ranged = step.rate is not None and step.rate.shape == "range" and not step.rate.open_ended
        if open_ended or (step.written.titrate and not ranged and step.written.cap is None):
            yield Finding(rule, "open-range", None, "mg/kg/h", "rate-warn", (step,), "cap")


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


def _worst_hour(case: Case, step: Step, cap: _Cap | None) -> Fraction | None:
    """mg/kg in the worst hour of an as-needed step: repeats within it, or the whole cap of each of its periods."""
    interval, hour = step.written.repeat.interval, case.number("together-minutes")
    capped = None
    if cap is not None and cap.mg_per_kg is not None:
        capped = cap.mg_per_kg * math.ceil(hour / cap.minutes)
    if not step.finite:
        hourly = step.mg_per_kg_per_hour
    elif interval is not None and step.mg_per_kg is not None:
        hourly = step.mg_per_kg * math.ceil(hour / interval)
    else:
        return capped
    return min((most for most in (hourly, capped) if most is not None), default=None)


def _cap_contradicts(step: Step, cap: _Cap) -> bool:
    """A continuous rate over the cap's period gives more than the cap."""
    if step.kind != "continuous" or step.finite:
        return False
    hours = cap.minutes / 60
    for rate, most in ((step.mg_per_hour, cap.mg), (step.mg_per_kg_per_hour, cap.mg_per_kg)):
        if rate is not None and most is not None:
            return rate * hours > most
    return False
