"""The alert-fatigue policy over HTTP (4b, items 3, 4, 8): what an override with a reason quiets, and what not."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cds_service.cards.model import EXTENSION
from cds_service.cli import main
from cds_service.knowledge import Knowledge
from tests.hooks.client import encoded
from tests.scenarios.build import hook_request
from tests.web.recording import CODED, SECRET, Recording, cards, recording

RATE = "rate-exceeds-protocol-max"
CEILING = "rate-exceeds-ceiling"
WARNED: dict[str, Any] = {"order": {"rate": "0.8 mg/kg/h"}}
HEART_FAILURE = "84114007 Heart failure"
ILL: dict[str, Any] = {"order": {"rate": "0.2 mg/kg/h"}, "patient": {"problems": [HEART_FAILURE]}}
CRITICAL: dict[str, Any] = {"order": {"rate": "1.2 mg/kg/h"}}


@pytest.fixture
def service(knowledge: Knowledge, tmp_path: Path) -> Iterator[Recording]:
    with recording(knowledge, tmp_path) as made:
        yield made


def _after_override(
    service: Recording, before: dict[str, Any], now: dict[str, Any], **hours: float
) -> dict[str, Any]:
    service.override(service.call(before))
    service.later(**hours or {"hours": 2})
    return service.call(now)


def _quiet(answer: dict[str, Any]) -> list[str]:
    return [entry["rule"] for entry in answer["extension"][EXTENSION].get("quiet", [])]


# What is quiet -----------------------------------------------------------------------------------------------------


def test_a_warning_that_was_overridden_with_a_reason_is_quiet_and_machines_are_told(service: Recording) -> None:
    answer = _after_override(service, WARNED, WARNED)
    assert cards(answer) == []
    assert answer["extension"][EXTENSION]["quiet"] == [
        {"rule": RATE, "order": "MedicationRequest/o1", "reason": "overridden 2 h ago with a reason"}
    ]


def test_what_was_overridden_while_ordering_is_quiet_at_signing(service: Recording) -> None:
    service.override(service.call(WARNED, "order-select"))
    assert cards(service.call(WARNED)) == []


@pytest.mark.parametrize("rate", ["0.8 mg/kg/h", "0.6 mg/kg/h", "56 mg/h", "13.3 ug/kg/min"])
def test_the_same_dose_in_any_writing_and_a_lower_one_are_quiet(rate: str, service: Recording) -> None:
    assert cards(_after_override(service, WARNED, {"order": {"rate": rate}})) == []


def test_a_finding_about_the_patient_is_quiet_while_the_patient_is_the_same(service: Recording) -> None:
    before = service.call(ILL)
    service.override(before)
    assert ("warning", "heart-failure") in cards(before)
    answer = service.call(ILL)
    assert "heart-failure" not in [topic for _, topic in cards(answer)]
    assert "heart-failure" in _quiet(answer)


def test_a_lower_dose_keeps_a_finding_about_the_patient_quiet_and_a_higher_one_does_not(service: Recording) -> None:
    service.override(service.call(ILL))
    lower, higher = ({"order": {"rate": f"{rate} mg/kg/h"}, "patient": ILL["patient"]} for rate in ("0.1", "0.3"))
    assert "heart-failure" in _quiet(service.call(lower))
    assert ("warning", "heart-failure") in cards(service.call(higher))


def test_time_that_is_longer_keeps_quiet_what_was_too_fast_and_shorter_does_not(service: Recording) -> None:
    def push(minutes: int) -> dict[str, Any]:
        return {"order": {"dose": "0.5 mg/kg", "over": f"{minutes} min", "indication": "depression"}}

    first = service.call(push(32))
    service.override(first)
    assert ("warning", "depression-infusion-too-fast") in cards(first)
    assert "depression-infusion-too-fast" in _quiet(service.call(push(35)))
    assert ("warning", "depression-infusion-too-fast") in cards(service.call(push(31)))


def test_a_critical_finding_comes_back_as_information_at_signing_even_beside_what_interrupts(
    service: Recording,
) -> None:
    service.override(service.call(CRITICAL))
    beside = CRITICAL | {"patient": {"problems": [HEART_FAILURE]}}
    answer = service.call(beside)
    assert ("info", CEILING) in cards(answer)
    assert any(indicator != "info" for indicator, _ in cards(answer))
    (card,) = [card for card in answer["cards"] if card["source"]["topic"]["code"] == CEILING]
    assert "with a reason" in card["detail"]
    assert "overrideReasons" not in card


def test_a_critical_finding_stays_information_as_long_as_it_was_overridden(service: Recording) -> None:
    service.override(service.call(CRITICAL))
    for _ in range(3):
        service.later(hours=7)
        assert cards(service.call(CRITICAL)) == [("info", CEILING)]
    service.later(hours=4)
    assert ("critical", CEILING) in cards(service.call(CRITICAL))


# What is not -------------------------------------------------------------------------------------------------------


def test_nothing_is_quiet_because_it_was_merely_shown(service: Recording) -> None:
    first = service.call(WARNED)
    service.recorded()
    assert cards(service.call(WARNED)) == cards(first) == [("warning", RATE)]


def test_an_override_without_a_reason_quiets_nothing(service: Recording) -> None:
    service.override(service.call(WARNED), reason=None)
    assert cards(service.call(WARNED)) == [("warning", RATE)]


def test_an_accepted_card_quiets_nothing(service: Recording) -> None:
    answer = service.call(WARNED)
    service.recorded()
    service.feedback({"card": answer["cards"][0]["uuid"], "outcome": "accepted", "acceptedSuggestions": []})
    assert cards(service.call(WARNED)) == [("warning", RATE)]


@pytest.mark.parametrize(("hours", "topics"), [(24, []), (24.01, [("warning", RATE)])])
def test_it_is_quiet_for_a_day(hours: float, topics: list[Any], service: Recording) -> None:
    service.override(service.call(WARNED))
    service.later(hours=hours)
    assert [card for card in cards(service.call(WARNED)) if card[1] == RATE] == topics


@pytest.mark.parametrize(
    "now",
    [
        {"order": {"rate": "0.81 mg/kg/h"}},
        {"order": {"rate": "1.2 mg/kg/h"}},
        {"order": {"rate": "56 mg/h"}, "patient": {"weight": "60 kg"}},
        {"order": {"rate": "0.8 mg/kg/h", "drug": "esketamine"}},
    ],
)
def test_what_got_worse_is_said_again(now: dict[str, Any], service: Recording) -> None:
    answer = _after_override(service, WARNED, now)
    assert any(topic.startswith("rate-exceeds") for _, topic in cards(answer))


def test_a_fact_that_is_new_is_said_again(service: Recording) -> None:
    service.override(service.call(ILL))
    again = {"order": ILL["order"], "patient": {"problems": [HEART_FAILURE, HEART_FAILURE]}}
    assert ("warning", "heart-failure") in cards(service.call(again))


def test_another_order_of_the_patient_is_judged_by_itself(service: Recording) -> None:
    service.override(service.call(WARNED))
    assert cards(service.call(WARNED, id="other")) == [("warning", RATE)]
    assert cards(service.call(WARNED, id="o1")) == []


def test_the_same_order_id_of_another_patient_is_another_order(service: Recording) -> None:
    service.override(service.call(WARNED))
    request = hook_request({"hook": "order-sign"} | WARNED)
    text = encoded(request).replace(b"Patient/p1", b"Patient/p2").replace(b'"p1"', b'"p2"')
    answer = service.http.post("/cds-services/ketamine-order-sign", data=text, content_type="application/json")
    assert ("warning", RATE) in cards(answer.get_json())


def test_a_draft_without_an_id_is_told_by_its_dosage(service: Recording) -> None:
    def call(rate: str) -> list[Any]:
        request = hook_request({"hook": "order-sign", "order": {"rate": rate}})
        del request["context"]["draftOrders"]["entry"][0]["resource"]["id"]
        answer = service.post(request)
        return [card for card in answer["cards"] if card["source"]["topic"]["code"] == RATE]

    (card,) = call("0.8 mg/kg/h")
    service.override({"cards": [card]})
    assert call("0.8 mg/kg/h") == []
    assert call("0.7 mg/kg/h") != []


def test_what_could_not_be_checked_is_said_every_time(service: Recording) -> None:
    unweighed = {"order": {"rate": "20 mg/h"}, "patient": {"weight": "none"}}
    before = service.call(unweighed)
    service.override(before)
    assert "could-not-check" in [topic for _, topic in cards(before)]
    assert cards(service.call(unweighed)) == cards(before)


def test_a_store_that_is_gone_makes_nothing_quiet_and_nobody_wait_long(service: Recording, tmp_path: Path) -> None:
    service.override(service.call(WARNED))
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as other, other:
        other.execute("DROP TABLE finding")
    assert cards(service.call(WARNED)) == [("warning", RATE)]


# Shadow mode -------------------------------------------------------------------------------------------------------


def test_in_shadow_mode_all_is_recorded_and_nobody_is_told(knowledge: Knowledge, tmp_path: Path) -> None:
    with recording(knowledge, tmp_path, shadow="on") as service:
        assert service.call(CRITICAL) == {"cards": []}
        (record,) = service.recorded()
        assert record["shadow"] is True
        assert [card["topic"] for card in record["cards"]] == [CEILING]
        fired = {finding["rule"] for finding in record["findings"] if finding["status"] == "fired"}
        assert CEILING in fired


def test_in_shadow_mode_a_failure_is_silent_too(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cds_service.web import services

    monkeypatch.setattr(services, "advice", None)
    with recording(knowledge, tmp_path, shadow="on") as service:
        assert service.call(CRITICAL) == {"cards": []}
        assert [record["failed"] for record in service.recorded()] == [True]


def test_a_card_that_was_only_recorded_cannot_be_overridden(knowledge: Knowledge, tmp_path: Path) -> None:
    with recording(knowledge, tmp_path, shadow="on") as service:
        service.call(WARNED)
        (record,) = service.recorded()
        service.feedback({"card": record["cards"][0]["uuid"], "outcome": "overridden", "overrideReason": CODED})
        service.audit.close()
    with recording(knowledge, tmp_path) as service:
        assert cards(service.call(WARNED)) == [("warning", RATE)]


# At the terminal ---------------------------------------------------------------------------------------------------


def test_explain_shows_what_is_quiet_for_a_client(
    service: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    service.override(service.call(WARNED))
    file = tmp_path / "request.json"
    file.write_bytes(encoded(hook_request({"hook": "order-sign"} | WARNED)))
    monkeypatch.setenv("KETAMINE_CDS_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("KETAMINE_CDS_STORE_KEY_FILE", str(tmp_path / "key"))
    command = ["explain", str(file), "--now", "2026-11-22T13:00:00Z"]

    def explained(*client: str) -> list[str]:
        capfd.readouterr()
        assert main([*command, *client]) == 0
        return capfd.readouterr().out.splitlines()

    said = explained("--client", "anonymous")
    (at,) = [number for number, line in enumerate(said) if f" {RATE} " in line]
    assert said[at].endswith(" suppressed")
    assert any("overridden 3 h ago with a reason" in line for line in said[at : at + 12])
    assert not any("overridden" in line for line in [*explained(), *explained("--client", "another")])


def test_an_override_survives_a_change_of_the_key_while_the_former_key_is_kept(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    """The new key writes, both are looked up; without the former one what was overridden is forgotten."""
    new = "another key that is long enough too"
    with recording(knowledge, tmp_path) as service:
        service.override(service.call(WARNED))
    with recording(knowledge, tmp_path, key=f"{new}\n{SECRET}") as service:
        assert cards(service.call(WARNED)) == []
        assert cards(service.call(CRITICAL))[0][0] == "critical"
        service.override(service.call(CRITICAL))
    with recording(knowledge, tmp_path, key=new) as service:
        assert cards(service.call(WARNED)) != []
        assert cards(service.call(CRITICAL)) == [("info", CEILING)]
