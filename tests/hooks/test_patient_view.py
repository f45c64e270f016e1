"""ketamine-patient-view over HTTP: cards for what runs, nothing for everybody else, 412 where nothing is known."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.hooks.client import Service, card, encoded, topics, updates
from tests.hooks.conformance import faults
from tests.scenarios.build import hook_request


def _request(**patient: Any) -> dict[str, Any]:
    return hook_request({"hook": "patient-view", "patient": patient})


def test_harm_by_a_running_infusion_is_a_card_with_a_changed_order(service: Service) -> None:
    answer = service.call(_request(running="0.4 mg/kg/h", symptoms=["dizziness"]))
    assert faults(answer) == []
    assert topics(answer) == ["ae-headache-dizziness"]
    (order,) = updates(answer)
    assert order["id"] == "running"
    assert card(answer, "ae-headache-dizziness")["indicator"] == "warning"


def test_an_order_on_hold_is_valid_r4(service: Service) -> None:
    pressures = ["190/95, 20 minutes ago", "185/90, 10 minutes ago"]
    answer = service.call(_request(running="0.4 mg/kg/h", **{"blood pressure": pressures}))
    assert faults(answer) == []
    (order,) = updates(answer)
    assert order["status"] == "on-hold"


def test_a_patient_without_ketamine_gets_an_empty_list(service: Service) -> None:
    assert service.call(_request(symptoms=["headache"], missing=["vitalSigns"])) == {"cards": []}


def test_where_nothing_is_known_of_what_runs_the_answer_is_412(service: Service) -> None:
    status, answer = service.post(encoded(_request(missing=["administrations"])), "patient-view")
    assert status == 412
    assert answer["resourceType"] == "OperationOutcome"
    (issue,) = answer["issue"]
    assert (issue["severity"], issue["code"]) == ("error", "required")
    assert issue["diagnostics"].startswith("what the patient is given is not known: ")


def test_a_stop_and_its_step_down_are_valid_r4(service: Service) -> None:
    running = {"rate": "0.2 mg/kg/h", "order": "o1", "since": "2 days ago"}
    order = {"rate": "0.2 mg/kg/h", "status": "stopped", "raw": {"statusReason": {"text": "no longer needed"}}}
    answer = service.call(hook_request({"hook": "order-sign", "order": order, "patient": {"running": running}}))
    assert faults(answer) == []
    (changed,) = updates(answer)
    assert changed["status"] == "active"
    assert "statusReason" not in changed
    (dosage,) = changed["dosageInstruction"]
    assert dosage["doseAndRate"][0]["rateQuantity"]["value"] == Decimal("0.1")
    assert dosage["timing"]["repeat"]["boundsPeriod"] == {
        "start": "2026-11-22T10:00:00+00:00",
        "end": "2026-11-22T14:00:00+00:00",
    }


def test_a_midazolam_draft_is_changed_as_a_whole_and_in_mg(service: Service) -> None:
    midazolam = {"drug": "6960 Midazolam", "dose": "0.05 mg/kg", "indication": "none", "id": "mid"}
    answer = service.call(hook_request({"hook": "order-sign", "orders": [{"rate": "0.2 mg/kg/h"}, midazolam]}))
    assert faults(answer) == []
    (changed,) = updates(answer)
    assert changed["id"] == "mid"
    dose = changed["dosageInstruction"][0]["doseAndRate"][0]["doseQuantity"]
    assert (dose["value"], dose["code"]) == (2, "mg")
