"""The requests that are measured: order-sign with the chart of a large and of a small patient, and three orders."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cds_service.fhir import queries
from cds_service.fhir.queries import Query
from cds_service.terminology import valuesets
from tests.charts import files, read
from tests.scenarios.build import ACT_CODE, LOINC, MONITORING, PARACETAMOL, RXNORM, SNOMED, UCUM, concept
from tests.servers.hapi import Bundle, move_dates

Resource = dict[str, Any]

SMALL_BYTES = 30_000
"""The small patient's chart is cut, from its oldest observation on, to this size: a request of about 40 KB."""

RATES = {"an order with cards": "0.6", "an order without": "0.2"}
"""mg/kg/h of ketamine: above the protocol's maximum, which gives a card with a suggestion, and within it."""
NOT_KETAMINE = "not ketamine"

VITAL, LABORATORY = "vital-signs", "laboratory"
_ALLERGY_STATUS = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
_CARDS_OF_THEIR_OWN = frozenset({"128613002", "84757009", "308971"})
"""A seizure disorder, epilepsy and carbamazepine of one sandbox chart: left out, as the order is what is measured."""


@dataclass(frozen=True)
class Chart:
    """One patient's resources as an EHR would prefetch them. `origin` says whose they are."""

    origin: str
    patient: Resource
    resources: list[Resource]

    def of(self, kind: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["resourceType"] == kind]


@dataclass(frozen=True)
class Measured:
    """One request that is measured."""

    patient: str
    order: str
    body: bytes


def measured(now: datetime) -> tuple[list[Measured], dict[str, str]]:
    """All of them, and where the two charts come from."""
    charts = _charts(now)
    asked = queries.load(valuesets.load())
    found = []
    for name, chart in charts.items():
        prefetch = _prefetch(chart, asked)
        drafts = {order: _ketamine(rate, chart) for order, rate in RATES.items()} | {
            NOT_KETAMINE: _amoxicillin(chart)
        }
        found += [Measured(name, order, _body(chart, draft, prefetch)) for order, draft in drafts.items()]
    return found, {name: chart.origin for name, chart in charts.items()}


def _charts(now: datetime) -> dict[str, Chart]:
    charts = [_sandbox_chart(path, now) for path in files()]
    charts.sort(key=lambda chart: len(_json(chart.resources)))
    return {"large": _in_hospital(charts[-1], now), "small": _in_hospital(_cut(charts[0], SMALL_BYTES), now)}


def _cut(chart: Chart, size: int) -> Chart:
    """Without its oldest observations."""
    kept = list(chart.resources)
    for old in sorted(chart.of("Observation"), key=lambda observation: str(observation["effectiveDateTime"])):
        if len(_json(kept)) <= size:
            break
        kept.remove(old)
    return Chart(f"{chart.origin}, newest observations", chart.patient, kept)


def _in_hospital(chart: Chart, now: datetime) -> Chart:
    """With today's stay, weight, pressure, allergies, paracetamol and monitoring: a correct order gives no card.

    The weight is the last one that was recorded, measured again.
    """
    subject = {"reference": f"Patient/{chart.patient['id']}"}
    known = concept(SNOMED, "716186003", "No known allergy")
    weights = [each for each in chart.of("Observation") if _code(each) == "29463-7"]
    weight = max(weights, key=lambda each: datetime.fromisoformat(each["effectiveDateTime"]))
    added: list[Resource] = [
        {
            "resourceType": "Encounter",
            "id": "stay",
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
    return Chart(chart.origin, chart.patient, [*kept, *({"subject": subject} | each for each in added)])


# The sandbox patients -----------------------------------------------------------------------------------------


def _sandbox_chart(path: Path, now: datetime) -> Chart:
    """What an EHR would prefetch of a transaction Bundle, its newest date a day before what is added."""
    text = read(path).decode()
    for entry in json.loads(text)["entry"]:
        resource = entry["resource"]
        text = text.replace(entry["fullUrl"], f"{resource['resourceType']}/{resource['id']}")
    bundle: Bundle = move_dates(json.loads(text), now - timedelta(days=1))
    resources = [entry["resource"] for entry in bundle["entry"]]
    (patient,) = (each for each in resources if each["resourceType"] == "Patient")
    return Chart(path.name.partition("_")[0], patient, [each for each in resources if _is_prefetched(each)])


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
            "encounterId": "stay",
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
        },
        "prefetch": prefetch,
    }
    return _json(request)


def _json(value: Any) -> bytes:
    """Compact, as EHRs send it."""
    return json.dumps(value, separators=(",", ":")).encode()


def resource_counts(body: bytes) -> Iterator[tuple[str, int]]:
    """How many resources of each prefetch key a body holds."""
    for key, value in json.loads(body)["prefetch"].items():
        yield key, len(value["entry"]) if value["resourceType"] == "Bundle" else 1
