"""The sandbox beside its service in a real server with two workers: what each patient's order gets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cds_service.cards.model import EXTENSION
from cds_service.sandbox import PATH, charts
from tests.hooks.client import encoded
from tests.scenarios.build import medication_request
from tests.store import test_served
from tests.store.test_served import JSON, served

SAID = {
    "standard": set(),
    "uncontrolled-pressure": {"bp-uncontrolled", "heart-failure"},
    "weight-in-pounds": set(),
    "weight-slip": {"weight-implausible"},
    "obese": {"obesity-dosing-weight"},
    "older-adult-sedated": {"ddi-cns-depressant"},
    "pregnant": {"pregnancy"},
    "psychosis": {"psychosis"},
    "running-infusion": {"duplicate-ketamine-esketamine"},
    "spravato-course": {"duplicate-ketamine-esketamine"},
    "child": {"age-paediatric"},
    "liver-failure": {"liver-severe"},
    "theophylline": {"ddi-theophylline"},
    "allergy-by-brand": {"allergy-ketamine"},
    "empty-chart": {"weight-missing", "bp-missing", "allergy-list-missing"},
}
"""Rules that a normal order must fire, whatever else it does; an empty set: no card at all."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_served, "PATIENCE", 300)  # seconds for the start on a machine that is busy
        yield from _serving(tmp_path_factory.mktemp("sandbox"))


def _serving(folder: Path) -> Iterator[str]:
    slow = {"KETAMINE_CDS_FHIR_DEADLINE_MS": "20000", "KETAMINE_CDS_ANSWER_DEADLINE_MS": "0"}
    with served("off", folder, KETAMINE_CDS_SANDBOX="loopback", **slow) as (_, url):
        yield url


def _signed(base: str, patient: str, hook: str = "order-sign", **order: Any) -> list[dict[str, Any]]:
    """The cards of an order without any prefetch: all is fetched from the sandbox."""
    written = order or {"rate": "0.2 mg/kg/h", "for": "24 h"}
    draft = medication_request({"id": "draft-1", "subject": f"Patient/{patient}"} | written, 1)
    context: dict[str, Any] = {
        "userId": "Practitioner/1",
        "patientId": patient,
        "encounterId": f"{patient}-encounter-1",
    }
    if hook == "order-sign":
        context["draftOrders"] = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": draft}]}
    request = {"hook": hook, "hookInstance": "1", "fhirServer": f"{base}{PATH}", "context": context}
    answer = requests.post(f"{base}/cds-services/ketamine-{hook}", encoded(request), headers=JSON, timeout=60)
    assert answer.status_code == 200
    cards: list[dict[str, Any]] = answer.json()["cards"]
    return cards


def _rules(cards: list[dict[str, Any]]) -> set[str]:
    return {rule["id"] for card in cards for rule in card["extension"][EXTENSION].get("rules", ())}


@pytest.mark.parametrize("patient", SAID)
def test_each_patient_is_there_for_a_rule(patient: str, base: str) -> None:
    cards = _signed(base, patient)
    assert SAID[patient] <= _rules(cards)
    assert "could not be reached" not in str(cards)
    if not SAID[patient]:
        assert cards == []


def test_every_patient_has_been_tried() -> None:
    assert set(SAID) | {"depression"} == {each.id for each in charts.patients()}


def test_the_standard_infusion_for_depression_gets_no_critical_card(base: str) -> None:
    order = {"indication": "depression", "dose": "0.5 mg/kg", "over": "40 min", "supply": "none"}
    cards = _signed(base, "depression", **order)
    assert "depression-dose-exceeds" not in _rules(cards)
    assert not any(card["indicator"] == "critical" for card in cards)


def test_the_chart_of_a_running_infusion_is_judged_when_it_is_opened(base: str) -> None:
    assert "ae-headache-dizziness" in _rules(_signed(base, "running-infusion", hook="patient-view"))


def test_all_workers_see_what_one_of_them_wrote(base: str) -> None:
    order = medication_request({"rate": "0.2 mg/kg/h", "id": "written", "subject": "Patient/child"}, 1)
    url = f"{base}{PATH}/MedicationRequest/written"
    made = requests.put(url, encoded(order), headers={"Content-Type": "application/fhir+json"}, timeout=60)
    assert made.status_code == 201
    assert {requests.get(url, timeout=60).status_code for _ in range(30)} == {200}


def test_the_folder_of_what_was_written_is_gone_when_the_service_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_served, "PATIENCE", 300)
    with served("off", tmp_path, KETAMINE_CDS_SANDBOX="on", TMPDIR=str(tmp_path)) as (process, _):
        assert list(tmp_path.glob("ketamine-cds-sandbox-*"))
        process.terminate()
        process.wait(60)
    assert not list(tmp_path.glob("ketamine-cds-sandbox-*"))
    assert "SANDBOX ON" in (tmp_path / "output.txt").read_text()
