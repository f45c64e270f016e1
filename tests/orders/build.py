"""Orders and dosages as FHIR for the tests of this room, read as they would come from outside."""

from __future__ import annotations

from datetime import UTC
from fractions import Fraction
from typing import Any

from cds_service.fhir import lenient
from cds_service.fhir.datatypes import Dosage
from cds_service.fhir.resources import MedicationRequest
from cds_service.orders import dosage
from cds_service.orders.dosage import Written
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Conventions, Reading, Step
from cds_service.terminology.valuesets import ValueSets

KG = Fraction(70)
CONVENTIONS = Conventions(bolus_minutes=Fraction(5), continuous_minutes=Fraction(60), tolerance=Fraction(5, 100))
NO_SETS = ValueSets(())


def order(**elements: Any) -> MedicationRequest:
    """A MedicationRequest with these elements."""
    read = lenient.read({"resourceType": "MedicationRequest", "id": "o1", "intent": "order", **elements}).resource
    assert isinstance(read, MedicationRequest)
    return read


def fhir_dosage(**elements: Any) -> Dosage:
    (found,) = order(dosageInstruction=[elements]).dosage_instruction
    return found


def quantity(value: Any, unit: str, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit, **more}


def amounts(dose: dict[str, Any] | None = None, rate: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """One doseAndRate entry."""
    return [({"doseQuantity": dose} if dose else {}) | ({"rateQuantity": rate} if rate else {})]


def written(**elements: Any) -> Written:
    """A dosage as `dosage.read` gives it; without value sets no route and no method has a code."""
    return dosage.read(fhir_dosage(**elements), 0, NO_SETS, UTC)


def steps(*, kg: Fraction | None = KG, mg_per_ml: Fraction | None = None, **elements: Any) -> tuple[Step, ...]:
    """The regimen of one dosage at a weight."""
    return regimen([written(**elements)], Reading(Body.of(kg), mg_per_ml, CONVENTIONS))
