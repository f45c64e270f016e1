"""What was given of the drug in the last hour and day, with what the order adds at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from fractions import Fraction

import msgspec
from msgspec.structs import replace

from cds_service.chart.facts import Fact, Medicine, Used, on
from cds_service.figures import show
from cds_service.lazy import kept
from cds_service.orders import concentration, dosage, route
from cds_service.orders.regimen import MINUTES_PER_HOUR, Body, Reading, mass
from cds_service.protocol.model import AmountIs, Protocol, Rule
from cds_service.protocol.references import each_clause
from cds_service.rules.ahead import WorstHour, is_pca, worst_hour
from cds_service.rules.case import Case, RuleLimits, once_of_patient
from cds_service.rules.ceiling import NOTHING, Ceiling
from cds_service.rules.clauses.medicines import unplaced_doses
from cds_service.rules.clauses.verdict import evaluate
from cds_service.rules.dosing_weight import steps_at
from cds_service.rules.order_rules import fired
from cds_service.rules.other_orders import lightest, other_orders
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, not_placed, undelivered
from cds_service.rules.reads import asks
from cds_service.rules.running import given_of_drug
from cds_service.rules.unit_slip import usual_rate
from cds_service.says import Says
from cds_service.says import findings as says
from cds_service.says.entries import AND_WHY, DATED, DOSE

GIVEN_SUM = "given-sum"
_ORDERED = "ordered "
_SUMS = ("hour", "day", "warning", "critical")
_FOUND = ("critical hour", "hour", "day", "sum", "ordered critical hour", "ordered hour", "ordered sum")


class Given(msgspec.Struct, frozen=True):
    """mg of the drug in the last hour and the last day; `unread` are doses whose amount is not known."""

    hour: Fraction
    day: Fraction
    doses: tuple[Fact, ...]
    unread: tuple[Reason, ...]
    by_rate: bool
    """Whether all of it ran as an infusion."""


class Sum(msgspec.Struct, frozen=True):
    """What the sums come to: what was found, mg/kg, the limit, and what they leave of the order's own doses."""

    found: str
    figure: Fraction
    most: Fraction
    ceilings: tuple[Ceiling, ...] = ()


@asks(
    *("administrations", "medications", "medicationStatements", "bodySize", "patient", "conditions"),
    limits=_SUMS,
    tiers=_FOUND,
    other_rules=True,
)
def judge(case: Case, rule: Rule) -> Outcome:
    """The last hour with this dose, and the worst hour of what is ordered, against the limits of a rate; the last day
    against a day at it. A day ahead needs no look: it is within its limit where every hour is.
    """
    limits, order = RuleLimits(case, rule), case.order.reference
    found = _given(case, limits)
    kg, worst = lightest(case).judged_by, _ahead(case, limits)
    if not found.doses and worst is None:
        return _nothing_found(case, rule, found)
    now = _at_once(case, limits)
    if kg is None or now is None or (worst is not None and worst.mg is None):
        what = Reason("weight", says.NO_USABLE_WEIGHT) if kg is None else Reason("dose", says.DOSE_NOT_KNOWN)
        return could_not_tell(rule, order, what)
    sums = sums_of(case, rule)
    if sums is None:
        return _nothing_found(case, rule, found)
    values = {
        "hour": show(found.hour / kg),
        "day": show(found.day / kg),
        "hour_mg": show(found.hour),
        "day_mg": show(found.day),
        "figure": show(sums.figure, sums.most),
        "limit": show(sums.most),
        "given": "yes" if found.doses else "",
        "part": show(part_of_limits(case)) if part_of_limits(case) < 1 and not case.order.indication.alone else "",
        "ahead": "",
        "ahead_mg": "",
    }
    if worst is not None and worst.mg is not None:
        values |= {"ahead": show(worst.mg / kg, sums.most), "ahead_mg": show(worst.mg)}
    others = [other.fact for other in other_orders(case)] if sums.found.startswith(_ORDERED) else ()
    asking = tuple(ceiling for ceiling in sums.ceilings if ceiling.asks and ceiling.most)
    return replace(fired(case, rule, rule.tier_of[sums.found], *found.doses, *others, **values), ceilings=asking)


def _nothing_found(case: Case, rule: Rule, found: Given) -> Outcome:
    """Clear, unless something else may be, or was, a dose of the drug."""
    reasons = (
        *found.unread,
        *undelivered(case.chart, "administrations"),
        *unplaced_doses(case),
    )
    order = case.order.reference
    return could_not_tell(rule, order, *reasons) if reasons else clear(rule, order)


def sums_of(case: Case, rule: Rule) -> Sum | None:
    """The worst of the sums; None where nothing is added up, or a dose or the weight is not known.

    A draft that leaves no room for this order is told so itself, and brought down first.
    """
    limits, kg = RuleLimits(case, rule), lightest(case).judged_by
    found, now, worst = _given(case, limits), _at_once(case, limits), _ahead(case, limits)
    if kg is None or now is None:
        return None
    sums: list[Sum] = []
    if found.doses and (now or not found.by_rate):
        tier, figure, most = passed(case, limits, (found.hour + now) / kg, (found.day + now) / kg)
        if not now:
            tier = "sum"  # an infusion adds nothing at once
        left = _left(case, limits, found, now / kg) if tier != "sum" else ()
        sums.append(Sum(tier, figure, most, left))
    if worst is not None and worst.mg is not None:
        tier, figure, most = passed(case, limits, worst.mg / kg, NOTHING)
        part = worst.part_within(_most(case, limits)[0] * kg)
        left = tuple(_ceilings(case, part, asks=not is_pca(case))) if tier != "sum" else ()
        is_anothers = not part and any(other.drafted for other in other_orders(case))
        if _is_said_here(case) if tier == "sum" else not is_anothers:
            sums.append(Sum(_ORDERED + tier, figure, most, left))
    order = [tier.name for tier in rule.tiers]
    first = min(sums, key=lambda each: order.index(rule.tier_of[each.found]), default=None)
    return first and replace(first, ceilings=tuple(ceiling for each in sums for ceiling in each.ceilings))


def _is_said_here(case: Case) -> bool:
    """Whether a sum within its limits is said of this order: of several drafts the first says it, and a PCA."""
    others = other_orders(case)
    drafts = [other for other in case.companions if other.drug == case.order.drug]
    return bool(others and drafts[0] is case.order) or (is_pca(case) and not others)


def ceilings_now(case: Case) -> Iterator[Ceiling]:
    """What the sums leave of an order, or of what it was changed to: every dose on offer stays within it."""
    for rule in kept(case.protocol, "rules of sums", _rules_of_sums):
        if (sums := sums_of(case, rule)) is not None:
            yield from sums.ceilings


def _rules_of_sums(protocol: Protocol) -> tuple[Rule, ...]:
    return tuple(rule for rule in protocol.rules.values() if not rule.off and rule.judge == GIVEN_SUM)


def _left(case: Case, limits: RuleLimits, found: Given, now: Fraction) -> tuple[Ceiling, ...]:
    """What the sums leave of each dose. No dose is asked for: it may be right to wait."""
    kg = lightest(case).judged_by
    assert kg is not None
    hour, day = _most(case, limits)[0::2]
    left = min(hour - found.hour / kg, day - found.day / kg)
    return tuple(_ceilings(case, max(left, NOTHING) / now, asks=False, rates=False))


def _ceilings(case: Case, part: Fraction, asks: bool, rates: bool = True) -> Iterator[Ceiling]:
    """A part of each of the order's own doses (mg/kg), and of its rates (mg/kg/h)."""
    for step in steps_at(case, lightest(case)):
        if step.kind != "continuous" and step.mg_per_kg is not None:
            yield Ceiling(step.written.index, "mg/kg", step.mg_per_kg * part, asks)
        elif rates and step.mg_per_kg_per_hour is not None:
            yield Ceiling(step.written.index, "mg/kg/h", step.mg_per_kg_per_hour * part, asks)


def is_within(case: Case, limits: RuleLimits, doses: Sequence[Fact]) -> bool:
    """Whether the amount of each of these doses is known, and all that was given of the drug is within the limits.

    A session against depression never is: it has a frequency of its own.
    """
    found, now, kg = _given(case, limits), _at_once(case, limits), lightest(case).judged_by
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
    else:
        warning, critical = warning * part_of_limits(case), critical * part_of_limits(case)
    return warning, critical, warning * Fraction(limits.window("day") / limits.window("hour"))


@once_of_patient
def part_of_limits(case: Case) -> Fraction:
    """The least part of the usual limits that a rule leaves this patient, as with an impaired liver; 1 without one.

    Such a rule's tiers take the dose apart; that one of them holds is a matter of the patient.
    """
    parts = [Fraction(1)]
    for rule, part in kept(case.protocol, "rules that leave a part of limits", _leaving_a_part):
        if any(tier.when is not None and evaluate(tier.when, case).holds for tier in rule.tiers):
            parts.append(case.number(part))
    return min(parts)


def _leaving_a_part(protocol: Protocol) -> tuple[tuple[Rule, str], ...]:
    found = {
        (rule.id, clause.part): (rule, clause.part)
        for rule in protocol.rules.values()
        if not rule.off
        for clause in each_clause(tier.when for tier in rule.tiers if tier.when is not None)
        if isinstance(clause, AmountIs) and clause.part is not None
    }
    return tuple(found.values())


def _routes(limits: RuleLimits) -> tuple[str, ...]:
    return tuple(limits.limit("warning").routes)


def _given(case: Case, limits: RuleLimits) -> Given:
    return given(case, limits.window("hour"), limits.window("day"), _routes(limits))


def _ahead(case: Case, limits: RuleLimits) -> WorstHour | None:
    return None if case.order.indication.in_sessions else worst_hour(case, _routes(limits))


def _at_once(case: Case, limits: RuleLimits) -> Fraction | None:
    """mg of the order's doses that are no infusion; None where one is not known."""
    steps = [step for step in steps_at(case, lightest(case)) if step.route.kind in _routes(limits)]
    doses = [step.mg for step in steps if step.kind != "continuous"]
    known = [dose for dose in doses if dose is not None]
    return sum(known, Fraction(0)) if len(known) == len(doses) else None


@once_of_patient
def given(case: Case, hour: timedelta, day: timedelta, routes: tuple[str, ...]) -> Given:
    """The doses of the order's drug by these routes. What is charted anew of an order ends what ran of it before.

    What was charted last and runs counts whenever it began.
    """
    body, sums = lightest(case), [Fraction(0), Fraction(0)]
    doses: list[Fact] = []
    unread: list[Reason] = []
    by_rate = True
    later: dict[str | None, datetime] = {}
    for medicine in given_of_drug(case):
        kind = route.read(medicine.dosage.route if medicine.dosage else None, case.valuesets).kind
        if kind not in routes:
            continue
        if medicine.start is None:
            unread.append(_unread(medicine, AND_WHY(medicine.name, says.WHEN_GIVEN_NOT_KNOWN)))
            continue
        goes_on = medicine.status == "in-progress" and not later
        if not goes_on and (medicine.end or medicine.start).age(case.now) >= day:
            continue
        until = later.get(medicine.order) if medicine.order is not None else None
        amounts = [_mg(medicine, case, body, window, until) for window in (hour, day)]
        later[medicine.order] = medicine.start.latest
        if amounts[0] is None or amounts[1] is None:
            dated = DATED(medicine.name, on(medicine.start, case.now))
            unread.append(_unread(medicine, AND_WHY(dated, says.HOW_MUCH_NOT_KNOWN)))
            continue
        sums = [total + (amount or 0) for total, amount in zip(sums, amounts, strict=True)]
        by_rate = by_rate and _amount(medicine, case, body, is_rate=True) is not None
        told = DATED(f"{show(amounts[1])} mg", on(medicine.start, case.now))
        used = Used("amount", value=show(amounts[1]), unit="mg", when=medicine.start)
        doses.append(Fact(told, medicine.reference, used=used))
    return Given(sums[0], sums[1], tuple(doses), tuple(unread), by_rate)


def _unread(medicine: Medicine, why: Says) -> Reason:
    """An amount that is written and not understood is said on a card; none at all is part of the rule."""
    charted = medicine.dosage
    is_written = charted and (charted.text or charted.dose or charted.rate_ratio or charted.rate_quantity)
    return not_placed(why, medicine.reference, short=DOSE) if is_written else Reason("dose", why)


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
