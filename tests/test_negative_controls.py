"""Orders that are not ketamine: no card, and nothing is asked of anyone."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from flask.testing import FlaskClient

from cds_service.knowledge import Knowledge
from cds_service.protocol.parsing import parse_yaml
from cds_service.settings import Settings
from tests.hooks.client import client, encoded
from tests.scenarios.build import RXNORM, concept, hook_request
from tests.servers.local import LocalServer, Reply, local_server

FILE = Path(__file__).with_name("negative_controls.yaml")
CONTROLS: list[dict[str, Any]] = parse_yaml(FILE.read_text("utf-8"), FILE.name)
HOOKS = ("order-select", "order-sign")
NO_CARD = b'{"cards":[]}'

MEDICINES = [control for control in CONTROLS if "resource" not in control]

each = pytest.mark.parametrize("control", [pytest.param(control, id=control["name"]) for control in CONTROLS])


@pytest.fixture(scope="module")
def ehr() -> Iterator[LocalServer]:
    """A FHIR server on the allowlist, which counts what it is asked."""
    with local_server(Reply(b'{"resourceType": "Bundle", "type": "searchset"}')) as server:
        yield server


@pytest.fixture(scope="module")
def http(knowledge: Knowledge, ehr: LocalServer) -> FlaskClient:
    return client(knowledge, Settings(fhir_servers=(ehr.base,), fhir_deadline_ms=5_000))


def _order(control: dict[str, Any]) -> dict[str, Any]:
    """The draft in the words of the scenarios, without a reason unless the control gives one."""
    if "rxnorm" in control:
        code, _, display = control["rxnorm"].partition(" ")
        drug = concept(RXNORM, code, display)
    else:
        drug = {"text": control["drug"]}
    return {"drug": drug, "indication": "none", "raw": control.get("raw", {}), **control["dosage"]}


def _request(control: dict[str, Any], hook: str) -> dict[str, Any]:
    order = {} if "resource" in control else _order(control)
    request = hook_request({"hook": hook, "order": order, "patient": control.get("patient", {})})
    if "resource" in control:
        draft = {"id": "o1", **control["resource"]}
        request["context"]["draftOrders"]["entry"] = [{"resource": draft}]
        if hook == "order-select":
            request["context"]["selections"] = [f"{draft['resourceType']}/o1"]
    return request


def _drafts(request: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in request["context"]["draftOrders"]["entry"]]


def _answer(http: FlaskClient, request: dict[str, Any]) -> bytes:
    answer = http.post(
        f"/cds-services/ketamine-{request['hook']}", data=encoded(request), content_type="application/json"
    )
    assert answer.status_code == 200
    return answer.data


@each
@pytest.mark.parametrize("hook", HOOKS)
def test_an_order_that_is_no_ketamine_gets_no_card_and_fetches_nothing(
    control: dict[str, Any], hook: str, http: FlaskClient, ehr: LocalServer
) -> None:
    request = _request(control, hook)
    del request["prefetch"]
    token = {"access_token": "a-token", "token_type": "Bearer", "expires_in": 300, "scope": "patient/*.read"}
    assert _answer(http, request | {"fhirServer": ehr.base, "fhirAuthorization": token}) == NO_CARD
    assert ehr.received == []


@each
def test_nor_does_it_with_the_patients_data_beside_it(control: dict[str, Any], http: FlaskClient) -> None:
    assert _answer(http, _request(control, "order-sign")) == NO_CARD


@pytest.mark.parametrize("control", [pytest.param(control, id=control["name"]) for control in MEDICINES])
def test_the_same_order_of_ketamine_would_get_a_card(control: dict[str, Any], http: FlaskClient) -> None:
    """The control is a control: what keeps it silent is the drug, and not a fault of the request."""
    order = _order(control) | {"drug": "ketamine"}
    assert _answer(http, hook_request({"order": order, "patient": control.get("patient", {})})) != NO_CARD


def test_there_are_forty_and_each_is_an_order_that_an_ehr_could_send() -> None:
    assert len(CONTROLS) == 40
    assert len({control["name"] for control in CONTROLS}) == 40
    for control in CONTROLS:
        for draft in _drafts(_request(control, "order-sign")):
            get_fhir_model_class(draft["resourceType"]).model_validate(draft)


def test_their_codes_are_those_of_the_list_of_products() -> None:
    lines = resources.files("cds_service.terminology").joinpath("products.csv").read_text("utf-8").splitlines()
    known = {row["code"]: row for row in csv.DictReader(lines) if row["system"] == "rxnorm"}
    ingredients = {ingredient for row in known.values() for ingredient in row["ingredients"].split()}
    for control in CONTROLS:
        if "rxnorm" in control:
            code, _, display = control["rxnorm"].partition(" ")
            assert code in ingredients or display.lower() in known[code]["display"].lower(), control["name"]
