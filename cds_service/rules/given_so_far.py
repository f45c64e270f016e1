"""Row 74: what was given of the drug in the last hour and day, with what the order adds at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fractions import Fraction

import msgspec
from msgspec.structs import replace

from cds_service.chart.facts import Fact, Medicine, on
from cds_service.figures import show
from cds_service.orders import concentration, dosage, route
from cds_service.orders.regimen import MINUTES_PER_HOUR, Body, Reading, mass
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits, once
from cds_service.rules.ceiling import NOTHING, Ceiling
from cds_service.rules.dosing_weight import dosing_weight, steps_at
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.rules.running import given_of_drug
from cds_service.rules.unit_slip import usual_rate

_SUMS = ("hour", "day", "warning", "critical")


class Given(msgspec.Struct, frozen=True):
    """mg of the drug in the last hour and the last day; `unread` are doses whose amount is not known."""

    hour: Fraction
    day: Fraction
    doses: tuple[Fact, ...]
    unread: tuple[str, ...]
    by_rate: bool
    """Whether all of it ran as an infusion."""


@asks("administrations", "bodySize", "patient", limits=_SUMS, tiers=("critical hour", "hour", "day", "sum"))
def judge(case: Case, rule: Rule) -> Outcome:
    """The sum of the last hour with this dose against the limits of a rate, that of the day against a day at it."""
    limits, order = RuleLimits(case, rule), case.order.reference
    found = given(case, limits.window("hour"), limits.window("day"), tuple(limits.limit("warning").routes))
    body = _lightest(case)
    if not found.doses:
        reasons = [Reason("dose", each) for each in found.unread]
        reasons += undelivered(case.chart, "administrations")
        return could_not_tell(rule, order, *reasons) if reasons else clear(rule, order)
    kg, now = body.judged_by, _at_once(case, body)
    if kg is None or now is None:
        what = (
            Reason("weight", "there is no usable weight") if kg is None else Reason("dose", "its dose is not known")
        )
        return could_not_tell(rule, order, what)
    if not now and found.by_rate:
        return clear(rule, order, "an infusion follows an infusion, and the rules of its rate judge it")
    tier, figure, most = passed(case, limits, (found.hour + now) / kg, (found.day + now) / kg)
    if not now:
        tier = "sum"  # an infusion adds nothing at once
    values = {
        "hour": show(found.hour / kg),
        "day": show(found.day / kg),
        "hour_mg": show(found.hour),
        "day_mg": show(found.day),
        "figure": show(figure, most),
        "limit": show(most),
    }
    outcome = fired(case, rule, rule.tier_of[tier], *found.doses, **values)
    return outcome if tier == "sum" else replace(outcome, ceilings=_left(case, limits, found, body, now / kg))


def _left(case: Case, limits: RuleLimits, found: Given, body: Body, now: Fraction) -> tuple[Ceiling, ...]:
    """What the sums leave of each dose (mg/kg). No dose is asked for: it may be right to wait."""
    assert body.judged_by is not None
    hour, day = _most(case, limits)[0::2]
    left = min(hour - found.hour / body.judged_by, day - found.day / body.judged_by)
    part = max(left, NOTHING) / now
    return tuple(
        Ceiling(step.written.index, "mg/kg", step.mg / body.judged_by * part, asks=False)
        for step in steps_at(case, body)
        if step.kind != "continuous" and step.mg is not None
    )


def is_within(case: Case, limits: RuleLimits, doses: Sequence[Fact]) -> bool:
    """Whether the amount of each of these doses is known, and all that was given of the drug is within the limits.

    A session against depression never is: it has a frequency of its own.
    """
    found = given(case, limits.window("hour"), limits.window("day"), tuple(limits.limit("warning").routes))
    body = _lightest(case)
    now, kg = _at_once(case, body), body.judged_by
    unknown = {dose.reference for dose in doses} - {dose.reference for dose in found.doses}
    if unknown or found.unread or now is None or kg is None or case.order.indication.in_sessions:
        return False
    return passed(case, limits, (found.hour + now) / kg, (found.day + now) / kg)[0] == "sum"


def passed(case: Case, limits: RuleLimits, hour: Fraction, day: Fraction) -> tuple[str, Fraction, Fraction]:
    """(what is passed, mg/kg, limit) of sums. In sedation and the like the rate that occurs there is the limit."""
    warning, critical, whole_day = _most(case, limits)
    if case.order.indication.in_sessions:
        return "sum", hour, warning
    if hour > critical:
        return "critical hour", hour, critical
    if hour > warning:
        return "hour", hour, warning
    return ("day", day, whole_day) if day > whole_day else ("sum", hour, warning)


def _most(case: Case, limits: RuleLimits) -> tuple[Fraction, Fraction, Fraction]:
    """mg/kg of an hour that warn, that are critical, and of a day that warn."""
    warning, critical = limits.number("warning"), limits.number("critical")
    if case.order.indication.alone:
        warning = critical = usual_rate(case, warning)
    return warning, critical, warning * Fraction(limits.window("day") / limits.window("hour"))


def _lightest(case: Case) -> Body:
    bodies = dosing_weight(case).bodies
    return min(bodies, key=lambda body: (body.judged_by is None, body.judged_by or 0))


def _at_once(case: Case, body: Body) -> Fraction | None:
    """mg of the order's doses that are no infusion; None where one is not known."""
    doses = [step.mg for step in steps_at(case, body) if step.kind != "continuous"]
    known = [dose for dose in doses if dose is not None]
    return sum(known, Fraction(0)) if len(known) == len(doses) else None


@once
def given(case: Case, hour: timedelta, day: timedelta, routes: tuple[str, ...]) -> Given:
    """The doses of the order's drug by these routes. What is charted anew of an order ends what ran of it before."""
    body, sums = _lightest(case), [Fraction(0), Fraction(0)]
    doses: list[Fact] = []
    unread: list[str] = []
    by_rate = True
    later: dict[str | None, datetime] = {}
    for medicine in given_of_drug(case):
        kind = route.read(medicine.dosage.route if medicine.dosage else None, case.valuesets).kind
        if kind not in routes or medicine.start is None or (medicine.end or medicine.start).age(case.now) >= day:
            if medicine.start is None and kind in routes:
                unread.append(f"{medicine.name}: when it was given is not known")
            continue
        until = later.get(medicine.order) if medicine.order is not None else None
        amounts = [_mg(medicine, case, body, window, until) for window in (hour, day)]
        later[medicine.order] = medicine.start.latest
        if amounts[0] is None or amounts[1] is None:
            unread.append(f"{medicine.name} ({on(medicine.start, case.now)}): how much was given is not known")
            continue
        sums = [total + (amount or 0) for total, amount in zip(sums, amounts, strict=True)]
        by_rate = by_rate and _amount(medicine, case, body, is_rate=True) is not None
        doses.append(Fact(f"{show(amounts[1])} mg ({on(medicine.start, case.now)})", medicine.reference))
    return Given(sums[0], sums[1], tuple(doses), tuple(unread), by_rate)


def _mg(medicine: Medicine, case: Case, body: Body, window: timedelta, until: datetime | None) -> Fraction | None:
    """mg of one administration that fall within a window before now."""
    assert medicine.start is not None
    begun = case.now - window
    rate = _amount(medicine, case, body, is_rate=True)
    if rate is None:
        ended = medicine.end.latest if medicine.end is not None else medicine.start.latest
        dose = _amount(medicine, case, body, is_rate=False)
        return dose if dose is None or ended > begun else Fraction(0)
    runs = medicine.status == "in-progress"
    ended = case.now if runs or medicine.end is None else medicine.end.latest
    if until is not None:
        ended = min(ended, until)
    minutes = Fraction(round((min(ended, case.now) - max(medicine.start.earliest, begun)).total_seconds()), 60)
    return rate * max(minutes, Fraction(0)) / MINUTES_PER_HOUR


def _amount(medicine: Medicine, case: Case, body: Body, is_rate: bool) -> Fraction | None:
    """Its dose in mg or its rate in mg/h."""
    charted = medicine.dosage
    if charted is None or medicine.identity is None:
        return None
    if is_rate:
        amount = dosage.read_rate(charted.rate_quantity, charted.rate_ratio)
    else:
        amount = dosage.read_dose(charted.dose)
    if amount is None:
        return None
    strength = concentration.read(medicine.description, medicine.identity, case.valuesets)
    mg_per_ml = strength.mg_per_ml if strength.by != "name" else None
    return mass(amount, Reading(body, mg_per_ml, case.conventions))[0]
