"""A single dose of another medicine beside the drug, drafted in this session or ordered before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from msgspec.structs import replace

from cds_service.chart.facts import Fact, Medicine, coded
from cds_service.fhir import lenient, outgoing
from cds_service.fhir.resources import MedicationRequest
from cds_service.figures import show
from cds_service.orders import dosage, words
from cds_service.orders.dosage import Written
from cds_service.orders.instructions import regimen
from cds_service.orders.proposal import Action, Edit, Proposal, SetAmount, floored, make_edits
from cds_service.orders.regimen import Reading, Step
from cds_service.protocol.model import Limit, Rule, Tier
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.clauses import evaluate
from cds_service.rules.clauses.verdict import left_open
from cds_service.rules.dosing_weight import dosing_weight
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, Reason, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks
from cds_service.says import Says, listed
from cds_service.says import findings as says
from cds_service.says.entries import AND_WHY, DRAFTED, ORDERED

_BY_VEIN = frozenset({"intravenous", "intraosseous", "unstated"})
_NO_ORDER = frozenset({"plan", "proposal", "option"})
_ENDED = frozenset({"cancelled", "stopped", "completed", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class _Dose:
    """A single dose by vein of one order of the other medicine."""

    medicine: Medicine
    step: Step


@asks(
    "medications",
    "bodySize",
    "patient",
    limits=("offered", "offered if susceptible", "per kg"),
    sets=("medicine",),
)
def judge(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """The worst tier of any dose: a tier's limits are in mg or mg/kg, and its `when` says for whom they are."""
    reasons: list[Reason] = []
    doses = list(_doses(case, rule.sets["medicine"]))
    for tier in rule.tiers:
        meant = evaluate(tier.when, case) if tier.when is not None else None
        if meant is not None and meant.holds is False:
            continue
        exceeded = [(dose, limit) for dose in doses if (limit := _exceeded(dose.step, tier, case)) is not None]
        if exceeded and (meant is None or meant.holds):
            facts = [_fact(dose) for dose, _ in exceeded]
            values = _every_limit(rule, case) | _figures(*exceeded[0], case)
            outcome = replace(fired(case, rule, tier.name, *facts, **values), reasons=tuple(dict.fromkeys(reasons)))
            return outcome, list(_lower_doses(case, rule, exceeded))
        if exceeded and meant is not None:
            reasons += meant.reasons
    reasons += [reason for dose in doses if (reason := _unknown(dose)) is not None]
    reasons += undelivered(case.chart, "medications")
    entries = case.chart.account.open(
        [rule.sets["medicine"]], "medicine", counts=lambda entry: entry.kind == "MedicationRequest"
    )
    reasons += left_open(entries)
    if reasons:
        return could_not_tell(rule, case.order.reference, *reasons), []
    return clear(rule, case.order.reference), []


def _fact(dose: _Dose) -> Fact:
    used = coded("medicine", dose.medicine.members, dose.medicine.start)
    return Fact(_said(dose), dose.medicine.reference, used=used)


def _doses(case: Case, medicine_set: str) -> Iterator[_Dose]:
    drafted = {m.reference for m in case.chart.medicines if m.drafted}
    for medicine in case.chart.medicines_by_set.of([medicine_set]):
        replaced = not medicine.drafted and medicine.reference in drafted
        if medicine.given or medicine.taken or replaced or medicine.status in _ENDED or medicine.intent in _NO_ORDER:
            continue
        given = medicine.dosage_instruction
        written = [
            dosage.read(d, i, case.valuesets, case.chart.zone)
            for i, d in enumerate(case.deadline.each(given, "judge"))
        ]
        yield from (_Dose(medicine, step) for step in _steps(written, case))


def _steps(written: Sequence[Written], case: Case) -> list[Step]:
    """The single doses by vein. A strength of the medicine is not read: mL stay unknown."""
    steps = regimen(written, Reading(dosing_weight(case).bodies[0], None, case.conventions))
    return [step for step in steps if step.kind in ("bolus", "short") and step.route.kind in _BY_VEIN]


def _exceeded(step: Step, tier: Tier, case: Case) -> Limit | None:
    """The first of the tier's limits that the dose is above."""
    figures = {"mg": step.mg, "mg/kg": step.mg_per_kg}
    for name in tier.limits:
        limit, figure = case.limit(name), figures[case.limit(name).unit]
        if figure is not None and figure > case.number(name):
            return limit
    return None


def _unknown(dose: _Dose) -> Reason | None:
    if dose.step.mg is None:
        return Reason("midazolam", AND_WHY(_said(dose), says.MG_NOT_KNOWN))
    return Reason("weight", AND_WHY(_said(dose), says.MG_PER_KG_NOT_KNOWN)) if dose.step.mg_per_kg is None else None


def _said(dose: _Dose) -> Says:
    state = DRAFTED if dose.medicine.drafted else ORDERED
    return says.WITH_STATE(listed((dose.medicine.name, words.dosage(dose.step.written)), " "), state)


def _every_limit(rule: Rule, case: Case) -> dict[str, str]:
    """The card names the limits of the other tiers too."""
    names = {name for tier in rule.tiers for name in tier.limits}
    return {name.replace("-", "_"): show(case.number(name)) for name in names}


def _figures(dose: _Dose, limit: Limit, case: Case) -> dict[str, str]:
    figure = dose.step.mg if limit.unit == "mg" else dose.step.mg_per_kg
    number = case.number(limit.id)
    assert figure is not None
    return {"figure": show(figure, number), "limit": show(number), "unit": limit.unit}


def _lower_doses(case: Case, rule: Rule, exceeded: Sequence[tuple[_Dose, Limit]]) -> Iterator[Proposal]:
    """Each draft that is too high at the dose that is offered: never a new order, and never one that was signed."""
    drafts = {dose.medicine.reference: dose.medicine for dose, _ in exceeded if dose.medicine.drafted}
    for reference, medicine in drafts.items():
        sent = case.chart.order_json(reference)
        mine = [dose.step for dose, _ in exceeded if dose.medicine.reference == reference]
        milligrams = _offered(case, rule, mine[0])
        if sent is None or milligrams <= 0:
            continue
        edits: list[Edit] = [SetAmount(s.written.index, s.dose, milligrams, "mg") for s in mine if s.dose is not None]
        changed = _changed(lenient.untyped(sent), edits, case)
        if changed is None or not _is_low(changed, rule, case):
            continue
        values = {"order": medicine.name, "to": f"{show(milligrams)} mg"}
        yield Proposal("adjunct", (Action("update", resource=changed),), values)


def _offered(case: Case, rule: Rule, step: Step) -> Fraction:
    """In mg: less in those for whom less is meant or may be, and never above the limit per kg."""
    adult = all(tier.when is None or evaluate(tier.when, case).holds is False for tier in rule.tiers)
    limits = RuleLimits(case, rule)
    most = limits.number("offered" if adult else "offered if susceptible")
    kg = step.mg / step.mg_per_kg if step.mg is not None and step.mg_per_kg else None
    return (
        most
        if kg is None
        else min(most, floored(limits.number("per kg") * kg, case.number(case.protocol.conventions.milligrams)))
    )


def _changed(order: dict[str, object], edits: Sequence[Edit], case: Case) -> dict[str, object] | None:
    try:
        make_edits(order, edits)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None  # the order's JSON is too broken to be edited
    return outgoing.medication_request(order, case.chart.patient_id, case.now)


def _is_low(order: dict[str, object], rule: Rule, case: Case) -> bool:
    """Read again as it would come back: no dose of it is above any limit that is meant."""
    read = lenient.read(order).resource
    assert isinstance(read, MedicationRequest)
    written = [
        dosage.read(d, i, case.valuesets, case.chart.zone)
        for i, d in enumerate(case.deadline.each(read.dosage_instruction, "offer"))
    ]
    return not any(
        _exceeded(step, tier, case)
        for step in _steps(written, case)
        for tier in rule.tiers
        if tier.when is None or evaluate(tier.when, case).holds is not False
    )
