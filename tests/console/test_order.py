"""Order entry without a browser: through the service's own routes, with whatever a person or an attacker sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from cds_service.cli import main
from cds_service.console.app import create_console
from cds_service.console.ehr import signer
from cds_service.console.order import blocks
from cds_service.knowledge import Knowledge
from cds_service.sandbox import charts
from cds_service.sandbox.caller import Service
from cds_service.settings import SettingError, Settings
from tests.console.served import Served, served
from tests.servers.ports import unused_port

CANARY = "<img src=x onerror=alert(1)>\"'{{7*7}}"
ISSUER = "https://console.example.org"
FIELDS = {"product": "ketamine", "route": "iv", "reason": "pain", "duration": "24 h"}


@pytest.fixture(scope="module")
def running(knowledge: Knowledge) -> Iterator[Served]:
    with served(knowledge) as started:
        yield started


@pytest.fixture
def http(running: Served) -> FlaskClient:
    return running.app.test_client()


def _post(http: FlaskClient, path: str = "/order", **fields: Any) -> str:
    page = http.get("/").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    data = {"csrf_token": token[1], "patient": "standard", "order_id": "o1", **FIELDS, **fields}
    answer = http.post(path, data=data, headers={"HX-Request": "true"})
    assert answer.status_code == 200
    return answer.text


def _request(**patient: Any) -> dict[str, Any]:
    """A whole hook request, with a patient of its own."""
    order = {
        "resourceType": "MedicationRequest", "id": "o9", "status": "draft", "intent": "order",
        "medicationCodeableConcept": {"text": f"ketamine {CANARY}"}, "subject": {"reference": "Patient/p9"},
        "dosageInstruction": [{"doseAndRate": [{"rateQuantity": {"value": 5, "unit": "mg/kg/h"}}]}],
    }  # fmt: skip
    weight = {
        "resourceType": "Observation", "id": "w9", "status": "final", "subject": {"reference": "Patient/p9"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "29463-7"}]},
        "effectiveDateTime": "2026-11-01", "valueQuantity": {"value": 70, "unit": "kg"},
    }  # fmt: skip
    problem = {
        "resourceType": "Condition", "id": "c9", "subject": {"reference": "Patient/p9"}, "code": {"text": CANARY},
    }  # fmt: skip
    named = {"resourceType": "Patient", "id": "p9", "name": [{"family": CANARY}], **patient}
    entries = {"bodySize": [weight], "conditions": [problem]}
    return {
        "hook": "order-sign",
        "hookInstance": "5a1d3c9e-0000-4000-8000-000000000001",
        "context": {
            "userId": "Practitioner/1",
            "patientId": "p9",
            "draftOrders": {"resourceType": "Bundle", "entry": [{"resource": order}]},
        },
        "prefetch": {"patient": named}
        | {
            key: {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": each} for each in found]}
            for key, found in entries.items()
        },
    }


def test_every_patient_of_the_sandbox_has_a_banner_and_an_answer(http: FlaskClient) -> None:
    for patient in charts.patients():
        page = http.get(f"/?patient={patient.id}&product=ketamine&route=iv&rate=0.2 mg/kg/h")
        assert page.status_code == 200
        assert f"<strong>{patient.name}</strong>" in page.text
        assert 'id="answer"' in page.text
        assert 'class="problem"' not in page.text


def test_a_page_works_without_a_script(http: FlaskClient) -> None:
    token = re.search(r'name="csrf_token" value="([^"]+)"', http.get("/").text)
    assert token is not None
    page = http.post("/order", data={"csrf_token": token[1], "patient": "standard", **FIELDS, "rate": "5 mg/kg/h"})
    assert page.text.startswith("<!doctype html>")
    assert "above the ceiling" in page.text


def test_markup_of_a_chart_or_an_order_is_shown_as_text(http: FlaskClient) -> None:
    shown = _post(http, written=json.dumps(_request()))
    assert "&lt;img src=x" in shown
    assert "<img src=x" not in shown
    assert "{{7*7}}" in shown
    whole = http.get("/", query_string={"rate": CANARY, "patient": CANARY, "written": json.dumps(_request())}).text
    assert "<img src=x" not in whole
    assert whole.count("&lt;img src=x") >= 3  # name, problem, and what was pasted


@pytest.mark.parametrize("name", ["rate", "bolus", "duration", "also", "order_id", "label", "reason", "product"])
def test_markup_in_any_field_is_shown_as_text(http: FlaskClient, name: str) -> None:
    for path in ("/order", "/order/accept", "/order/override"):
        shown = _post(http, path, **{"rate": "0.2 mg/kg/h", name: CANARY})
        assert "<img src=x" not in shown


def test_what_a_hook_request_brings_is_not_put_on_the_patient_of_the_page(http: FlaskClient) -> None:
    shown = _post(http, written=json.dumps(_request()))
    assert "above the ceiling" in shown
    assert "Maja" not in shown
    facts = shown[shown.index('<dl id="facts"') :]  # the banner in the page is replaced as well
    assert 'hx-swap-oob="outerHTML"' in facts[: facts.index(">")]
    assert "not the one chosen" in facts
    assert "not the one chosen" not in _post(http, rate="0.2 mg/kg/h")


def test_another_drug_is_not_called_checked(http: FlaskClient) -> None:
    shown = _post(http, product="morphine", rate="2 mg/h")
    assert "Not checked" in shown
    assert "speaks against" not in shown
    assert "speaks against this order" in _post(http, rate="0.2 mg/kg/h")


def test_what_was_not_sent_is_not_shown_as_absent(http: FlaskClient) -> None:
    request = _request()
    del request["prefetch"]["bodySize"], request["prefetch"]["conditions"]
    facts = _post(http, written=json.dumps(request)).partition('<dl id="facts"')[2].partition("</dl>")[0]
    assert facts.count("Not sent") == 4  # weight, allergies, problems, pressure
    for absent in ("None known", "None on the list", "Not recorded", "Nobody has asked"):
        assert absent not in facts


def test_the_chart_stays_in_sight_while_json_is_written(http: FlaskClient) -> None:
    shown = _post(http, written="{")
    assert "not readable as JSON" in shown
    assert "Maja Lindqvist" in shown


@pytest.mark.parametrize(
    "written",
    ["{", "[]", "7", '"x"', '{"resourceType": 7}', '{"hook": 7, "context": {}}', '{"hook": "x", "context": {}}',
     '{"hook": "order-sign", "context": {"draftOrders": 7}, "prefetch": 9}', "[" * 5_000, "\x00",
     '{"resourceType": "Bundle", "entry": [7, {"resource": 8}]}',
     '{"resourceType": "MedicationRequest", "dosageInstruction": [[[]]]}'],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/order", "/order/accept", "/order/override"])
def test_whatever_is_pasted_is_answered(http: FlaskClient, written: str, path: str) -> None:
    assert 'id="answer"' in _post(http, path, written=written, actions='[{"type": "delete", "resourceId": "x"}]')


@pytest.mark.parametrize("actions", ["", "7", "[7]", '[{"type": "update", "resource": 7}]', '[{"type": "create"}]'])
def test_actions_that_are_none_change_nothing(http: FlaskClient, actions: str) -> None:
    assert 'value="0.2 mg/kg/h"' in _post(http, "/order/accept", rate="0.2 mg/kg/h", actions=actions)


def test_an_order_that_is_made_by_an_offer_stands_beside_the_others(http: FlaskClient) -> None:
    made = {"resourceType": "ServiceRequest", "code": {"text": "Continuous cardiac monitoring"}}
    shown = _post(
        http, "/order/accept", rate="0.2 mg/kg/h", actions=json.dumps([{"type": "create", "resource": made}])
    )
    assert "Continuous cardiac monitoring</span>" in shown
    assert 'value="0.2 mg/kg/h"' in shown


def test_an_order_that_is_removed_leaves_an_empty_form(http: FlaskClient) -> None:
    shown = _post(http, "/order/accept", rate="5 mg/kg/h", actions='[{"type": "delete", "resourceId": "o1"}]')
    assert 'name="rate" value=""' in shown
    assert 'class="card' not in shown


def test_a_card_is_overridden_with_the_reason_that_was_chosen(
    http: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(Service, "tell", lambda self, service, entry: told.append((service, entry)))
    given = {"card": "c1", "service": "ketamine-order-sign", "why": "emergency https://x.example/reasons"}
    summary = re.search(r'name="label" value="(Rate 5[^"]+)"', _post(http, rate="5 mg/kg/h"))
    assert summary is not None
    shown = _post(http, "/order/override", rate="5 mg/kg/h", label=summary[1], **given)
    reason = {"reason": {"code": "emergency", "system": "https://x.example/reasons"}}
    assert told == [("ketamine-order-sign", {"card": "c1", "outcome": "overridden", "overrideReason": reason})]
    assert 'class="card critical"' not in shown
    assert '<option value="pain" selected>' in shown
    assert 'class="card critical"' in _post(http, rate="6 mg/kg/h", overridden=json.dumps([summary[1]]))


def test_a_service_that_is_away_is_said_and_the_form_stays(knowledge: Knowledge) -> None:
    away = Settings(port=unused_port(), sandbox="loopback", store="off")
    page = create_console(away, knowledge).test_client().get("/?rate=1 mg/h")
    assert page.status_code == 200
    assert "could not be reached" in page.text
    assert 'name="rate" value="1 mg/h"' in page.text


def test_where_tokens_are_asked_for_it_signs_its_calls_as_a_client(
    knowledge: Knowledge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key is made as any client's is, and every call and feedback has a token of its own."""
    assert main(["keys", "new", "--into", str(tmp_path / "key")]) == 0
    entry = {"id": "console", "issuers": [ISSUER], "jwks_file": str(tmp_path / "key" / "jwks.json")}
    clients = tmp_path / "clients.yaml"
    clients.write_text(json.dumps({"clients": [entry]}))
    asked = {"auth": "required", "clients": str(clients), "state_dir": str(tmp_path)}
    signs = {"console_key_file": str(tmp_path / "key" / "private-key.json"), "console_key_issuer": ISSUER}
    with served(knowledge, **asked, **signs) as running:
        http = running.app.test_client()
        page = _post(http, rate="5 mg/kg/h")
        assert 'class="card critical"' in page
        assert "Authorization: Bearer $TOKEN" in page
        assert "private-key" not in page
        card = re.search(r'name="card" value="([^"]+)"', page)
        assert card is not None
        told = _post(http, "/order/override", card=card[1], service="ketamine-order-select", rate="5 mg/kg/h")
        assert "answered 503" in told  # it was let in, and has no store here
    with served(knowledge, **asked) as running:
        assert "answered 401" in _post(running.app.test_client(), rate="5 mg/kg/h")


def test_a_key_without_an_issuer_and_one_that_is_none_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("{}")
    (tmp_path / "key").chmod(0o600)
    for given in ({"console_key_issuer": ISSUER}, {"console_key_file": str(tmp_path / "key")}):
        with pytest.raises(SettingError, match="go together"):
            signer(Settings(**given))
    with pytest.raises(SettingError, match="not a private JWK"):
        signer(Settings(console_key_file=str(tmp_path / "key"), console_key_issuer=ISSUER))


def test_without_the_sandbox_the_page_says_so(knowledge: Knowledge) -> None:
    page = create_console(Settings(store="off"), knowledge).test_client().get("/")
    assert "The sandbox EHR is off" in page.text
    assert '<fieldset class="fields" hidden>' in page.text


def test_a_card_shows_its_detail_as_plain_text() -> None:
    assert blocks("One \\*line\\*\nand two\n\n- a\n- b &amp; c") == [["One *line*", "and two"], ["- a", "- b & c"]]
