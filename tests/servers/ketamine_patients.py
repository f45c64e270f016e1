"""Two charts with what the sandbox patients lack: ketamine that is running, and an adult with nothing wrong."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tests.scenarios.build import ACT_CODE, LOINC, MONITORING, PARACETAMOL, RXNORM, SNOMED, UCUM, concept

from .hapi import Bundle

KETAMINE = concept(RXNORM, "6130", "ketamine")
CONDITION_STATUS = "http://terminology.hl7.org/CodeSystem/condition-clinical"
ALLERGY_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
HARMLESS = (
    ("444814009", "Viral sinusitis"),
    ("195662009", "Acute viral pharyngitis"),
    ("10509002", "Acute bronchitis"),
    ("44465007", "Sprain of ankle"),
    ("65363002", "Otitis media"),
    ("162864005", "Body mass index 30+ - obesity"),
    ("15777000", "Prediabetes"),
    ("55822004", "Hyperlipidemia"),
    ("271737000", "Anemia"),
    ("239873007", "Osteoarthritis of knee"),
    ("197927001", "Recurrent urinary tract infection"),
)
CHRONIC_HEART_FAILURE = ("88805009", "Chronic congestive heart failure")


def on_an_infusion(now: datetime) -> Bundle:
    """An adult of 82 kg with heart failure, 192/104 mm[Hg] an hour ago, and 16 mg/h of ketamine running for 4 h.

    The heart failure stands last, after eleven harmless problems: a client that stops at a small page misses it.
    """
    weights = [_weight(82, now, hours=3), *(_weight(81 + day % 2, now, hours=24 * day) for day in range(2, 10))]
    pressures = [_pressure(124, 78, now, hours) for hours in range(48, 2, -4)]
    order = {
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": KETAMINE,
        "authoredOn": _ago(now, hours=5),
        "dosageInstruction": [{"doseAndRate": [{"rateQuantity": _quantity(0.2, "mg/kg/h")}]}],
    }
    running = {
        "resourceType": "MedicationAdministration",
        "status": "in-progress",
        "medicationCodeableConcept": KETAMINE,
        "request": {"reference": _placeholder("MedicationRequest", 1)},
        "effectivePeriod": {"start": _ago(now, hours=4)},
        "dosage": {"rateQuantity": _quantity(16, "mg/h")},
    }
    return _transaction(
        {"resourceType": "Patient", "gender": "female", "birthDate": "1971-04-02"},
        _stay(now),
        *weights,
        *pressures,
        _pressure(192, 104, now, hours=1),
        *(_problem(code, name, now) for code, name in (*HARMLESS, CHRONIC_HEART_FAILURE)),
        _no_known_allergy(),
        order,
        running,
    )


def in_good_health(now: datetime) -> Bundle:
    """A healthy adult of 70 kg who was measured this morning and is monitored: a correct order gives no card."""
    return _transaction(
        {"resourceType": "Patient", "gender": "male", "birthDate": "1985-09-17"},
        _stay(now),
        _weight(70, now, hours=2),
        _observed("8302-2", now, hours=48, valueQuantity=_quantity(175, "cm")),
        _pressure(118, 74, now, hours=2),
        _no_known_allergy(),
        *({"resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": concept(SNOMED, code)}
          for code in MONITORING),
        {"resourceType": "MedicationRequest", "status": "active", "intent": "order",
         "authoredOn": _ago(now, hours=20), "medicationCodeableConcept": concept(RXNORM, PARACETAMOL)},
    )  # fmt: skip


def infusion_bag() -> dict[str, Any]:
    """A Medication without a name that a client shows: 2 mg of ketamine in each mL."""
    strength = {"numerator": _quantity(500, "mg"), "denominator": _quantity(250, "mL")}
    return {"resourceType": "Medication", "ingredient": [{"itemCodeableConcept": KETAMINE, "strength": strength}]}


def _transaction(*resources: dict[str, Any]) -> Bundle:
    """All of `resources`, in their order, about the Patient among them."""
    numbered: dict[str, int] = {}
    entries = []
    for resource in resources:
        kind = resource["resourceType"]
        numbered[kind] = numbered.get(kind, 0) + 1
        if kind != "Patient":
            whose = "patient" if kind == "AllergyIntolerance" else "subject"
            resource = {**resource, whose: {"reference": _placeholder("Patient", 1)}}
        entries.append(
            {
                "fullUrl": _placeholder(kind, numbered[kind]),
                "resource": resource,
                "request": {"method": "POST", "url": kind},
            }
        )
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


def _placeholder(kind: str, number: int) -> str:
    """What stands for the n-th resource of a kind until the server has given it an id."""
    return f"urn:uuid:{uuid5(NAMESPACE_URL, f'{kind} {number}')}"


def _ago(now: datetime, hours: float) -> str:
    return (now - timedelta(hours=hours)).isoformat(timespec="seconds")


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


def _stay(now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Encounter",
        "status": "in-progress",
        "class": {"system": ACT_CODE, "code": "IMP"},
        "period": {"start": _ago(now, hours=72)},
    }


def _observed(code: str, now: datetime, hours: float, **value: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": concept(LOINC, code),
        "effectiveDateTime": _ago(now, hours),
        **value,
    }


def _weight(kg: float, now: datetime, hours: float) -> dict[str, Any]:
    return _observed("29463-7", now, hours, valueQuantity=_quantity(kg, "kg"))


def _pressure(systolic: int, diastolic: int, now: datetime, hours: float) -> dict[str, Any]:
    parts: Iterable[tuple[str, int]] = (("8480-6", systolic), ("8462-4", diastolic))
    components = [{"code": concept(LOINC, code), "valueQuantity": _quantity(mm, "mm[Hg]")} for code, mm in parts]
    return _observed("85354-9", now, hours, component=components)


def _problem(code: str, name: str, now: datetime) -> dict[str, Any]:
    return {
        "resourceType": "Condition",
        "clinicalStatus": concept(CONDITION_STATUS, "active"),
        "code": concept(SNOMED, code, name),
        "onsetDateTime": _ago(now, hours=24 * 400),
    }


def _no_known_allergy() -> dict[str, Any]:
    return {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": concept(ALLERGY_STATUS, "active"),
        "code": concept(SNOMED, "716186003", "No known allergy"),
    }
