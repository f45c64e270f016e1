"""FHIR as clients really send it, and ways to spoil any element of it."""

import copy
from typing import Any

import msgspec
from hypothesis import strategies as st

from cds_service.fhir.resources import Resource

Json = Any
Path = tuple[str | int, ...]

PATIENT_ID = "p1"
LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
UCUM = "http://unitsofmeasure.org"
DOSE_RATE_TYPE = "http://epic.com/CodeSystem/dose-rate-type"
LONG_ID = ("eRxK3mA." * 25)[:194]


def concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def quantity(value: Json, unit: str) -> Json:
    return {"value": value, "unit": unit, "system": UCUM, "code": unit}


SUBJECT = {"reference": f"Patient/{PATIENT_ID}"}

# Three entries per dosage, the drug by reference, a 194-character id.
EPIC_ORDER: Json = {
    "resourceType": "MedicationRequest",
    "id": LONG_ID,
    "status": "draft",
    "intent": "order",
    "category": [
        concept("http://terminology.hl7.org/CodeSystem/medicationrequest-category", "inpatient", "Inpatient")
    ],
    "medicationReference": {"reference": "Medication/m1", "display": "ketamine 50 mg/mL injection"},
    "subject": {"reference": f"Patient/{PATIENT_ID}", "display": "Doe, J."},
    "encounter": {"reference": "Encounter/e1"},
    "authoredOn": "2026-11-22T08:15:00Z",
    "requester": {"reference": "Practitioner/x", "type": "Practitioner"},
    "reasonCode": [concept(SNOMED, "82423001", "Chronic pain")],
    "groupIdentifier": {"system": "urn:epic", "value": "g1"},
    "supportingInformation": [{"reference": "Observation/w1"}],
    "contained": [{"resourceType": "Medication", "id": "c1", "code": concept(RXNORM, "6130", "ketamine")}],
    "dosageInstruction": [
        {
            "sequence": 1,
            "text": "0.5 mg/kg over 40 min",
            "asNeededBoolean": False,
            "route": concept(SNOMED, "47625008", "Intravenous route"),
            "timing": {
                "repeat": {"duration": 40, "durationUnit": "min", "frequency": 1, "period": 1, "periodUnit": "d"},
                "code": {"text": "Once"},
            },
            "doseAndRate": [
                {
                    "type": {"coding": [{"system": DOSE_RATE_TYPE, "code": kind}], "text": kind},
                    "doseQuantity": amount,
                }
                for kind, amount in (
                    ("calculated", quantity(35, "mg")),
                    ("admin-amount", {"value": 0.7, "unit": "tbl"}),
                    ("ordered", quantity(0.5, "mg/kg")),
                )
            ],
            "maxDosePerPeriod": {"numerator": quantity(70, "mg"), "denominator": quantity(24, "h")},
        }
    ],
    "dispenseRequest": {"expectedSupplyDuration": quantity(1, "d")},
}

BLOOD_PRESSURE: Json = {
    "resourceType": "Observation",
    "id": "bp1",
    "status": "final",
    "category": [{"coding": [{"code": "vital-signs"}]}],
    "code": concept(LOINC, "55284-4", "Blood Pressure"),
    "subject": SUBJECT,
    "effectiveDateTime": "2026-11-22T07:00:00+01:00",
    "issued": "2026-11-22T07:00:01.000Z",
    "interpretation": [{"text": "high"}],
    "component": [
        {"code": concept(LOINC, "8480-6", "Systolic"), "valueQuantity": quantity(162.5, "mm[Hg]")},
        {
            "code": concept(LOINC, "8462-4", "Diastolic"),
            "valueQuantity": {"value": 95, "system": UCUM},  # without a unit, as every sixteenth in the sandbox
            "referenceRange": [{"low": quantity(60, "mm[Hg]"), "high": quantity(90, "mm[Hg]")}],
        },
    ],
}

WEIGHT: Json = {
    "resourceType": "Observation",
    "id": "w1",
    "status": "final",
    "code": concept(LOINC, "29463-7", "Body weight"),
    "subject": SUBJECT,
    "effectivePeriod": {"start": "2026-11-20", "end": "2026-11-20"},
    "valueQuantity": quantity(70, "kg"),
}

CONDITION: Json = {
    "resourceType": "Condition",
    "id": "c1",
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "verificationStatus": {"coding": [{"code": "confirmed"}]},
    "code": concept(SNOMED, "38341003", "Hypertension"),
    "subject": SUBJECT,
    "onsetDateTime": "2014",
    "recordedDate": "2014-05-01",
}

ALLERGY: Json = {
    "resourceType": "AllergyIntolerance",
    "id": "a1",
    "clinicalStatus": {"coding": [{"code": "active"}]},
    "criticality": "high",
    "code": {"text": "Ketalar"},
    "patient": SUBJECT,
    "reaction": [{"substance": {"text": "ketamine"}, "manifestation": [{"text": "rash"}], "severity": "severe"}],
}

MEDICATION: Json = {
    "resourceType": "Medication",
    "id": "m1",
    "code": concept(RXNORM, "238084", "ketamine 50 MG/ML"),
    "amount": {"numerator": quantity(10, "mL"), "denominator": {"value": 1}},
    "ingredient": [
        {
            "itemCodeableConcept": concept(RXNORM, "6130", "ketamine"),
            "isActive": True,
            "strength": {"numerator": quantity(500, "mg"), "denominator": quantity(10, "mL")},
        },
        {"itemReference": {"reference": "Substance/water"}},
    ],
}

ADMINISTRATION: Json = {
    "resourceType": "MedicationAdministration",
    "id": "ma1",
    "status": "in-progress",
    "medicationCodeableConcept": concept(RXNORM, "6130", "ketamine"),
    "subject": SUBJECT,
    "effectivePeriod": {"start": "2026-11-22T06:00:00Z"},
    "request": {"reference": "MedicationRequest/1"},
    "dosage": {"route": {"text": "IV"}, "rateQuantity": quantity(14, "mg/h"), "dose": quantity(5, "mg")},
}

ENCOUNTER: Json = {
    "resourceType": "Encounter",
    "id": "e1",
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "subject": SUBJECT,
    "period": {"start": "2026-11-21"},
    "location": [{"location": {"reference": "#l1"}, "status": "active", "period": {"start": "2026-11-21"}}],
    "contained": [{"resourceType": "Location", "id": "l1", "type": [concept("urn:x", "1027-2", "ICU")]}],
}

PROCEDURE: Json = {
    "resourceType": "Procedure",
    "id": "pr1",
    "status": "completed",
    "code": concept(SNOMED, "271280005", "Extubation"),
    "subject": SUBJECT,
    "encounter": {"reference": "Encounter/e1"},
    "performedPeriod": {"start": "2026-11-22T05:00:00Z", "end": "2026-11-22T05:10:00Z"},
}

SERVICE_REQUEST: Json = {
    "resourceType": "ServiceRequest",
    "id": "sr1",
    "status": "active",
    "intent": "order",
    "doNotPerform": False,
    "code": {"text": "Continuous pulse oximetry"},
    "subject": SUBJECT,
    "authoredOn": "2026-11-22",
}

REQUEST_GROUP: Json = {
    "resourceType": "RequestGroup",
    "id": "rg1",
    "status": "draft",
    "subject": SUBJECT,
    "action": [{"resource": {"reference": "MedicationRequest/1"}, "action": [{"resource": SUBJECT, "action": []}]}],
}

PATIENT: Json = {"resourceType": "Patient", "id": PATIENT_ID, "birthDate": "1980-02-29", "gender": "female"}

OUTCOME: Json = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "forbidden", "diagnostics": "no scope Condition.read for user jdoe"}],
}

RESOURCES: list[Json] = [
    EPIC_ORDER,
    BLOOD_PRESSURE,
    WEIGHT,
    CONDITION,
    ALLERGY,
    MEDICATION,
    ADMINISTRATION,
    ENCOUNTER,
    PROCEDURE,
    SERVICE_REQUEST,
    REQUEST_GROUP,
    PATIENT,
    OUTCOME,
]


def bundle(*resources: Json, **more: Json) -> Json:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [{"fullUrl": f"urn:uuid:{i}", "resource": each} for i, each in enumerate(resources)],
        **more,
    }


def elements(resource: Resource | None) -> dict[str, str]:
    """What was read, as text: NaN is not equal to itself.

    Without contained resources, which are kept as bytes, spaced as the sender or we space them.
    """
    read = msgspec.structs.asdict(resource) if resource is not None else {}
    return {name: repr(value) for name, value in read.items() if name != "contained"}


def encoded(value: Json) -> bytes:
    return msgspec.json.encode(value)


# What a decoder may choke on, byte for byte.
NASTY = [
    msgspec.Raw(token)
    for token in (
        b"1e999999999",
        b"-1e-999999999",
        b"1e99999999999999999999",
        b"9" * 5000,
        b"0.1e-9999999999999999999",
        b"-0",
        b'"\xff\xfe"',
        b'"\\ud800"',
        b'"\\u0000"',
        b"[" * 2000 + b"]" * 2000,
        b'{"action":' * 500 + b"[]" + b"}" * 500,
        b"",
        b"nul",
        b"NaN",
        b"Infinity",
    )
]

# Values that are JSON as any other, and mean something to a decoder that is looking for numbers, dates or codes.
TELLING = ["", " ", "NaN", "Infinity", "sNaN", "1e999999999", "1e99999999999999999999", "0,5", "null", "true", "2026"]

names = st.sampled_from(["resourceType", "id", "code", "coding", "value", "action", "resource", "entry", "reference"])

plain_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from([*TELLING, "Bundle", "Observation", "OperationOutcome", f"Patient/{PATIENT_ID}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)

any_json = plain_json | st.sampled_from(NASTY)


def paths(value: Json, below: Path = ()) -> list[Path]:
    """The way to every element, the value itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [below, *(path for key, each in inner for path in paths(each, (*below, key)))]


def with_element(value: Json, path: Path, element: Json) -> Json:
    """A copy of `value` with `element` in the place that `path` leads to."""
    if not path:
        return element
    changed = copy.deepcopy(value)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = element
    return changed


def spoilt(value: Json, elements: st.SearchStrategy[Json] = any_json) -> st.SearchStrategy[Json]:
    """`value` with anything in the place of any of its elements, up to two of them."""

    def once(each: Json) -> st.SearchStrategy[Json]:
        if isinstance(each, msgspec.Raw):
            return st.just(each)
        return st.builds(
            lambda path, element: with_element(each, path, element), st.sampled_from(paths(each)), elements
        )

    return once(value) | once(value).flatmap(once)
