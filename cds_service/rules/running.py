"""The infusion that is running now, and the rate before this order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from cds_service.chart.facts import Fact, Medicine, on
from cds_service.fhir.resources import MedicationRequest
from cds_service.figures import show
from cds_service.orders import concentration, dosage
from cds_service.orders.dosage import Amount
from cds_service.orders.regimen import Body, Reading, Step, mass
from cds_service.rules.case import Case

_Rate = tuple[Fraction | None, Fraction | None]
"""(mg/h, mg/kg/h)"""


@dataclass(frozen=True, slots=True)
class PreviousRate:
    """The rate before this order, as far as it is known without a weight; `running` while it goes on."""

    mg_per_hour: Fraction | None
    mg_per_kg_per_hour: Fraction | None
    running: bool
    fact: Fact

    def times(self, step: Step) -> Fraction | None:
        """How many times this rate the rate of a step is, in whichever measure both are known."""
        pairs = ((step.mg_per_kg_per_hour, self.mg_per_kg_per_hour), (step.mg_per_hour, self.mg_per_hour))
        return next((new / old for new, old in pairs if new is not None and old), None)


def previous_rate(case: Case, body: Body) -> PreviousRate | None:
    """The newest administered rate of the same drug, else that of the order which this one replaces."""
    for medicine in case.chart.medicines:
        if medicine.given and medicine.identity is not None and medicine.identity.drug == case.order.drug:
            rate = _rate(_administered(medicine, case), medicine, case, body)
            if rate is not None:
                running = medicine.status == "in-progress"
                says = f"{_shown(rate)} ({'running' if running else 'given'}, {on(medicine.start, case.now)})"
                return PreviousRate(*rate, running, Fact(says, medicine.reference))
    return _replaced(case, body)


def _administered(medicine: Medicine, case: Case) -> Amount | None:
    if medicine.dosage is None:
        return None
    return dosage.read_rate(medicine.dosage.rate_quantity, medicine.dosage.rate_ratio, case.chart.zone)


def _rate(amount: Amount | None, medicine: Medicine, case: Case, body: Body) -> _Rate | None:
    if amount is None or medicine.identity is None:
        return None
    strength = concentration.read(medicine.description, medicine.identity, case.valuesets)
    mg_per_ml = strength.mg_per_ml if strength.by != "name" else None
    return _known(mass(amount, Reading(body, mg_per_ml, case.conventions)))


def _known(rate: _Rate) -> _Rate | None:
    return None if rate == (None, None) else rate


def _shown(rate: _Rate) -> str:
    measures = zip(reversed(rate), ("mg/kg/h", "mg/h"), strict=True)
    return next(f"{show(figure)} {unit}" for figure, unit in measures if figure is not None)


def _replaced(case: Case, body: Body) -> PreviousRate | None:
    prior = case.chart.resolve(case.order.request.prior_prescription)
    if not isinstance(prior, MedicationRequest):
        return None
    for instruction in prior.dosage_instruction:
        for entry in instruction.dose_and_rate:
            amount = dosage.read_rate(entry.rate_quantity, entry.rate_ratio, case.chart.zone)
            rate = _known(mass(amount, Reading(body, None, case.conventions))) if amount else None
            if rate is not None:
                says = f"{_shown(rate)} (order before this one)"
                return PreviousRate(*rate, False, Fact(says, prior.reference))
    return None
