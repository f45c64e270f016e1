"""In which language a client gets its cards: its entry says it, else the call's Accept-Language."""

from __future__ import annotations

from pathlib import Path

import pytest

from cds_service.hooks.clients import ClientsError
from cds_service.knowledge import Knowledge, load
from tests.hooks.client import client, encoded
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import hook_request
from tests.web.callers import JSON, ORDER, SIGN, Caller, service
from tests.web.recording import recording

FAST = {"order": {"rate": "0.8 mg/kg/h"}}
ENGLISH = "Rate 0.8 mg/kg/h is above the protocol maximum 0.5"
GERMAN = "Rate 0.8 mg/kg/h über dem Höchstwert des Protokolls, 0.5"


@pytest.mark.parametrize(
    ("header", "summary"),
    [
        (None, ENGLISH),
        ("de", GERMAN),
        ("de-DE,de;q=0.9,en;q=0.8", GERMAN),
        ("en-US,en;q=0.9,de;q=0.8", ENGLISH),
        ("en;q=0.2, de;q=0.7", GERMAN),
        ("fr-CH, fr;q=0.9", ENGLISH),
        ("fr, de;q=0.1", GERMAN),
        ("de;q=0", ENGLISH),
        ("*", ENGLISH),
        ("", ENGLISH),
        (";;;q=,,=", ENGLISH),
        ("de;q=nine", ENGLISH),
        ("de\xfc, \xff", ENGLISH),
        (",".join(f"x{number}" for number in range(1000)), ENGLISH),
    ],
)
def test_the_header_of_a_call_chooses_the_language(knowledge: Knowledge, header: str | None, summary: str) -> None:
    headers = {} if header is None else {"Accept-Language": header}
    body = encoded(hook_request(FAST))
    answer = client(knowledge).post(SIGN, data=body, content_type=JSON, headers=headers)
    assert answer.status_code == 200
    assert faults(decoded(answer.data)) == []
    assert [card["summary"] for card in decoded(answer.data)["cards"]] == [summary]


def test_the_entry_of_a_client_decides_before_the_header(knowledge: Knowledge, tmp_path: Path) -> None:
    german, plain = Caller(tmp_path, "german", language="de-CH"), Caller(tmp_path, "plain")
    english = Caller(tmp_path, "english", language="en")
    http = service(knowledge, tmp_path, german.entry, plain.entry, english.entry)
    asked = [(german, "en"), (plain, "de"), (english, "de"), (plain, "en")]
    summaries = [
        decoded(caller.sign(http, hook_request(FAST), **{"Accept-Language": language}).data)["cards"][0]["summary"]
        for caller, language in asked
    ]
    assert summaries == [GERMAN, GERMAN, ENGLISH, ENGLISH]


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("fr", "client a: language: there are no texts in 'fr', only in en, de"),
        ("German", r"language"),
        ("de_CH", r"language"),
    ],
)
def test_a_language_without_texts_stops_the_start(
    knowledge: Knowledge, tmp_path: Path, language: str, message: str
) -> None:
    with pytest.raises(ClientsError, match=message):
        service(knowledge, tmp_path, Caller(tmp_path, "a", language=language).entry)


def test_a_failure_is_said_in_the_language_too(knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("cds_service.web.services.advice", fails)
    body = encoded(hook_request(ORDER))
    answer = client(knowledge).post(SIGN, data=body, content_type=JSON, headers={"Accept-Language": "de"})
    (card,) = decoded(answer.data)["cards"]
    assert card["summary"] == knowledge.texts.others["de"].words.say("failed")
    assert card["summary"].startswith("Nicht geprüft")


def test_the_store_keeps_the_language_of_the_cards(knowledge: Knowledge, tmp_path: Path) -> None:
    with recording(knowledge, tmp_path) as service:
        service.http.post(
            SIGN, data=encoded(hook_request(FAST)), content_type=JSON, headers={"Accept-Language": "de"}
        )
        service.call(FAST)
        records = [record for record in service.recorded() if record["record"] == "invocation"]
    assert sorted(record["language"] for record in records) == ["de", "en"]


def test_the_store_keeps_which_filter_of_the_site_silenced_a_finding(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        "site: General Hospital\nfilters: [{rules: [rate-exceeds-protocol-max], to: none, owner: P&T, "
        "date: 2026-11-20, reason: ICU policy, when: in intensive care}]",
        "utf-8",
    )
    with recording(load(overlay=str(overlay)), tmp_path) as service:
        answer = service.call(FAST | {"patient": {"place": "intensive care"}})
        (record,) = [record for record in service.recorded() if record["record"] == "invocation"]
    assert answer["cards"] == []
    (finding,) = [each for each in record["findings"] if each["rule"] == "rate-exceeds-protocol-max"]
    assert (finding["status"], finding["filtered"]) == ("suppressed", "P&T, 2026-11-20: ICU policy")
