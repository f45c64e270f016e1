"""The public sandbox patients as a CDS client would send them: dates moved to now, prefetch filled from the chart."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cds_service.advise import advise, explain
from cds_service.fhir.queries import Query
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.lazy import cached_property
from cds_service.protocol.model import Tier
from cds_service.rules.outcome import Outcome
from tests import charts
from tests.hooks.client import encoded
from tests.scenarios.build import NOW, medication_request
from tests.servers.hapi import Bundle, move_dates

Resource = dict[str, Any]

ORDER = {"rate": "0.2 mg/kg/h", "for": "24 h", "indication": "pain"}
"""In the words of the scenarios: an infusion that is right for a healthy adult."""


@dataclass(frozen=True)
class SandboxPatient:
    """One chart. `label` is the name of its file without the identifier."""

    label: str
    resources: tuple[Resource, ...]

    @cached_property
    def by_reference(self) -> Mapping[str, Resource]:
        return {f"{each['resourceType']}/{each['id']}": each for each in self.resources}

    @property
    def id(self) -> str:
        return next(str(each["id"]) for each in self.resources if each["resourceType"] == "Patient")

    def of(self, kind: str) -> list[Resource]:
        return [each for each in self.resources if each["resourceType"] == kind]

    def newest_encounter(self) -> Resource:
        return max(self.of("Encounter"), key=lambda each: str(each["period"]["start"]))


def patients() -> list[SandboxPatient]:
    """All of tests/sandbox_patients, by label."""
    return [from_transaction(charts.label(file), json.loads(charts.read(file))) for file in charts.files()]


def from_transaction(label: str, bundle: Bundle) -> SandboxPatient:
    """The resources of a transaction with an id each and references to them, dates moved to now."""
    moved = move_dates(bundle, NOW)
    ids = {e["fullUrl"]: e["fullUrl"].rpartition(":")[2].rpartition("/")[2] for e in moved["entry"]}
    places = {url: f"{e['resource']['resourceType']}/{ids[url]}" for e in moved["entry"] for url in [e["fullUrl"]]}

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [resolved(inner) for inner in value]
        return places.get(value, value) if isinstance(value, str) else value

    resources = [{**resolved(entry["resource"]), "id": ids[entry["fullUrl"]]} for entry in moved["entry"]]
    return SandboxPatient(label, tuple(resources))


def request(patient: SandboxPatient, queries: Iterable[Query], order: Mapping[str, Any] = ORDER) -> dict[str, Any]:
    """An order-sign request for a draft in the words of the scenarios, with all that the queries would find."""
    draft = medication_request({**order, "subject": f"Patient/{patient.id}"}, 1)
    encounter = patient.newest_encounter()
    return {
        "hook": "order-sign",
        "hookInstance": "0f0f0f0f-1111-4222-8333-444444444444",
        "context": {
            "userId": "Practitioner/pr1",
            "patientId": patient.id,
            "encounterId": encounter["id"],
            "draftOrders": {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]},
        },
        "prefetch": {query.key: _found(query, patient, encounter) for query in queries},
    }


def _found(query: Query, patient: SandboxPatient, encounter: Resource) -> Resource:
    if query.type == "Encounter":
        return encounter
    found = [each for each in patient.of(query.type) if not query.codes or _codes(each) & query.codes]
    if query.type == "Patient":
        return found[0]
    if query.type in ("MedicationRequest", "ServiceRequest", "MedicationStatement"):
        found = [each for each in found if each.get("status") == "active"]
    return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}


def _codes(resource: Resource) -> set[str]:
    parts = [resource, *resource.get("component", ())]
    return {str(coding.get("code")) for part in parts for coding in part.get("code", {}).get("coding", ())}


def outcomes(sent: Mapping[str, Any], knowledge: Knowledge) -> list[Outcome]:
    """How every rule ended for the one order of a request."""
    judged, _ = explain(parse(encoded(sent), "order-sign"), True, knowledge, NoSource(), NOW)
    return [outcome for order in judged for outcome in order.outcomes]


def cards(sent: Mapping[str, Any], knowledge: Knowledge) -> list[Any]:
    """The cards of a request."""
    return advise(parse(encoded(sent), "order-sign"), True, knowledge, NoSource(), NOW).cards


def fired(patient: SandboxPatient, knowledge: Knowledge) -> list[Outcome]:
    """What the order that is right for a healthy adult fires in this patient."""
    return [each for each in outcomes(request(patient, knowledge.queries), knowledge) if each.status == "fired"]


def tier_of(outcome: Outcome) -> Tier:
    return outcome.rule.tier(outcome.tier or "")


def ordered() -> str:
    """The order, for people."""
    return f"ketamine {ORDER['rate']} by vein for {ORDER['for']}, for acute {ORDER['indication']}"
