"""GET /cds-services against CDS Hooks 2.0.1; the numbers are those of HL7's requirement sheet."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from flask.testing import FlaskClient

from cds_service.knowledge import Knowledge
from tests.hooks.client import Service, client, encoded
from tests.hooks.conformance import decoded
from tests.scenarios.build import hook_request

CONTEXT = {"patientId", "encounterId", "userId"}
"""The fields of the context of order-select and order-sign that are strings (57) and may be tokens (59)."""
SEARCHES = {
    # 58: references, tokens by equality, dates, _count and _sort; per type, of the R4 search parameters.
    "Observation": {"patient", "code", "date"},
    "Condition": {"patient", "code", "clinical-status"},
    "AllergyIntolerance": {"patient"},
    "MedicationRequest": {"patient", "status"},
    "MedicationStatement": {"patient", "status"},
    "MedicationAdministration": {"patient", "status", "effective-time"},
    "Procedure": {"patient", "status", "date"},
    "ServiceRequest": {"patient", "status", "code"},
}
SORTS = {"date", "effective-time", "authored", "authoredon"}
_TOKEN = re.compile(r"\{\{(.*?)\}\}")


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge)


@pytest.fixture(scope="module")
def services(http: FlaskClient) -> list[dict[str, Any]]:
    answer = http.get("/cds-services")  # 4, 5
    assert answer.status_code == 200  # 13
    assert answer.content_type == "application/json"  # 1
    body = decoded(answer.data)
    assert set(body) == {"services"}  # 6
    assert isinstance(body["services"], list)
    return body["services"]


@pytest.fixture(scope="module")
def templates(services: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(key, template) for service in services for key, template in service["prefetch"].items()]


def test_every_service_is_described_by_strings_that_are_not_empty(services: list[dict[str, Any]]) -> None:
    for service in services:
        for field in (
            "hook",
            "description",
            "id",
            "title",
            "usageRequirements",
            "version",
            "hookVersion",
        ):  # 7-10, 12
            assert isinstance(service[field], str)
            assert service[field].strip()  # 3


def test_there_is_one_service_for_each_hook_under_its_stable_id(services: list[dict[str, Any]]) -> None:
    by_hook = {service["hook"]: service["id"] for service in services}
    assert by_hook == {
        "order-select": "ketamine-order-select",
        "order-sign": "ketamine-order-sign",
        "patient-view": "ketamine-patient-view",
    }
    assert len({service["id"] for service in services}) == len(services)


def test_every_service_answers_at_its_id(services: list[dict[str, Any]], service: Service) -> None:
    for described in services:  # 16
        patient = {"running": {"rate": "1.2 mg/kg/h", "order": "o1"}, "symptoms": ["headache"]}
        request = hook_request({"hook": described["hook"], "order": {"rate": "1.2 mg/kg/h"}, "patient": patient})
        path = f"/cds-services/{described['id']}"
        answer = service.http.post(path, data=encoded(request), content_type="application/json")
        assert answer.status_code == 200
        assert decoded(answer.data)["cards"]


def test_the_version_is_that_of_the_protocol_and_the_hook_version_that_of_the_library(
    services: list[dict[str, Any]], knowledge: Knowledge
) -> None:
    for service in services:
        assert service["version"] == knowledge.protocol.version
        assert service["hookVersion"] == "1.0"


def test_the_usage_requirements_name_the_fhir_version(services: list[dict[str, Any]]) -> None:
    for service in services:
        assert "FHIR R4" in service["usageRequirements"]


def test_the_prefetch_is_what_the_service_would_search_for_itself(
    services: list[dict[str, Any]], knowledge: Knowledge
) -> None:
    for service in services:  # 11, 29, 36
        assert service["prefetch"] == {query.key: query.template for query in knowledge.queries}
        for key, template in service["prefetch"].items():
            assert isinstance(template, str)
            assert re.fullmatch(r"[A-Za-z]+", key)


def test_prefetch_tokens_name_only_strings_of_the_context(templates: list[tuple[str, str]]) -> None:
    for _, template in templates:
        tokens = _TOKEN.findall(template)
        assert tokens
        for token in tokens:  # 55-57, 59; hook library 4, 8, 12, 16, 77, 81, 85, 89, 93
            kind, _, name = token.partition(".")
            assert kind == "context"
            assert name in CONTEXT
        assert "{" not in _TOKEN.sub("", template)
        assert "}" not in _TOKEN.sub("", template)


def test_prefetch_templates_are_reads_or_searches_with_recommended_parameters_only(
    templates: list[tuple[str, str]],
) -> None:
    for _, template in templates:  # 58
        parts = urlsplit(template)
        assert not parts.scheme
        assert not parts.netloc
        if not parts.query:
            assert re.fullmatch(r"(Patient|Encounter)/\{\{context\.\w+\}\}", template)
            continue
        parameters = parse_qsl(parts.query, strict_parsing=True)
        names = [name for name, _ in parameters]
        assert len(set(names)) == len(names)
        assert set(names) - {"_count", "_sort"} <= SEARCHES[parts.path]
        values = dict(parameters)
        assert values["patient"] == "{{context.patientId}}"
        assert values["_count"].isdecimal()
        assert values.get("_sort", "-date").removeprefix("-") in SORTS


def test_every_search_stays_with_the_patient_in_context(templates: list[tuple[str, str]]) -> None:
    for key, template in templates:
        assert "{{context.patientId}}" in template or key == "encounter"


def test_no_element_of_the_answer_is_null_or_empty(services: list[dict[str, Any]]) -> None:
    for service in services:  # 3
        assert all(value not in (None, "", [], {}) for value in service.values())


def test_head_and_options_are_answered(http: FlaskClient) -> None:
    head = http.head("/cds-services")
    assert (head.status_code, head.data) == (200, b"")
    options = http.options("/cds-services")
    assert options.status_code == 200
    assert {"GET", "HEAD", "OPTIONS"} == {method.strip() for method in options.headers["Allow"].split(",")}


def test_discovery_is_the_same_each_time(http: FlaskClient) -> None:
    assert http.get("/cds-services").data == http.get("/cds-services").data
