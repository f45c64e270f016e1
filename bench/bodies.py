"""The requests that are measured: order-sign with small, median and large charts of several patients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cds_service.fhir import queries
from cds_service.fhir.queries import Query
from cds_service.terminology import valuesets
from tests.charts import files, read
from tests.scenarios.build import ACT_CODE, LOINC, MONITORING, PARACETAMOL, RXNORM, SNOMED, UCUM, concept
from tests.servers.hapi import Bundle, move_dates

Resource = dict[str, Any]

SIZES = {
    "small": ("Jeffry", "Bradly", "Birgit"),
    "median": ("Quintin", "Milan", "Jacki"),
    "large": ("Dirk", "Jacki+Quintin", "Milan+Birgit"),
}
"""Whose sandbox charts are measured. The median ones are in the middle of the thirteen by size. Of the large ones the
first is the largest; the others are a patient's with the records of another one added, as nobody else has so many.
"""
SMALL_BYTES = 30_000
"""The small patients' charts are cut, from the oldest observation on, to this size: a request of about 40 KB."""

RATES = {"an order with cards": "0.6", "an order without": "0.2"}
"""mg/kg/h of ketamine: above the protocol's maximum, which gives a card with a suggestion, and within it."""
NOT_KETAMINE = "not ketamine"

VITAL, LABORATORY = "vital-signs", "laboratory"
WEIGHT = "29463-7"
_ALLERGY_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
_CARDS_OF_THEIR_OWN = frozenset({"128613002", "84757009", "308971"})
"""A seizure disorder, epilepsy and carbamazepine of one sandbox chart: left out, as the order is what is measured."""


@dataclass(frozen=True)
class Chart:
    """One patient's resources as an EHR would prefetch them."""

    name: str
    patient: Resource
    resources: list[Resource]

    def of(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["resourceType"] == kind]


@dataclass(frozen=True)
class Kind:
    """What figures are of: one order for all patients with charts of one size."""

    size: str
    order: str

    def __str__(self) -> str:
        return f"{self.size} chart, {self.order}"


@dataclass(frozen=True)
class Measured:
    """One request that is measured."""

    kind: Kind
    patient: str
    body: bytes


def measured(now: datetime) -> list[Measured]:
    """All of them: each patient with each order, kind by kind."""
    asked = queries.load(valuesets.load())
    found = []
    for size, names in SIZES.items():
        charts = [_chart(name, size, now) for name in names]
        prefetches = [_prefetch(chart, asked) for chart in charts]
        for order in (*RATES, NOT_KETAMINE):
            for chart, prefetch in zip(charts, prefetches, strict=True):
                draft = _ketamine(RATES[order], chart) if order in RATES else _amoxicillin(chart)
                found.append(Measured(Kind(size, order), chart.name, _body(chart, draft, prefetch)))
    return found


def one_of_each(found: Iterable[Measured]) -> list[Measured]:
    """The first patient of each kind."""
    return [of_kind[0] for of_kind in by_kind(found).values()]


def by_kind(found: Iterable[Measured]) -> dict[Kind, list[Measured]]:
    kinds: dict[Kind, list[Measured]] = {}
    for each in found:
        kinds.setdefault(each.kind, []).append(each)
    return kinds


def _chart(name: str, size: str, now: datetime) -> Chart:
    chart, *others = (_sandbox_chart(each, now) for each in name.split("+"))
    given = [each for other in others for each in _given(other, chart)]
    chart = Chart(name, chart.patient, chart.resources + given)
    return _in_hospital(_cut(chart, SMALL_BYTES) if size == "small" else chart, now)


def _given(other: Chart, chart: Chart) -> list[Resource]:
    """The records of another patient as this one's, without the weights: those of one would be doubted."""
    text = json.dumps([each for each in other.resources if each is not other.patient and _code(each) != WEIGHT])
    found: list[Resource] = json.loads(text.replace(str(other.patient["id"]), str(chart.patient["id"])))
    return found


def _cut(chart: Chart, size: int) -> Chart:
    """Without its oldest observations."""
    kept = list(chart.resources)
    for old in sorted(chart.of("Observation"), key=lambda observation: str(observation["effectiveDateTime"])):
        if len(_json(kept)) <= size:
            break
        kept.remove(old)
    return Chart(chart.name, chart.patient, kept)


def _in_hospital(chart: Chart, now: datetime) -> Chart:
    """With today's stay, weight, pressure, allergies, paracetamol and monitoring: a correct order gives no card.

    The weight is the last one that was recorded, measured again.
    """
    subject = {"reference": f"Patient/{chart.patient['id']}"}
    known = concept(SNOMED, "716186003", "No known allergy")
    weights = [each for each in chart.of("Observation") if _code(each) == WEIGHT]
    weight = max(weights, key=lambda each: datetime.fromisoformat(each["effectiveDateTime"]))
    added: list[Resource] = [
        {
            "resourceType": "Encounter",
            "id": _stay(chart),
            "status": "in-progress",
            "class": {"system": ACT_CODE, "code": "IMP"},
            "period": {"start": _ago(now, days=2)},
        },
        weight | {"id": "weight", "effectiveDateTime": _ago(now, hours=1)},
        _observation(
            "pressure", VITAL, ("85354-9", "Blood pressure"), _ago(now, hours=1), (124, "mm[Hg]"), (78, "mm[Hg]")
        ),
        {"resourceType": "AllergyIntolerance", "id": "none", "clinicalStatus": concept(_ALLERGY_STATUS, "active")}
        | {"code": known, "patient": subject},
        {"resourceType": "MedicationRequest", "id": "adjunct", "status": "active", "intent": "order"}
        | {"medicationCodeableConcept": concept(RXNORM, PARACETAMOL, "acetaminophen")},
        *(
            {"resourceType": "ServiceRequest", "id": f"watch{code}", "status": "active", "intent": "order"}
            | {"code": concept(SNOMED, code)}
            for code in MONITORING
        ),
    ]
    kept = (each for each in chart.resources if _code(each) not in _CARDS_OF_THEIR_OWN)
    return Chart(chart.name, chart.patient, [*kept, *({"subject": subject} | each for each in added)])


# The sandbox patients -----------------------------------------------------------------------------------------


def _sandbox_chart(name: str, now: datetime) -> Chart:
    """What an EHR would prefetch of a transaction Bundle, its newest date a day before what is added."""
    (path,) = (path for path in files() if path.name.startswith(f"{name}_"))
    text = read(path).decode()
    for entry in json.loads(text)["entry"]:
        resource = entry["resource"]
        text = text.replace(entry["fullUrl"], f"{resource['resourceType']}/{resource['id']}")
    bundle: Bundle = move_dates(json.loads(text), now - timedelta(days=1))
    resources = [entry["resource"] for entry in bundle["entry"]]
    (patient,) = (each for each in resources if each["resourceType"] == "Patient")
    return Chart(name, patient, [each for each in resources if _is_prefetched(each)])


def _is_prefetched(resource: Resource) -> bool:
    match resource["resourceType"]:
        case "Observation":
            categories = {c["code"] for category in resource["category"] for c in category["coding"]}
            return not categories.isdisjoint({VITAL, LABORATORY})
        case "MedicationRequest":
            return str(resource["status"]) == "active"
        case "Condition" | "AllergyIntolerance" | "Procedure" | "MedicationAdministration":
            return True
    return False


# What is added to them --------------------------------------------------------------------------------------


def _observation(name: str, category: str, what: tuple[str, str], when: str, *values: tuple[int, str]) -> Resource:
    """One value, or the two of a blood pressure."""
    code, display = what
    categories = "http://terminology.hl7.org/CodeSystem/observation-category"
    quantities = [{"value": value, "unit": unit, "system": UCUM, "code": unit} for value, unit in values]
    made: Resource = {
        "resourceType": "Observation",
        "id": name,
        "status": "final",
        "category": [concept(categories, category, category)],
        "code": concept(LOINC, code, display) | {"text": display},
        "effectiveDateTime": when,
        "issued": when,
    }
    if len(quantities) == 1:
        return made | {"valueQuantity": quantities[0]}
    parts = zip(("8480-6", "8462-4"), quantities, strict=True)
    return made | {"component": [{"code": concept(LOINC, part), "valueQuantity": value} for part, value in parts]}


def _ago(now: datetime, days: int = 0, hours: int = 0) -> str:
    return (now - timedelta(days=days, hours=hours)).isoformat(timespec="seconds")


# The request --------------------------------------------------------------------------------------------------


def _prefetch(chart: Chart, asked: Sequence[Query]) -> dict[str, Any]:
    """Every query answered. What none asks for comes with the vital signs or the results, as EHRs send it."""
    observations: dict[str, list[Resource]] = {}
    for each in chart.of("Observation"):
        other = "vitalSigns" if _is_vital(each) else "results"
        key = next((query.key for query in asked if _code(each) in query.codes), other)
        observations.setdefault(key, []).append(each)
    answers: dict[str, Any] = {
        query.key: _searchset(observations.get(query.key, []) if query.codes else chart.of(query.type))
        for query in asked
    }
    (stay,) = chart.of("Encounter")
    return answers | {"patient": chart.patient, "encounter": stay}


def _stay(chart: Chart) -> str:
    return f"stay-{chart.patient['id']}"


def _code(resource: Resource) -> str | None:
    """The first one that says what a resource is about."""
    coded = resource.get("code") or resource.get("medicationCodeableConcept") or {}
    return next((str(coding["code"]) for coding in coded.get("coding", ())), None)


def _is_vital(observation: Resource) -> bool:
    return bool(observation["category"][0]["coding"][0]["code"] == VITAL)


def _searchset(resources: Iterable[Resource]) -> Bundle:
    entries = [
        {"fullUrl": f"https://ehr.example/fhir/{r['resourceType']}/{r['id']}", "resource": r} for r in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(entries), "entry": entries}


def _draft(chart: Chart, medication: Resource, dosage: Resource) -> Resource:
    return {
        "resourceType": "MedicationRequest",
        "id": "draft",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": medication,
        "subject": {"reference": f"Patient/{chart.patient['id']}"},
        "reasonCode": [concept(SNOMED, "274663001", "Acute pain")],
        "dispenseRequest": {"expectedSupplyDuration": {"value": 24, "unit": "h", "system": UCUM, "code": "h"}},
        "dosageInstruction": [dosage],
    }


def _ketamine(rate: str, chart: Chart) -> Resource:
    unit = "mg/kg/h"
    drug = concept(RXNORM, "6130", "ketamine")
    amount = {"value": float(rate), "unit": unit, "system": UCUM, "code": unit}
    route = concept(SNOMED, "47625008", "Intravenous route")
    return _draft(chart, drug, {"route": route, "doseAndRate": [{"rateQuantity": amount}]})


def _amoxicillin(chart: Chart) -> Resource:
    drug = concept(RXNORM, "723", "amoxicillin")
    return _draft(chart, drug, {"text": "500 mg by mouth three times a day"})


def _body(chart: Chart, draft: Resource, prefetch: dict[str, Any]) -> bytes:
    request = {
        "hook": "order-sign",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {
            "userId": "Practitioner/example",
            "patientId": chart.patient["id"],
            "encounterId": _stay(chart),
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
        },
        "prefetch": prefetch,
    }
    return _json(request)


def _json(value: Any) -> bytes:
    """Compact, as EHRs send it."""
    return json.dumps(value, separators=(",", ":")).encode()
