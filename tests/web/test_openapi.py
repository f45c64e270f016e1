"""/openapi.json: valid, of every route, and true; and what schemathesis makes of it harms nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode
from schemathesis.schemas import BaseSchema

from cds_service.knowledge import Knowledge
from cds_service.web import openapi
from cds_service.web.bodies import JSON_TYPES
from tests.hooks.client import client, encoded
from tests.hooks.test_response import EXAMPLES
from tests.scenarios.build import hook_request

JSON = "application/json"
schemathesis.serializer.alias([kind for kind in JSON_TYPES if kind != JSON], JSON)
EXAMPLES_OF_EACH = 40
CHECKED = (
    # A faulty order is judged all the same, so what the schema calls invalid may be answered with cards, and what it
    # calls valid may be of another hook: the two checks that would expect otherwise are left out.
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance", "unsupported_method",
)  # fmt: skip


@pytest.fixture(scope="module")
def http(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge)


@pytest.fixture(scope="module")
def described(http: FlaskClient) -> dict[str, Any]:
    sent = http.get("/openapi.json")
    assert (sent.status_code, sent.mimetype) == (200, JSON)
    found: dict[str, Any] = sent.get_json()
    return found


@pytest.fixture(scope="module")
def schema(http: FlaskClient) -> BaseSchema:
    return schemathesis.openapi.from_wsgi("/openapi.json", http.application)


def _validator(described: dict[str, Any], name: str) -> Any:
    whole = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    return jsonschema_rs.Draft202012Validator(whole)


def test_the_description_is_valid_openapi(schema: BaseSchema, described: dict[str, Any]) -> None:
    """By schemathesis; every schema is one of JSON Schema 2020-12, and every reference leads to one."""
    schema.validate()
    for name, each in described["components"]["schemas"].items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **each})
        assert _validator(described, name) is not None
    references = [value for key, value in _members(described) if key == "$ref"]
    assert references
    for reference in references:
        assert reference.rpartition("/")[2] in described["components"]["schemas"]


def _members(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [*value.items(), *(found for item in value.values() for found in _members(item))]
    return [found for item in value for found in _members(item)] if isinstance(value, list) else []


def test_every_route_of_the_application_is_described_with_its_methods(
    http: FlaskClient, described: dict[str, Any]
) -> None:
    routes = {
        (openapi.path_of(rule), method.lower())
        for rule in http.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint != "static"
    }
    assert {(path, method) for path, of in described["paths"].items() for method in of} == routes


def test_every_operation_has_an_id_of_its_own_and_says_what_it_is_for(described: dict[str, Any]) -> None:
    operations = [operation for of in described["paths"].values() for operation in of.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    assert all(operation["summary"] for operation in operations)


@pytest.mark.parametrize(
    ("path", "name"), [("/cds-services", "Discovery"), ("/healthz", "Health"), ("/readyz", "Health")]
)
def test_what_is_answered_is_what_is_described(
    path: str, name: str, http: FlaskClient, described: dict[str, Any]
) -> None:
    validator = _validator(described, name)
    answer = http.get(path).get_json()
    validator.validate(answer)
    assert not validator.is_valid({})
    if name == "Discovery":
        known = {key for service in answer["services"] for key in service}
        assert known == set(described["components"]["schemas"]["DescribedService"]["properties"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_and_its_answer_are_as_described(path: Path, http: FlaskClient, described: dict[str, Any]) -> None:
    request = json.loads(path.read_bytes())
    _validator(described, "HookCall").validate(request)
    sent = http.post(f"/cds-services/ketamine-{request['hook']}", json=request)
    assert sent.status_code == 200
    _validator(described, "Response").validate(sent.get_json())
    assert not _validator(described, "Response").is_valid({"cards": [{"summary": 1}]})


def test_an_error_is_as_described(http: FlaskClient, described: dict[str, Any]) -> None:
    for method, path in (("POST", "/cds-services/none"), ("GET", "/nothing"), ("PUT", "/cds-services")):
        _validator(described, "OperationOutcome").validate(http.open(path, method=method).get_json())


def test_every_media_type_that_is_described_is_read(http: FlaskClient, described: dict[str, Any]) -> None:
    body = encoded(hook_request({"order": {"rate": "0.2 mg/kg/h"}}))
    kinds = described["paths"]["/cds-services/{service_id}"]["post"]["requestBody"]["content"]
    assert {JSON, "application/fhir+json", "application/json+fhir", "text/json"} <= set(kinds)
    for kind in kinds:
        assert http.post("/cds-services/ketamine-order-sign", data=body, content_type=kind).status_code == 200, kind


def test_the_shapes_of_parts_of_a_card_are_those_of_the_code(described: dict[str, Any], http: FlaskClient) -> None:
    answer = http.post(
        "/cds-services/ketamine-order-sign",
        data=encoded(hook_request({"order": {"rate": "1.2 mg/kg/h"}})),
        content_type=JSON,
    )
    known = set(described["components"]["schemas"]["Card"]["properties"])
    assert all(set(card) <= known for card in answer.get_json()["cards"])
    assert {"uuid", "summary", "indicator", "source"} <= set(described["components"]["schemas"]["Card"]["required"])


def test_the_description_names_the_public_address(knowledge: Knowledge) -> None:
    app = client(knowledge).application
    (server,) = openapi.description(app, "https://cds.example.org/ketamine")["servers"]
    assert server == {"url": "https://cds.example.org/ketamine"}
    assert msgspec.json.encode(openapi.description(app, "https://a.org"))


# schemathesis ------------------------------------------------------------------------------------------------------


def test_whatever_schemathesis_makes_of_the_description_is_answered_as_described(schema: BaseSchema) -> None:
    checks = [CHECKS.get_one(name) for name in CHECKED]
    tried = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        # Only a body can be of another form than described.
        for mode in GenerationMode if len(operation.body) else (GenerationMode.POSITIVE,):

            @settings(
                max_examples=EXAMPLES_OF_EACH, deadline=None, derandomize=True, database=None,
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(operation.as_strategy(generation_mode=mode))
            def answered_as_described(case: schemathesis.Case) -> None:
                case.call_and_validate(checks=checks)
                tried.add(case.operation.label)

            answered_as_described()
    assert len(tried) == len(list(schema.get_all_operations()))
