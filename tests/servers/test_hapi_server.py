"""Checks that the HAPI server of the tests does what our FHIR client needs of a hospital's server."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from cds_service import cli
from cds_service.commands import samples
from cds_service.fhir import lenient
from cds_service.retrospect import bulk, synthetic
from cds_service.sandbox import charts as sample_charts
from cds_service.sandbox.caller import Web
from tests import charts

from .hapi import Bundle, hapi_server, load_sandbox_patient, load_transaction, move_dates, needed

PAGE_SIZE = 3
UCUM = "http://unitsofmeasure.org"
BODY_WEIGHT = "29463-7"
KETAMINE = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "6130", "display": "ketamine"}


@pytest.fixture(scope="module")
def chart_path() -> Path:
    return charts.files()[0]


@pytest.fixture(scope="module")
def chart(chart_path: Path) -> Bundle:
    bundle: Bundle = json.loads(charts.read(chart_path))
    return bundle


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    needed()
    with hapi_server(page_size=PAGE_SIZE, exports=True) as url:
        yield url


@pytest.fixture(scope="module")
def patient_id(base_url: str, chart_path: Path) -> str:
    return load_sandbox_patient(base_url, chart_path)


def test_a_sandbox_patient_arrives_whole(base_url: str, patient_id: str, chart: Bundle) -> None:
    for resource_type in ("Observation", "Condition", "MedicationRequest", "Encounter"):
        counted = _get(f"{base_url}/{resource_type}", patient=patient_id, _summary="count")
        assert counted["total"] == len(_resources(chart, resource_type)), resource_type
    patient = _get(f"{base_url}/Patient/{patient_id}")
    assert patient["birthDate"] == _resources(chart, "Patient")[0]["birthDate"]


def test_small_pages_lose_nothing_and_ignore_a_larger_count(base_url: str, patient_id: str, chart: Bundle) -> None:
    pages = list(_pages(f"{base_url}/Observation", patient=patient_id, _count="200"))
    assert max(len(page) for page in pages) == PAGE_SIZE
    found = Counter(_code_and_time(observation) for page in pages for observation in page)
    assert found == Counter(_code_and_time(observation) for observation in _resources(chart, "Observation"))


def test_a_search_by_code_finds_every_body_weight_and_nothing_else(
    base_url: str, patient_id: str, chart: Bundle
) -> None:
    code = f"http://loinc.org|{BODY_WEIGHT}"
    found = [weight for page in _pages(f"{base_url}/Observation", patient=patient_id, code=code) for weight in page]
    sent = [observation for observation in _resources(chart, "Observation") if _code(observation) == BODY_WEIGHT]
    assert sent
    assert sorted(map(_code_and_time, found)) == sorted(map(_code_and_time, sent))


def test_the_sample_patients_arrive_whole_and_loaded_again_they_are_not_doubled(base_url: str) -> None:
    now = datetime.now(UTC)
    sent = sample_charts.resources_at(now)
    for _ in range(2):
        assert samples.load(base_url, Web(), now) == len(sample_charts.patients())
        for patient in sample_charts.patients():
            assert _get(f"{base_url}/Patient/{patient.id}")["birthDate"] == sent["Patient", patient.id]["birthDate"]
            for kind, whose in sample_charts.WHOSE.items():
                theirs = [each[whose]["reference"] for (found, _), each in sent.items() if found == kind]
                counted = _get(f"{base_url}/{kind}", patient=patient.id, _summary="count")
                assert counted["total"] == theirs.count(f"Patient/{patient.id}")


def test_a_written_ketamine_administration_is_found_by_the_search_that_missed_it_before(
    base_url: str, patient_id: str
) -> None:
    search = {"patient": patient_id, "status": "in-progress"}
    assert "entry" not in _get(f"{base_url}/MedicationAdministration", **search)
    administration = {
        "resourceType": "MedicationAdministration",
        "status": "in-progress",
        "medicationCodeableConcept": {"coding": [KETAMINE]},
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectivePeriod": {"start": "2026-11-22T08:00:00+00:00"},
        "dosage": {"rateQuantity": {"value": 14, "unit": "mg/h", "system": UCUM, "code": "mg/h"}},
    }
    created = requests.post(f"{base_url}/MedicationAdministration", json=administration, timeout=30)
    assert created.status_code == requests.codes.created, created.text
    (entry,) = _get(f"{base_url}/MedicationAdministration", **search)["entry"]
    assert entry["resource"]["medicationCodeableConcept"]["coding"] == [KETAMINE]


def test_an_export_brings_every_resource_of_every_patient(
    base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """HAPI asks for two minutes between two questions, which a test does not wait for."""
    sent = [dict(each) for patient in synthetic.signed(3, 7) for each in patient.exported]
    entries = [
        {"resource": each, "request": {"method": "PUT", "url": f"{each['resourceType']}/{each['id']}"}}
        for each in sent
    ]
    transaction = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
    load_transaction(base_url, json.loads(lenient.encode(transaction)))
    slept = time.sleep
    monkeypatch.setattr(bulk.time, "sleep", lambda seconds: slept(min(seconds, 0.5)))
    assert cli.main(["export", base_url, "--into", str(tmp_path / "export")]) == 1
    said = capsys.readouterr()
    assert "asked for without" in said.err, "HAPI gives no Medication with patients"
    assert "no file came for Medication" in said.out
    came = {
        (each["resourceType"], each["id"])
        for file in (tmp_path / "export").glob("*.ndjson")
        for each in map(json.loads, file.read_text("utf-8").splitlines())
    }
    assert {(each["resourceType"], each["id"]) for each in sent} <= came
    assert "not deleted" not in said.err


def test_the_server_is_gone_once_its_context_is_left() -> None:
    needed()
    with hapi_server() as url:
        assert _get(f"{url}/metadata")["fhirVersion"] == "4.0.1"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/metadata", timeout=5)


def test_moved_dates_bring_the_newest_event_to_the_day_before_now_and_keep_every_interval(
    chart: Bundle,
) -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    before, after = (sorted(_encounter_starts(bundle)) for bundle in (chart, move_dates(chart, now)))
    assert now - timedelta(days=1) < after[-1] <= now
    assert {new - old for new, old in zip(after, before, strict=True)} == {after[-1] - before[-1]}


def _get(url: str, **parameters: str) -> dict[str, Any]:
    response = requests.get(url, params=parameters, timeout=30)
    assert response.status_code == requests.codes.ok, response.text
    answer: dict[str, Any] = response.json()
    return answer


def _pages(url: str, **parameters: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the resources of each page, following `next` links on the server that was asked and no other."""
    page = _get(url, **parameters)
    while True:
        yield [entry["resource"] for entry in page.get("entry", [])]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            return
        assert urlsplit(following[0]).netloc == urlsplit(url).netloc
        page = _get(following[0])


def _resources(bundle: Bundle, resource_type: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == resource_type]


def _code(observation: dict[str, Any]) -> str:
    return str(observation["code"]["coding"][0]["code"])


def _code_and_time(observation: dict[str, Any]) -> tuple[str, datetime]:
    return _code(observation), datetime.fromisoformat(observation["effectiveDateTime"])


def _encounter_starts(bundle: Bundle) -> Iterator[datetime]:
    for encounter in _resources(bundle, "Encounter"):
        yield datetime.fromisoformat(encounter["period"]["start"])
