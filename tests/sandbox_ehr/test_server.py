"""The sandbox's FHIR server: read, search with paging, update, and nothing else; off unless it is turned on."""

from __future__ import annotations

from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from flask.testing import FlaskClient

from cds_service.knowledge import Knowledge
from cds_service.sandbox import PATH, charts
from cds_service.sandbox.written import MOST
from cds_service.settings import Settings
from cds_service.web.app import create_app
from cds_service.web.openapi import description
from tests.hooks.client import client, encoded
from tests.hooks.conformance import decoded
from tests.scenarios.build import NOW, medication_request

ON = Settings(sandbox="loopback")
BASE = f"{ON.base_url}{PATH}"


@pytest.fixture
def ehr(knowledge: Knowledge) -> FlaskClient:
    return client(knowledge, ON)


def _got(ehr: FlaskClient, url: str, status: int = 200) -> Any:
    answer = ehr.get(f"{PATH}/{url}")
    assert answer.status_code == status, answer.text
    assert answer.mimetype == "application/fhir+json"
    return decoded(answer.data)


def _order(name: str = "order-1", **changes: Any) -> dict[str, Any]:
    return medication_request({"rate": "0.4 mg/kg/h", "id": name, "subject": "Patient/standard"}, 1) | changes


def _put(ehr: FlaskClient, order: Any, name: str = "order-1", kind: str = "MedicationRequest") -> Any:
    body = order if isinstance(order, bytes) else encoded(order)
    return ehr.put(f"{PATH}/{kind}/{name}", data=body, content_type="application/fhir+json")


# On and off ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(sandbox="loopback", host="0.0.0.0", auth="off"),
        Settings(sandbox="loopback", public_url="https://cds.example.org", auth="off"),
    ],
)
def test_it_is_off_by_default_and_loopback_is_off_where_others_can_call(
    settings: Settings, knowledge: Knowledge
) -> None:
    assert client(knowledge, settings).get(f"{PATH}/metadata").status_code == 404


def test_it_can_be_turned_on_for_others_by_name(knowledge: Knowledge) -> None:
    elsewhere = Settings(sandbox="on", host="0.0.0.0", auth="off")
    assert client(knowledge, elsewhere).get(f"{PATH}/metadata").status_code == 200


def test_the_service_asks_it_only_where_it_is_on(knowledge: Knowledge) -> None:
    def told(settings: Settings) -> str:
        request = {
            "hook": "order-sign",
            "hookInstance": "1",
            "context": {
                "patientId": "standard",
                "userId": "Practitioner/1",
                "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": _order()}]},
            },
            "fhirServer": BASE,
        }
        answer = client(knowledge, settings).post("/cds-services/ketamine-order-sign", json=request)
        return str(answer.text)

    assert "not on the allowlist" in told(Settings())
    assert "not on the allowlist" not in told(ON)


def test_its_routes_stand_in_the_description_of_the_service_where_it_is_on(knowledge: Knowledge) -> None:
    paths = description(create_app(ON, knowledge, clock=lambda: NOW), ON.base_url)["paths"]
    assert {f"{PATH}/metadata", f"{PATH}/{{kind}}"} <= set(paths)


# Read and search ----------------------------------------------------------------------------------------------------


def test_it_says_what_it_can_do_in_a_valid_statement(ehr: FlaskClient) -> None:
    statement = _got(ehr, "metadata")
    CapabilityStatement.model_validate(statement)
    by_type = {each["type"]: each for each in statement["rest"][0]["resource"]}
    assert set(by_type) == {"Patient", *charts.WHOSE}
    can_update = [name for name, each in by_type.items() if {"code": "update"} in each["interaction"]]
    assert can_update == ["MedicationRequest"]


@pytest.mark.parametrize("patient", charts.patients(), ids=lambda each: each.id)
def test_it_answers_every_query_of_the_service(
    patient: charts.Patient, ehr: FlaskClient, knowledge: Knowledge
) -> None:
    for query in knowledge.queries:
        context = {"patientId": patient.id, "encounterId": f"{patient.id}-encounter-1"}
        found = _got(ehr, str(query.url(context)))
        if not query.is_search:
            assert found["resourceType"] == query.type
            continue
        Bundle.model_validate(found)
        entries = [entry["resource"] for entry in found.get("entry", ())]
        assert len(entries) == found["total"]
        assert all(f"Patient/{patient.id}" in str(each) for each in entries)
        if query.codes:
            coded = [{coding["code"] for coding in each["code"]["coding"]} for each in entries]
            assert all(codes & query.codes for codes in coded)


def test_the_newest_value_stands_first(ehr: FlaskClient) -> None:
    found = _got(ehr, "Observation?patient=uncontrolled-pressure&code=85354-9&_sort=-date")
    assert [e["resource"]["component"][0]["valueQuantity"]["value"] for e in found["entry"]] == [192, 158]
    oldest = _got(ehr, "Observation?patient=uncontrolled-pressure&code=http://loinc.org|85354-9&_sort=date&_count=1")
    assert oldest["entry"][0]["resource"]["component"][0]["valueQuantity"]["value"] == 158


def test_pages_lead_to_each_other_and_hold_everything_once(ehr: FlaskClient) -> None:
    url: str | None = "Observation?patient=liver-failure&_count=2"
    whole = _got(ehr, "Observation?patient=liver-failure")
    found: list[str] = []
    while url:
        page = _got(ehr, url)
        assert len(page["entry"]) <= 2
        found += [entry["resource"]["id"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        url = following[0].removeprefix(f"{BASE}/") if following else None
        assert not following or following[0].startswith(BASE)
    assert found == [entry["resource"]["id"] for entry in whole["entry"]]
    assert len(found) == len(set(found)) > 2


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("Patient/nobody", 404),
        ("Practitioner/1", 404),
        ("Practitioner?name=x", 404),
        ("Observation?patient=standard&value-quantity=5", 400),
        ("Observation?patient:Patient=standard", 400),
        ("Observation?date=gt2026", 400),
        ("MedicationRequest?_sort=-date", 400),
        ("Observation?_count=-1", 400),
        ("Observation?_count=1e3", 400),
        ("Observation?_offset=99999999999999999999", 400),
        ("Observation?_format=xml", 406),
        ("Observation?code=" + "1," * 2000, 400),
    ],
)
def test_what_it_does_not_know_is_refused_rather_than_passed_over(url: str, status: int, ehr: FlaskClient) -> None:
    outcome = _got(ehr, url, status)
    assert outcome["resourceType"] == "OperationOutcome"


@pytest.mark.parametrize("method", ["post", "delete", "patch"])
def test_nothing_else_can_be_done(method: str, ehr: FlaskClient) -> None:
    for path in ("MedicationRequest", "MedicationRequest/standard-medicationrequest-1", "Patient/standard"):
        assert getattr(ehr, method)(f"{PATH}/{path}").status_code in (404, 405)


# Update -------------------------------------------------------------------------------------------------------------


def test_an_order_that_is_written_is_read_and_found(ehr: FlaskClient) -> None:
    made = _put(ehr, _order(status="active"))
    assert (made.status_code, made.headers["Location"]) == (201, f"{BASE}/MedicationRequest/order-1/_history/2")
    again = _put(ehr, _order(status="active", priority="stat"))
    assert again.status_code == 200
    read = _got(ehr, "MedicationRequest/order-1")
    assert (read["priority"], read["meta"]["versionId"]) == ("stat", "3")
    found = _got(ehr, "MedicationRequest?patient=standard&status=active")
    assert "order-1" in [entry["resource"]["id"] for entry in found["entry"]]
    assert read["dosageInstruction"] == decoded(encoded(_order()))["dosageInstruction"]


def test_an_order_of_a_chart_can_be_changed(ehr: FlaskClient) -> None:
    order = _got(ehr, "MedicationRequest/running-infusion-order")
    assert _put(ehr, order | {"status": "stopped"}, "running-infusion-order").status_code == 200
    found = _got(ehr, "MedicationRequest?patient=running-infusion&status=active")
    assert "running-infusion-order" not in [entry["resource"]["id"] for entry in found["entry"]]


@pytest.mark.parametrize(
    ("order", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"resourceType":"Patient","id":"order-1"}', 400),
        (_order("another"), 400),
        (_order(subject={"reference": "Patient/nobody"}), 422),
        (_order(subject={"display": "somebody"}), 422),
        (_order(subject=None), 422),
        (_order(status=None), 422),
        (_order(status="under way"), 422),
        (_order(dosageInstruction=[{"timing": {"repeat": {"periodUnit": "weeks"}}}]), 422),
        (_order(dosageInstruction={"text": "an object where a list belongs"}), 422),
        (_order(invented=1), 422),
        (_order(note=[{"text": "x" * 70_000}]), 413),
        (b'{"a":' * 3_000 + b"1" + b"}" * 3_000, 400),
    ],
)
def test_what_is_no_valid_order_of_a_patient_is_refused(order: Any, status: int, ehr: FlaskClient) -> None:
    answer = _put(ehr, order)
    assert answer.status_code == status
    assert decoded(answer.data)["resourceType"] == "OperationOutcome"
    _got(ehr, "MedicationRequest/order-1", 404)


def test_a_refusal_repeats_nothing_of_the_order(ehr: FlaskClient) -> None:
    answer = _put(ehr, _order(CANARY={"CANARY": 1}, status="CANARY", subject={"reference": "Patient/CANARY"}))
    assert answer.status_code == 422
    assert "CANARY" not in answer.text


@pytest.mark.parametrize("name", ["..", "%2e%2e", "a%2fb", "x" * 65, "a b", "é"])
def test_an_id_never_becomes_another_file(name: str, ehr: FlaskClient) -> None:
    assert _put(ehr, _order(name), name).status_code in (308, 400, 404, 405, 422)


def test_other_types_are_read_only(ehr: FlaskClient) -> None:
    patient = _got(ehr, "Patient/standard")
    assert _put(ehr, patient, "standard", "Patient").status_code == 405


def test_it_keeps_no_more_than_its_bound(ehr: FlaskClient) -> None:
    for number in range(MOST):
        assert _put(ehr, _order(f"o{number}"), f"o{number}").status_code == 201
    assert _put(ehr, _order("one-more"), "one-more").status_code == 422
    assert _put(ehr, _order("o1"), "o1").status_code == 200
