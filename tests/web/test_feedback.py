"""The feedback endpoint over HTTP, and what the store keeps of a call: all of it, and nothing of the patient."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app
from tests.hooks.client import client
from tests.scenarios.build import NOW, PATIENT, hook_request
from tests.web.recording import CODED, Recording, cards, recording

ORDER = {"order": {"rate": "0.8 mg/kg/h"}}
SIGN = "/cds-services/ketamine-order-sign/feedback"


@pytest.fixture
def service(knowledge: Knowledge, tmp_path: Path) -> Iterator[Recording]:
    with recording(knowledge, tmp_path) as made:
        yield made


def _entry(**changes: Any) -> dict[str, Any]:
    return {"card": str(uuid4()), "outcome": "overridden", "outcomeTimestamp": "2026-11-22T10:00:00Z"} | changes


def _stored(service: Recording) -> list[dict[str, Any]]:
    return [record for record in service.recorded() if record["record"] == "feedback"]


# The endpoint ----------------------------------------------------------------------------------------------------


def test_feedback_on_a_card_is_stored_with_the_servers_time_beside_the_clients(service: Recording) -> None:
    answer = service.call(ORDER)
    service.recorded()
    service.later(minutes=5)
    suggestion = answer["cards"][0]["suggestions"][0]["uuid"]
    sent = _entry(card=answer["cards"][0]["uuid"], outcome="accepted", acceptedSuggestions=[{"id": suggestion}])
    reply = service.feedback(sent)
    assert reply.status_code == 200
    assert reply.mimetype == "application/json"
    (record,) = _stored(service)
    assert (record["card_uuid"], record["card_known"]) == (sent["card"], True)
    assert (record["service"], record["client"]) == ("ketamine-order-sign", "anonymous")
    assert (record["outcome"], record["suggestions"]) == ("accepted", [suggestion])
    assert (record["sent_at"], record["received_at"]) == (sent["outcomeTimestamp"], service.now)


def test_both_spellings_of_the_reason_are_stored_alike(service: Recording) -> None:
    service.feedback(_entry(overrideReason=CODED), _entry(overrideReasons=[CODED]))
    expected = [[CODED["reason"]["system"], CODED["reason"]["code"]]]
    assert [record["reasons"] for record in _stored(service)] == [expected, expected]


def test_feedback_that_is_sent_again_is_answered_alike_and_stored_once(service: Recording) -> None:
    sent = _entry(overrideReason=CODED)
    assert [service.feedback(sent).status_code for _ in range(3)] == [200, 200, 200]
    assert len(_stored(service)) == 1


def test_feedback_on_an_unknown_card_is_stored_and_marked(service: Recording) -> None:
    assert service.feedback(_entry()).status_code == 200
    assert [record["card_known"] for record in _stored(service)] == [False]


def test_bad_entries_are_listed_and_the_good_ones_stored(service: Recording) -> None:
    reply = service.feedback(_entry(), {"card": "John Secret"}, _entry(), 5)
    assert reply.status_code == 200
    outcome = reply.get_json()
    assert outcome["resourceType"] == "OperationOutcome"
    first, *refused = outcome["issue"]
    assert (first["severity"], first["diagnostics"]) == ("information", "2 of 4 entries are stored")
    assert [issue["expression"] for issue in refused] == [["feedback[1]"], ["feedback[3]"]]
    assert "Secret" not in reply.text
    assert len(_stored(service)) == 2


def test_the_answer_is_a_valid_operation_outcome(service: Recording) -> None:
    from fhir.resources.R4B.operationoutcome import OperationOutcome

    for reply in (service.feedback(_entry()), service.feedback(_entry(), 5), service.feedback(5)):
        OperationOutcome.model_validate_json(reply.data)


def test_where_no_entry_can_be_taken_the_answer_is_400(service: Recording) -> None:
    assert service.feedback({"card": "x"}).status_code == 400
    assert service.feedback().status_code == 200


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b'{"feedback": 5}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b" " * 20_000_001, "application/json", 413),
    ],
)
def test_what_is_no_feedback_is_refused(body: bytes, kind: str, status: int, service: Recording) -> None:
    reply = service.http.post(SIGN, data=body, content_type=kind)
    assert reply.status_code == status
    assert reply.get_json()["resourceType"] == "OperationOutcome"


def test_an_unknown_service_is_404_and_another_method_405(service: Recording) -> None:
    assert service.feedback(_entry(), service="ketamine").status_code == 404
    assert service.http.get(SIGN).status_code == 405


def test_feedback_that_cannot_be_stored_is_503_and_never_200(service: Recording, tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").chmod(0o600)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as other, other:
        other.execute("DROP TABLE feedback")
    reply = service.feedback(_entry())
    assert reply.status_code == 503
    assert reply.get_json()["issue"][0]["code"] == "transient"


def test_without_a_store_feedback_is_refused_and_orders_are_judged(knowledge: Knowledge) -> None:
    http = client(knowledge, Settings(store="off"))
    assert http.post(SIGN, json={"feedback": [_entry()]}).status_code == 503
    assert http.post(SIGN, json={"feedback": []}).status_code == 200


# What is kept of a call -------------------------------------------------------------------------------------------


def test_a_call_is_recorded_with_its_cards_and_what_was_not_clear(service: Recording) -> None:
    request = hook_request({"order": {"rate": "0.8 mg/kg/h"}, "patient": {"blood pressure": "none"}})
    answer = service.post(request)
    (record,) = service.recorded()
    assert UUID(record["id"])
    assert (record["service"], record["client"], record["at"]) == ("ketamine-order-sign", "anonymous", NOW)
    assert record["hook_instance"] == request["hookInstance"]
    assert 0 < record["microseconds"] < 10_000_000
    assert (record["protocol"], record["shadow"], record["failed"]) == (
        service.knowledge.protocol.version,
        False,
        False,
    )
    shown = [(card["uuid"], card["topic"], card["indicator"]) for card in record["cards"]]
    assert shown == [(card["uuid"], card["source"]["topic"]["code"], card["indicator"]) for card in answer["cards"]]
    found = {finding["rule"]: finding for finding in record["findings"]}
    fired = found["rate-exceeds-protocol-max"]
    assert (fired["status"], fired["severity"], fired["figure"]) == ("fired", "warning", "4/5")
    assert fired["card_uuid"] == answer["cards"][0]["uuid"]
    assert all(finding["status"] != "clear" for finding in record["findings"])
    untold = [finding for finding in record["findings"] if finding["status"] == "could-not-tell"]
    assert untold
    assert all(finding["missing"] for finding in untold)


def test_what_is_no_ketamine_is_not_recorded(service: Recording) -> None:
    request = hook_request(ORDER)
    concept = {"coding": [{"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": "7052"}]}
    request["context"]["draftOrders"]["entry"][0]["resource"]["medicationCodeableConcept"] = concept
    assert service.post(request)["cards"] == []
    assert service.recorded() == []


def test_a_failure_of_the_service_is_recorded_as_one(service: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    from cds_service.web import services

    def fails(*arguments: object) -> object:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(services, "advice", fails)
    answer = service.call(ORDER)
    (record,) = service.recorded()
    assert (record["failed"], record["findings"]) == (True, [])
    assert [card["uuid"] for card in record["cards"]] == [card["uuid"] for card in answer["cards"]]


PATIENT_DATA = {"Xanthippe", "Quarkson", "MRN-4711", "1956-07-08", "note about her sister", "Dr. Brown"}


def test_nothing_in_the_files_of_the_store_leads_to_the_patient(service: Recording, tmp_path: Path) -> None:
    """Neither names nor identifiers, references, dates of birth, comments or orders, nor the key."""
    request = hook_request({"order": {"rate": "0.8 mg/kg/h"}, "patient": {"problems": ["84114007 Heart failure"]}})
    order = request["context"]["draftOrders"]["entry"][0]["resource"]
    order["id"] = "order-0815"
    order["note"] = [{"text": "note about her sister"}]
    order["dosageInstruction"][0]["text"] = "as Xanthippe likes it"
    request["context"]["userId"] = "Practitioner/Dr. Brown"
    patient = request["prefetch"]["patient"]
    patient |= {
        "name": [{"family": "Quarkson", "given": ["Xanthippe"]}],
        "identifier": [{"value": "MRN-4711"}],
        "birthDate": "1956-07-08",
    }
    answer = service.post(request)
    comment = {"userComment": "Xanthippe Quarkson, MRN-4711, tolerates it"}
    service.feedback(*(_entry(card=card["uuid"], overrideReason=comment) for card in answer["cards"]))
    assert len(service.recorded()) == 1 + len(answer["cards"])
    service.audit.close()
    held = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
    assert b"rate-exceeds-protocol-max" in held
    references = set(re.findall(r"[A-Z][A-Za-z]+/[a-z0-9-]+", str(request)))
    assert f"Patient/{PATIENT}" in references
    words = (
        PATIENT_DATA
        | references
        | {"order-0815", "Xanthippe", "tolerates", "Heart failure", "84114007", "a key that"}
    )
    assert [word for word in words if word.encode() in held] == []


def test_without_a_key_nothing_that_stands_for_a_patient_or_an_order_is_recorded(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    with recording(knowledge, tmp_path, store_key_file=None) as service:
        answer = service.call(ORDER)
        service.override(answer)
        record = service.recorded()[0]
        assert record["patient"] is None
        assert {card["order_key"] for card in record["cards"]} == {None}
        kept = {
            (f["order_key"], f["dose_shape"], str(f["dose_amounts"]), str(f["facts"])) for f in record["findings"]
        }
        assert kept == {(None, None, "[]", "[]")}
        assert cards(service.call(ORDER)) == cards(answer), "so nothing is quiet either"


def test_one_patient_has_one_digest_and_two_have_two(service: Recording) -> None:
    service.call(ORDER)
    service.later(minutes=1)
    service.call(ORDER)
    service.later(minutes=1)
    other = hook_request(ORDER)
    other["context"]["patientId"] = "p2"
    service.post(other)
    digests = [record["patient"] for record in service.recorded()]
    assert digests[0] == digests[1] != digests[2]


def test_without_its_store_the_service_is_degraded_and_not_unready(service: Recording, tmp_path: Path) -> None:
    assert service.http.get("/readyz").get_json()["checks"]["store"] is True
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as other, other:
        other.execute("DROP TABLE invocation")
    time.sleep(1.1)  # for a second an answer is remembered
    ready = service.http.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded"), "orders are judged all the same"
    assert ready.get_json()["checks"]["store"] is False


def test_an_application_that_is_given_no_audit_keeps_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    http = create_app(Settings(state_dir=str(tmp_path)), knowledge, lambda: NOW).test_client()
    http.post("/cds-services/ketamine-order-sign", json=hook_request({"order": {"dose": "20 mg"}}))
    assert not list(tmp_path.glob("store*"))


def test_records_that_are_lost_are_counted_where_operators_look(service: Recording) -> None:
    def lost() -> float:
        lines = service.http.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("ketamine_cds_audit_drops_total"))

    before = lost()
    service.audit.close()
    assert cards(service.call(ORDER)) == [("warning", "rate-exceeds-protocol-max")]
    assert lost() == before + 1
