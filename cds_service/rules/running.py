"""The infusion that is running now, and the rate before this order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cds_service.chart.facts import Fact, Medicine, on
from cds_service.fhir.resources import MedicationRequest
from cds_service.figures import show
from cds_service.orders import concentration, dosage
from cds_service.orders.dosage import Amount
from cds_service.orders.regimen import Body, Reading, mass
from cds_service.rules.case import Case


@dataclass(frozen=True, slots=True)
class PreviousRate:
    """mg/kg/h before this order; `running` while the infusion goes on."""

    mg_per_kg_per_hour: Fraction
    running: bool
    fact: Fact


def previous_rate(case: Case, body: Body) -> PreviousRate | None:
    """The newest administered rate of the same drug, else that of the order which this one replaces."""
    for medicine in case.chart.medicines:
        if medicine.given and medicine.identity is not None and medicine.identity.drug == case.order.drug:
            amount = _administered(medicine, case)
            rate = _per_kg(amount, medicine, case, body)
            if rate is not None:
                running = medicine.status == "in-progress"
                says = f"{show(rate)} mg/kg/h ({'running' if running else 'given'}, {on(medicine.start, case.now)})"
                return PreviousRate(rate, running, Fact(says, medicine.reference))
    return _replaced(case, body)


def _administered(medicine: Medicine, case: Case) -> Amount | None:
    if medicine.dosage is None:
        return None
    return dosage.read_rate(medicine.dosage.rate_quantity, medicine.dosage.rate_ratio, case.chart.zone)


def _per_kg(amount: Amount | None, medicine: Medicine, case: Case, body: Body) -> Fraction | None:
    if amount is None or medicine.identity is None:
        return None
    strength = concentration.read(medicine.description, medicine.identity, case.valuesets)
    mg_per_ml = strength.mg_per_ml if strength.by != "name" else None
    return mass(amount, Reading(body, mg_per_ml, case.conventions))[1]


def _replaced(case: Case, body: Body) -> PreviousRate | None:
    prior = case.chart.resolve(case.order.request.prior_prescription)
    if not isinstance(prior, MedicationRequest):
        return None
    for instruction in prior.dosage_instruction:
        for entry in instruction.dose_and_rate:
            amount = dosage.read_rate(entry.rate_quantity, entry.rate_ratio, case.chart.zone)
            rate = mass(amount, Reading(body, None, case.conventions))[1] if amount else None
            if rate is not None:
                return PreviousRate(
                    rate, False, Fact(f"{show(rate)} mg/kg/h (order before this one)", prior.reference)
                )
    return None
