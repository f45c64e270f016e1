"""How an infusion ends, and how it goes on after it did harm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from fractions import Fraction

from msgspec.structs import replace

from cds_service.chart.facts import Fact, Medicine, coded, on
from cds_service.fhir import lenient
from cds_service.fhir.dates import When
from cds_service.figures import show
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.instructions import regimen
from cds_service.orders.proposal import Action, Edit, Proposal, SetAmount, SetEnd, floored, make_edits
from cds_service.orders.regimen import Step
from cds_service.protocol.model import Rule, SymptomIs
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.clauses.medicines import unplaced_doses
from cds_service.rules.clauses.recorded import symptoms_left_open
from cds_service.rules.clauses.verdict import in_sets
from cds_service.rules.dosing_weight import dosing_weight, reading, steps_at_dosing_weight
from cds_service.rules.lower_rate import lower_rate
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, not_placed, undelivered
from cds_service.rules.reads import asks
from cds_service.rules.repair import given_by, pump_step, sendable
from cds_service.rules.running import PreviousRate, given_of_drug, given_rate, is_given_by
from cds_service.says import Says
from cds_service.says import findings as says
from cds_service.says.entries import AND_WHY, DATED

_PAUSED = frozenset({"stopped", "on-hold"})
_ENDED = _PAUSED | {"completed"}

# After harm ------------------------------------------------------------------------------------------


@asks(
    "administrations",
    "conditions",
    "symptoms",
    "bodySize",
    "patient",
    limits=("window", "charted late", "highest rate", "pause"),
    tiers=("not lower", "above the highest rate", "too early"),
)
def restart(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """An infusion that is ordered within a day of a pause for harm: not lower, above the maximum, or too early."""
    infusions = [step for step in steps_at_dosing_weight(case) if step.kind == "continuous"]
    if not infusions:
        return clear(rule, case.order.reference), []
    harm = rule.tiers[0].when
    assert isinstance(harm, SymptomIs)
    unclear: list[Reason] = []
    limits = RuleLimits(case, rule)
    for pause in _pauses(case, limits.window("window"), unclear):
        found = _harm(pause, harm, limits)
        if found is not None:
            return _restarted(case, rule, infusions, pause, found)
        unclear += undelivered(case.chart, "conditions", *map(case.chart.query_of, harm.sets))
        unclear += _harm_left_open(pause, harm, case)
    unclear += undelivered(case.chart, "administrations")
    unclear += unplaced_doses(case, given=True)
    if unclear:
        return could_not_tell(rule, case.order.reference, *unclear), []
    return clear(rule, case.order.reference), []


def _pauses(case: Case, window: timedelta, unclear: list[Reason]) -> Iterator[Medicine]:
    """Infusions that were paused or ended within the window, newest first. `unclear` gets those without an end."""
    for medicine in given_of_drug(case):
        if medicine.status not in _ENDED or medicine.start is None:
            continue
        if medicine.end is None:
            if medicine.status in _PAUSED:
                since = says.SINCE_NOT_KNOWN(on(medicine.start, case.now), medicine.status or "")
                unclear.append(Reason("administrations", since, "not-placed"))
        elif medicine.end is not medicine.start and medicine.end.age(case.now) <= window:
            yield medicine


def _harm(pause: Medicine, harm: SymptomIs, limits: RuleLimits) -> Fact | None:
    """What the pause was for: its own reason, or what was noticed while it ran and shortly before it."""
    case = limits.case
    assert pause.start is not None
    assert pause.end is not None
    if in_sets(pause.status_reasons, harm.sets):
        return Fact(says.PAUSED_FOR_HARM(on(pause.end, case.now)), pause.reference)
    earliest = max(pause.start.earliest, pause.end.earliest - case.book.window(harm.within, case.now))
    latest = pause.end.latest + limits.window("charted late")
    for symptom in case.chart.symptoms:
        if (
            in_sets(symptom.members, harm.sets)
            and earliest <= symptom.when.latest
            and symptom.when.earliest <= latest
        ):
            used = coded("symptom", symptom.members, symptom.when)
            return Fact(DATED(symptom.name, on(symptom.when, case.now)), symptom.reference, used=used)
    return None


def _harm_left_open(pause: Medicine, harm: SymptomIs, case: Case) -> tuple[Reason, ...]:
    """The complaints whose answer or date is not known, and that may have been noticed while the infusion ran."""

    def counts(when: When | None) -> bool:
        assert pause.start is not None
        return when is None or when.latest >= pause.start.earliest

    return symptoms_left_open(harm, case, counts).reasons


def _restarted(
    case: Case, rule: Rule, infusions: Sequence[Step], pause: Medicine, harm: Fact
) -> tuple[Outcome, list[Proposal]]:
    limits = RuleLimits(case, rule)
    before = given_rate(pause, case, dosing_weight(case).bodies[0])
    facts = [
        harm,
        before.fact if before is not None else Fact(says.PAUSED(on(pause.end, case.now)), pause.reference),
    ]
    times = [before.times(step) if before is not None else None for step in infusions]
    rates = [step.mg_per_kg_per_hour for step in infusions]
    known = [rate for rate in rates if rate is not None]
    values: dict[str, Says] = {"figure": case.ordered}
    found = None
    minutes = _minutes_of_pause(case, infusions, pause)
    if any(each is not None and each >= 1 for each in times):
        found = "not lower"
    elif any(rate > limits.number("highest rate") for rate in known):
        found = "above the highest rate"
    elif minutes is not None and minutes < min(limits.numbers("pause")):
        found = "too early"
        values["minutes"] = show(minutes)
    if found is not None:
        ceilings = lower_rate(case, _per_kg(before, infusions))
        return replace(fired(case, rule, rule.tier_of[found], *facts, **values), ceilings=ceilings), []
    if None in times or None in rates:
        return could_not_tell(rule, case.order.reference, _not_compared(pause, before, case)), []
    return clear(rule, case.order.reference), []


def _not_compared(pause: Medicine, before: PreviousRate | None, case: Case) -> Reason:
    given = pause.dosage
    if before is None and given is not None and (given.rate_quantity or given.rate_ratio or given.text):
        unread = AND_WHY(DATED(pause.name, on(pause.start, case.now)), says.RATE_UNREAD)
        return not_placed(unread, pause.reference, short=says.RATE_THAT_WAS_GIVEN)
    return Reason("weight", says.RATES_NOT_COMPARABLE)


def _per_kg(before: PreviousRate | None, infusions: Sequence[Step]) -> Fraction | None:
    """The rate before the pause in mg/kg/h, also where it was charted in mg/h."""
    for step in infusions:
        times = before.times(step) if before is not None else None
        if times and step.mg_per_kg_per_hour is not None:
            return step.mg_per_kg_per_hour / times
    return None


def _minutes_of_pause(case: Case, infusions: Sequence[Step], pause: Medicine) -> Fraction | None:
    """From the end to the start that is ordered, else to now; None while one is running, or without a time."""
    assert pause.end is not None
    if pause.end.date_only or any(medicine.status == "in-progress" for medicine in given_of_drug(case)):
        return None
    start = min(step.written.start or case.now for step in infusions)
    return Fraction(int((start - pause.end.latest) / timedelta(minutes=1)))


# At once ------------------------------------------------------------------------------------------


@asks("administrations", "bodySize", "patient", limits=("after", "rate", "fraction", "hours"), tiers=("at once",))
def abrupt_stop(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """An infusion that ran for long, at more than a little, and is ended at once."""
    order = case.order.reference
    if any(_goes_on(case, other) for other in case.companions):
        return clear(rule, order, says.ANOTHER_INFUSION), []
    given = [medicine for medicine in given_of_drug(case) if _is_of(medicine, case)]
    running = next((medicine for medicine in given if medicine.status == "in-progress"), None)
    if running is None:
        unread = (*undelivered(case.chart, "administrations"), *unplaced_doses(case, given=True))
        return (could_not_tell(rule, order, *unread) if unread else clear(rule, order)), []
    started = min((medicine.start for medicine in given if medicine.start is not None), default=None)
    if started is None:
        return could_not_tell(rule, order, Reason("administrations", says.BEGIN_NOT_KNOWN, "not-placed")), []
    if started.age(case.now) < RuleLimits(case, rule).window("after"):
        return clear(rule, order), []
    return _ended(case, rule, given, running, on(started, case.now))


def _ended(
    case: Case, rule: Rule, given: Sequence[Medicine], running: Medicine, since: Says
) -> tuple[Outcome, list[Proposal]]:
    limits, body = RuleLimits(case, rule), dosing_weight(case).bodies[0]
    infusions = [step for step in steps_at_dosing_weight(case) if step.kind == "continuous"]
    now = given_rate(running, case, body)
    per_kg = now.mg_per_kg_per_hour if now is not None else max(_known(infusions), default=None)
    if per_kg is None:
        return could_not_tell(rule, case.order.reference, Reason("weight", says.RATE_PER_KG_NOT_KNOWN)), []
    if per_kg < limits.number("rate"):
        return clear(rule, case.order.reference), []
    earlier = [rate.mg_per_kg_per_hour for medicine in given if (rate := given_rate(medicine, case, body))]
    if any(rate is not None and per_kg <= rate * limits.number("fraction") for rate in earlier):
        return clear(rule, case.order.reference, says.STEPPED_DOWN), []
    told = says.RUNNING_AT(case.order.name, show(per_kg), since)
    outcome = fired(case, rule, rule.tier_of["at once"], Fact(told, running.reference), figure=show(per_kg))
    return outcome, _step_down(limits, infusions, per_kg)


def _goes_on(case: Case, other: KetamineOrder) -> bool:
    """Whether another order of the request is an infusion."""
    steps = regimen(other.written, reading(case, other, dosing_weight(case).bodies[0]))
    return other is not case.order and any(step.kind == "continuous" for step in steps)


def _known(steps: Sequence[Step]) -> list[Fraction]:
    return [step.mg_per_kg_per_hour for step in steps if step.mg_per_kg_per_hour is not None]


def _is_of(medicine: Medicine, case: Case) -> bool:
    """Given by this order, or by one that the chart does not name."""
    return medicine.order is None or is_given_by(medicine, case.order.request)


def _step_down(limits: RuleLimits, infusions: Sequence[Step], per_kg: Fraction) -> list[Proposal]:
    """The order, active again at a part of the rate, that ends after some hours; none where it is not valid R4."""
    case, hours, edits = limits.case, limits.number("hours"), list[Edit]()
    for step in infusions:
        ordered = step.mg_per_kg_per_hour
        if not ordered or step.finite or step.spoken or step.contradictions:
            return []
        for amount in given_by(step):
            size = pump_step(case, amount)
            part = amount.written * per_kg / ordered * limits.number("fraction")
            value = floored(part, size) if size else None
            if not value:
                return []
            edits.append(SetAmount(step.written.index, amount, value))
        edits.append(SetEnd(step.written.index, hours, case.now))
    sent = case.chart.order_json(case.order.reference)
    if sent is None or not edits or case.order.draft.is_charted:
        return []
    resource = lenient.untyped(sent)
    try:
        make_edits(resource, edits)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return []  # the order's JSON is too broken to be edited
    resource["status"] = "active"
    resource.pop("statusReason", None)
    valid = sendable(case, resource)
    values = {"hours": show(hours), "order": case.order.name}
    return [Proposal("taper", (Action("update", resource=valid),), values)] if valid else []
