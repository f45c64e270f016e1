"""Row 46: another ketamine or esketamine order, a running infusion, or a dose of the last day."""

from __future__ import annotations

from collections.abc import Iterator

from cds_service.chart.facts import Fact, Medicine, on
from cds_service.fhir.resources import MedicationRequest
from cds_service.orders import dosage
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.instructions import regimen
from cds_service.orders.proposal import Proposal
from cds_service.orders.regimen import Body, Kind, Reading
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case, RuleLimits
from cds_service.rules.clauses.medicines import unplaced_doses
from cds_service.rules.dosing_weight import dosing_weight, reading, steps_at_dosing_weight
from cds_service.rules.order_rules import fired
from cds_service.rules.outcome import Outcome, clear, could_not_tell, undelivered
from cds_service.rules.reads import asks

_NOT_AN_ORDER = frozenset({"plan", "proposal", "option"})


@asks(
    "medications", "medicationStatements", "administrations", "bodySize", "patient", limits=("window", "nasal window")
)
def judge(case: Case, rule: Rule) -> tuple[Outcome, list[Proposal]]:
    """Every other order or dose of the same family of drugs that is neither this order nor what it replaces."""
    active = [*_drafts(case), *_active(case)]
    if active:
        return fired(case, rule, "active", *active), []
    given = list(_given(case, RuleLimits(case, rule)))
    if given:
        return fired(case, rule, "given", *given), []
    reasons = (
        *undelivered(case.chart, "medications", "medicationStatements", "administrations"),
        *unplaced_doses(case),
    )
    return (
        could_not_tell(rule, case.order.reference, *reasons) if reasons else clear(rule, case.order.reference)
    ), []


def _bare(reference: str | None) -> str | None:
    return reference.partition("/_history/")[0].rsplit("/", 1)[-1] if reference else None


def _own_ids(request: MedicationRequest) -> set[str | None]:
    """The order itself and what it replaces or is based on."""
    references = [request.prior_prescription, *request.based_on, *request.replaces]
    return {request.id, *(_bare(r.reference) for r in references if r is not None)} - {None}


def _kinds(case: Case, order: KetamineOrder) -> set[Kind | None]:
    if order is case.order:
        return {step.kind for step in steps_at_dosing_weight(case)}
    body = dosing_weight(case).bodies[0]
    return {step.kind for step in regimen(order.written, reading(case, order, body, order.indication.volume_is_dose))}


def _belong_together(a: set[Kind | None], b: set[Kind | None]) -> bool:
    """Bolus or short with an infusion, or bolus with short: parts of one plan."""
    return _one_infusion_one_dose(a, b) or ({"bolus"} in (a, b) and {"short"} in (a, b))


def _one_infusion_one_dose(a: set[Kind | None], b: set[Kind | None]) -> bool:
    doses: set[Kind | None] = {"bolus", "short"}
    return any(one == {"continuous"} and other and other <= doses for one, other in ((a, b), (b, a)))


def _drafts(case: Case) -> Iterator[Fact]:
    for other in case.companions:
        if other is case.order or _NOT_AN_ORDER.intersection((other.request.intent, case.order.request.intent)):
            continue
        if other.request.id is not None and other.request.id in _own_ids(case.order.request):
            continue
        if case.order.request.id is not None and case.order.request.id in _own_ids(other.request):
            continue
        own, kinds = _kinds(case, case.order), _kinds(case, other)
        in_one_group = case.order.group is not None and other.group == case.order.group
        if (in_one_group and _belong_together(own, kinds)) or _one_infusion_one_dose(own, kinds):
            continue
        yield Fact(f"{other.name} (another draft)", other.reference)


def _active(case: Case) -> Iterator[Fact]:
    own_ids = _own_ids(case.order.request)
    drafted = {_bare(other.reference) for other in case.companions}
    for medicine in case.chart.medicines:
        if not case.is_ours(medicine.identity) or medicine.drafted:
            continue
        if medicine.given:
            if medicine.status == "in-progress" and _bare(medicine.order) not in own_ids:
                yield Fact(f"{medicine.name} (running, {on(medicine.start, case.now)})", medicine.reference)
            continue
        # What is recorded as taken may stand for this very order; where it does not, it is one more.
        is_other = own_ids.isdisjoint((_bare(medicine.reference), _bare(medicine.order)))
        is_other = is_other and _bare(medicine.reference) not in drafted and medicine.intent not in _NOT_AN_ORDER
        if is_other and not _same_plan(case, medicine):
            state = "recorded as taken" if medicine.taken else "ordered"
            yield Fact(f"{medicine.name} ({state}, {on(medicine.start, case.now)})", medicine.reference)


def _same_plan(case: Case, medicine: Medicine) -> bool:
    """An active order of the same order group that belongs to this one."""
    group = case.order.request.group_identifier
    if group is None or not group.value or medicine.group != (group.system, group.value):
        return False
    body: Body = dosing_weight(case).bodies[0]
    written = [dosage.read(d, i, case.valuesets, case.chart.zone) for i, d in enumerate(medicine.dosage_instruction)]
    kinds = {step.kind for step in regimen(written, Reading(body, None, case.conventions))}
    return _belong_together(_kinds(case, case.order), kinds)


def _given(case: Case, limits: RuleLimits) -> Iterator[Fact]:
    own_ids = _own_ids(case.order.request)
    for medicine in case.chart.medicines:
        if not medicine.given or not case.is_ours(medicine.identity):
            continue
        if medicine.status != "completed" or medicine.end is None:
            continue
        window = limits.window("nasal window" if _is_labelled_nasal(case, medicine) else "window")
        if _bare(medicine.order) not in own_ids and medicine.end.age(case.now) <= window:
            yield Fact(f"{medicine.name} (given, {on(medicine.end, case.now)})", medicine.reference)


def _is_labelled_nasal(case: Case, medicine: Medicine) -> bool:
    labelled, identity = case.protocol.nasal, medicine.identity
    if labelled is None or identity is None or identity.drug != labelled.drug:
        return False
    by_product = case.valuesets.member(labelled.products, identity.codings) is not None
    return by_product or labelled.route in medicine.routes
