"""The other orders and running infusions of the drug's family: neither this order nor what it replaces."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import msgspec

from cds_service.chart.facts import Fact, Medicine, coded, on
from cds_service.fhir.resources import MedicationRequest
from cds_service.orders import concentration, dosage
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Reading, Step
from cds_service.rules.case import Case, once, once_of_patient
from cds_service.rules.dosing_weight import dosing_weight, reading
from cds_service.rules.running import charted_rate
from cds_service.says import Says
from cds_service.says import findings as says
from cds_service.says.entries import ORDERED, RUNNING, TAKEN

NOT_AN_ORDER = frozenset({"plan", "proposal", "option"})


class Other(msgspec.Struct, frozen=True):
    """Another draft, an active order or a running infusion, with its steps where they are known."""

    fact: Fact
    steps: tuple[Step, ...] = ()
    of_drug: bool = False
    """Whether it is of the order's own drug, and ordered or given here."""
    drafted: bool = False
    in_group: bool = False
    """Whether it is of the order's own group."""
    in_sessions: bool = False
    mg_per_hour: Fraction | None = None
    """Of what runs: the charted rate."""
    order: str | None = None
    """Of what runs: the order by which it does."""


def bare(reference: str | None) -> str | None:
    """The id of a reference, without its type and version."""
    return reference.partition("/_history/")[0].rsplit("/", 1)[-1] if reference else None


def own_ids(request: MedicationRequest) -> set[str | None]:
    """The order itself and what it replaces or is based on."""
    references = [request.prior_prescription, *request.based_on, *request.replaces]
    return {request.id, *(bare(r.reference) for r in references if r is not None)} - {None}


@once_of_patient
def lightest(case: Case) -> Body:
    """Of the weights that may be the patient's, the one at which mg are the most mg/kg."""
    bodies = dosing_weight(case).bodies
    return min(bodies, key=lambda body: (body.judged_by is None, body.judged_by or 0))


@once
def other_orders(case: Case) -> tuple[Other, ...]:
    """All of them: an order and what runs by it are one, and a single dose that was begun is over."""
    found = [*_drafts(case), *_of_chart(case)]
    running = {each.order for each in found if each.mg_per_hour is not None}
    kept = [each for each in found if not (_is_infusion(each) and bare(each.fact.reference) in running)]
    ordered = {bare(each.fact.reference) for each in kept if each.steps}
    return tuple(each for each in kept if each.order is None or each.order not in ordered)


def _is_infusion(other: Other) -> bool:
    return bool(other.steps) and all(step.kind == "continuous" for step in other.steps)


def _drafts(case: Case) -> Iterator[Other]:
    request = case.order.request
    for other in case.companions:
        if other is case.order or NOT_AN_ORDER.intersection((other.request.intent, request.intent)):
            continue
        if other.request.id is not None and other.request.id in own_ids(request):
            continue
        if request.id is not None and request.id in own_ids(other.request):
            continue
        read = reading(case, other, lightest(case), other.indication.volume_is_dose)
        yield Other(
            Fact(says.WITH_STATE(other.name, says.ANOTHER_DRAFT), other.reference),
            regimen(other.written, read),
            of_drug=other.drug == case.order.drug,
            drafted=True,
            in_group=case.order.group is not None and other.group == case.order.group,
            in_sessions=other.indication.in_sessions,
        )


def _of_chart(case: Case) -> Iterator[Other]:
    of_family = [each for each in case.chart.medicines if case.is_ours(each.identity) and not each.drafted]
    if not of_family:
        return
    # What another draft replaces is over with it.
    own = set[str | None]().union(*(own_ids(other.request) for other in (case.order, *case.companions)))
    drafted = {bare(other.reference) for other in case.companions}
    begun = {bare(m.order) for m in case.chart.medicines if m.given} - {None}
    for medicine in of_family:
        is_same_drug = medicine.identity is not None and medicine.identity.drug == case.order.drug
        name, order = bare(medicine.reference), bare(medicine.order)
        if medicine.given:
            if medicine.status == "in-progress" and order not in own:
                fact = _fact(medicine, RUNNING, case)
                rate = charted_rate(medicine, case, lightest(case))
                yield Other(fact, of_drug=is_same_drug, mg_per_hour=rate[0] if rate else None, order=order)
            continue
        # What is recorded as taken may stand for this very order; where it does not, it is one more.
        if not own.isdisjoint((name, order)) or name in drafted or medicine.intent in NOT_AN_ORDER:
            continue
        steps = _steps(case, medicine)
        left = tuple(step for step in steps if not (name in begun and _is_once(step)))
        if steps and not left:
            continue
        state = TAKEN if medicine.taken else ORDERED
        fact = _fact(medicine, state, case)
        is_one = is_same_drug and not medicine.taken
        yield Other(fact, left, of_drug=is_one, in_group=_is_in_group(case.order, medicine))


def _fact(medicine: Medicine, state: Says, case: Case) -> Fact:
    told = says.IN_STATE(medicine.name, state, on(medicine.start, case.now))
    return Fact(told, medicine.reference, used=coded("medicine", medicine.members, medicine.start))


def _is_once(step: Step) -> bool:
    repeat = step.written.repeat
    return step.kind in ("bolus", "short") and not step.written.as_needed and repeat.interval is None


def _is_in_group(order: KetamineOrder, medicine: Medicine) -> bool:
    group = order.request.group_identifier
    return bool(group is not None and group.value and medicine.group == (group.system, group.value))


def _steps(case: Case, medicine: Medicine) -> tuple[Step, ...]:
    """What an order of the chart gives."""
    assert medicine.identity is not None
    written = [
        dosage.read(d, i, case.valuesets, case.chart.zone)
        for i, d in enumerate(case.deadline.each(medicine.dosage_instruction, "judge"))
    ]
    strength = concentration.read(medicine.description, medicine.identity, case.valuesets)
    mg_per_ml = strength.mg_per_ml if strength.by != "name" else None
    return regimen(written, Reading(lightest(case), mg_per_ml, case.conventions))
