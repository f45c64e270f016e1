"""The infusion that is running now, and the rate before this order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from cds_service.chart.facts import Fact, Medicine, Used, on
from cds_service.fhir.dates import When
from cds_service.fhir.resources import MedicationRequest
from cds_service.figures import show
from cds_service.orders import concentration, dosage
from cds_service.orders.regimen import Body, Reading, Step, mass
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import dosing_weight, steps_at_dosing_weight
from cds_service.says import findings as says
from cds_service.says.entries import GIVEN, RUNNING

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
    found = (given_rate(medicine, case, body) for medicine in given_of_drug(case))
    return next((rate for rate in found if rate is not None), None) or _replaced(case, body)


def times_rate_at(case: Case, moment: datetime) -> Fraction | None:
    """How many times the rate that ran at a moment the order's highest rate is; None where either is not known."""
    if any(medicine.start is None for medicine in given_of_drug(case)):
        return None  # it may be the one that ran
    body = dosing_weight(case).bodies[0]
    begun = [m for m in given_of_drug(case) if m.start is not None and m.start.latest <= moment]
    own = [m for m in begun if is_given_by(m, case.order.request)]
    before = next((found for medicine in own or begun if (found := given_rate(medicine, case, body))), None)
    steps = [step for step in steps_at_dosing_weight(case) if step.kind == "continuous"]
    times = [before.times(step) for step in steps] if before is not None else []
    known = [each for each in times if each is not None]
    return max(known) if known and len(known) == len(times) else None


def given_of_drug(case: Case) -> Iterator[Medicine]:
    """What was given of the order's drug, newest first."""
    for medicine in case.chart.medicines:
        if medicine.given and medicine.identity is not None and medicine.identity.drug == case.order.drug:
            yield medicine


def is_given_by(medicine: Medicine, order: MedicationRequest) -> bool:
    """Whether an administration names this order, or the one that it replaces."""
    if medicine.order is None:
        return False
    prior = order.prior_prescription.reference if order.prior_prescription else None
    return _bare(medicine.order) in {order.id, _bare(prior) if prior else None}


def _bare(reference: str) -> str:
    return reference.partition("/_history/")[0].rsplit("/", 1)[-1]


def given_rate(medicine: Medicine, case: Case, body: Body) -> PreviousRate | None:
    """The rate of one administration; None where it has none that can be read."""
    rate = charted_rate(medicine, case, body)
    if rate is None:
        return None
    running = medicine.status == "in-progress"
    told = says.IN_STATE(_shown(rate), RUNNING if running else GIVEN, on(medicine.start, case.now))
    return PreviousRate(*rate, running, Fact(told, medicine.reference, used=_used(rate, medicine.start)))


def charted_rate(medicine: Medicine, case: Case, body: Body) -> _Rate | None:
    """(mg/h, mg/kg/h) of one administration; None where it has none that can be read."""
    if medicine.dosage is None or medicine.identity is None:
        return None
    amount = dosage.read_rate(medicine.dosage.rate_quantity, medicine.dosage.rate_ratio)
    if amount is None:
        return None
    strength = concentration.read(medicine.description, medicine.identity, case.valuesets)
    mg_per_ml = strength.mg_per_ml if strength.by != "name" else None
    return _known(mass(amount, Reading(body, mg_per_ml, case.conventions)))


def _known(rate: _Rate) -> _Rate | None:
    return None if rate == (None, None) else rate


def _shown(rate: _Rate) -> str:
    return " ".join(_known_as(rate))


def _used(rate: _Rate, when: When | None = None) -> Used:
    value, unit = _known_as(rate)
    return Used("amount", value=value, unit=unit, when=when)


def _known_as(rate: _Rate) -> tuple[str, str]:
    """(figure, unit): for each kilogram where that is known."""
    measures = zip(reversed(rate), ("mg/kg/h", "mg/h"), strict=True)
    return next((show(figure), unit) for figure, unit in measures if figure is not None)


def _replaced(case: Case, body: Body) -> PreviousRate | None:
    prior = case.chart.resolve(case.order.request.prior_prescription)
    if not isinstance(prior, MedicationRequest):
        return None
    for instruction in prior.dosage_instruction:
        for entry in instruction.dose_and_rate:
            amount = dosage.read_rate(entry.rate_quantity, entry.rate_ratio)
            rate = _known(mass(amount, Reading(body, None, case.conventions))) if amount else None
            if rate is not None:
                told = says.WITH_STATE(_shown(rate), says.BEFORE_THIS_ORDER)
                return PreviousRate(*rate, False, Fact(told, prior.reference, used=_used(rate)))
    return None
