"""What a rule rested on, kept for some days where the site says so: codes, figures, ages, and nobody's words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cds_service.console.app import create_console
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.store import engines, retention
from cds_service.web import audit
from tests.console.pages import Pages, text_of
from tests.scenarios.build import hook_request
from tests.web.recording import Recording, recording

CANARY = "Zebulon-Quatermain"
PRESSURE = {"patient": {"blood pressure": "192/104, 3 hours ago"}, "order": {"rate": "0.2 mg/kg/h"}}
OVERDOSE: dict[str, Any] = {"order": {"rate": "5 mg/kg/h"}}
ILL = {
    "patient": {"problems": ["84114007 Heart failure"], "age": 93, "blood pressure": "192/104, 3 hours ago"},
    "order": {"rate": "0.2 mg/kg/h"},
}
DAYS = 7


@pytest.fixture
def service(knowledge: Knowledge, tmp_path: Path) -> Iterator[Recording]:
    with recording(knowledge, tmp_path, keep_facts_days=DAYS) as made:
        yield made


def _used(service: Recording, rule: str) -> list[dict[str, Any]]:
    """What the newest call kept of one rule."""
    call = service.recorded()[-1]
    numbers = [number for number, each in enumerate(call["findings"]) if each["rule"] == rule]
    return [fact for fact in call["used"] if fact["finding"] in numbers]


def _pages(service: Recording) -> Pages:
    return Pages(create_console(service.settings, service.knowledge, lambda: service.now).test_client())


def test_nothing_is_kept_unless_the_site_says_for_how_long(knowledge: Knowledge, tmp_path: Path) -> None:
    with recording(knowledge, tmp_path) as service:
        assert service.settings.keep_facts_days == 0
        answer = service.call(PRESSURE)
        assert [call["used"] for call in service.recorded()] == [[]]
        text = text_of(_pages(service).get(f"/look-up?id={answer['cards'][0]['uuid']}"))
        assert "What was read of the patient is not kept" in text
        assert "192" not in text


def test_a_reading_is_kept_by_code_value_unit_and_age(service: Recording) -> None:
    service.call(PRESSURE)
    (fact,) = _used(service, "bp-uncontrolled")
    assert (fact["kind"], fact["value"], fact["unit"], fact["age_minutes"]) == ("reading", "192/104", "mm[Hg]", 180)
    assert fact["codes"] == [["obs_sbp", "8480-6"], ["obs_dbp", "8462-4"]]


def test_a_dose_is_kept_with_the_weight_behind_it(service: Recording) -> None:
    service.call(OVERDOSE)
    amount, weight = _used(service, "rate-exceeds-ceiling")
    assert (amount["kind"], amount["value"], amount["unit"]) == ("amount", "5", "mg/kg/h")
    assert (weight["kind"], weight["value"], weight["unit"]) == ("weight", "70", "kg")


def test_a_problem_is_kept_by_its_code_and_a_high_age_as_a_group(service: Recording) -> None:
    service.call(ILL)
    (problem,) = [fact for fact in _used(service, "heart-failure") if fact["kind"] == "problem"]
    assert "84114007" in [code for _, code in problem["codes"]]
    (age,) = [fact for fact in _used(service, "age-older-adult") if fact["kind"] == "age"]
    assert (age["value"], age["unit"], age["age_minutes"]) == (">89", "a", None)


def test_the_look_up_shows_it_until_its_time_is_over_in_both_languages(service: Recording) -> None:
    (card, *_) = service.call(PRESSURE)["cards"]
    service.recorded()
    address = f"/look-up?id={card['uuid']}"
    text = text_of(_pages(service).get(address))
    assert "Systolic BP, Diastolic BP 192/104 mmHg , 3 h before 8480-6 8462-4" in text
    assert "no words of the chart" in text
    german = text_of(_pages(service).get(address, headers={"Accept-Language": "de"}))
    assert "Systolischer Blutdruck, Diastolischer Blutdruck 192/104 mmHg , 3 h vorher" in german
    service.later(days=DAYS)
    over = text_of(_pages(service).get(address))
    assert "192/104" not in over
    assert "is kept for 7 days; for this call it is deleted" in over


def test_it_is_deleted_when_its_time_is_over_by_the_next_call_whatever_the_setting_is_then(
    knowledge: Knowledge, tmp_path: Path
) -> None:
    with recording(knowledge, tmp_path, keep_facts_days=DAYS) as service:
        service.call(PRESSURE)
        assert service.recorded()[0]["used"]
        url = service.settings.store_url
    with recording(knowledge, tmp_path) as service:
        assert service.settings.store_url == url
        service.later(days=DAYS)
        service.call({"order": {"rate": "0.1 mg/kg/h"}})
        assert all(call["used"] == [] for call in service.recorded() if call["record"] == "invocation")
        assert _rows(service.settings) == 0


def test_prune_deletes_it_too_and_keeps_the_call(service: Recording) -> None:
    service.call(PRESSURE)
    service.recorded()
    assert _rows(service.settings) > 0
    service.later(days=DAYS)
    gone = retention.prune(
        engines.url_of(service.settings.store_url or ""), service.now.replace(year=2000), service.now
    )
    assert gone == (0, 0)
    assert _rows(service.settings) == 0
    assert len(service.recorded()) == 1


def test_no_word_and_no_identifier_of_a_chart_comes_along(service: Recording, tmp_path: Path) -> None:
    """Canaries stand in every name, text, display, note and identifier, and as codes of systems that nobody knows."""
    request = _marked(hook_request({"hook": "order-sign"} | ILL))
    assert CANARY in str(request)
    assert service.post(request)["cards"]
    assert any(call["used"] for call in service.recorded())
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
    assert b"192/104" in kept
    assert CANARY.encode() not in kept
    assert b"Heart failure" not in kept


def test_a_unit_that_nobody_knows_is_not_kept_and_neither_is_its_number(service: Recording) -> None:
    request = hook_request({"hook": "order-sign"} | PRESSURE)
    _renamed(request, "unit", CANARY)
    service.post(request)
    assert CANARY not in str(service.recorded())


def test_the_start_says_what_is_kept_and_for_how_long(service: Recording) -> None:
    assert "What each finding rests on is kept for 7 days." in audit.what_is_recorded(service.settings)


def _rows(settings: Settings) -> int:
    with closing(sqlite3.connect((settings.store_url or "").removeprefix("sqlite:///"))) as store:
        (count,) = store.execute("SELECT count(*) FROM used_fact").fetchone()
    return int(count)


_WORDS = ("text", "display", "family", "div", "valueString")


def _marked(value: Any) -> Any:
    """The same with a canary in each text, and beside what there is."""
    if isinstance(value, dict):
        more = {"note": [{"text": CANARY}], "identifier": [{"value": CANARY}]} if "resourceType" in value else {}
        made = {key: CANARY if key in _WORDS else _marked(item) for key, item in value.items()} | more
        if isinstance(made.get("coding"), list):
            made["coding"] = [*made["coding"], {"system": f"urn:{CANARY}", "code": CANARY, "display": CANARY}]
        return made
    return [_marked(each) for each in value] if isinstance(value, list) else value


def _renamed(value: Any, name: str, text: str) -> None:
    """Every element of that name says `text`, and its code too."""
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _renamed(each, name, text)
    if isinstance(value, dict) and name in value:
        value |= {name: text} | ({"code": text} if "code" in value else {})
