"""A deadline for the answer: whenever it is over, what is known is said, and so is what is not."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds_service.advise import advise
from cds_service.cards.model import EXTENSION, Response
from cds_service.deadline import NEVER, Deadline, Late
from cds_service.fhir.source import Answer, NoSource
from cds_service.hooks.errors import PreconditionFailed
from cds_service.hooks.request import parse
from cds_service.hooks.response import encode
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from tests.hooks.client import client, encoded
from tests.hooks.conformance import decoded, faults
from tests.scenarios.build import NOW, hook_request

PATIENT = {
    "weight": "80 kg",
    "age": 40,
    "problems": ["271719001 Raised intracranial pressure"],
    "medicines": ["3322 diazepam"],
    "blood pressure": ["190/95, 20 minutes ago"],
}
REQUESTS: Mapping[str, dict[str, Any]] = {
    "an order with cards": hook_request({"order": {"rate": "1.2 mg/kg/h"}, "patient": PATIENT}),
    "several orders": hook_request({"orders": [{"rate": "1.2 mg/kg/h"}, {"dose": "3 mg/kg"}], "patient": PATIENT}),
    "another drug": hook_request({"order": {"drug": "7052 morphine", "dose": "5 mg"}}),
    "an order that is selected": hook_request({"hook": "order-select", "order": {"rate": "0.6 mg/kg/h"}}),
    "a running infusion": hook_request(
        {"hook": "patient-view", "patient": {"running": "0.9 mg/kg/h", "symptoms": ["dizziness"]}}
    ),
    "an infusion that is stopped": hook_request(
        {
            "order": {"rate": "0.2 mg/kg/h", "status": "stopped"},
            "patient": {"running": {"rate": "0.2 mg/kg/h", "order": "o1", "since": "2 days ago"}},
        }
    ),
}


class Counted(Deadline):
    """Over when it has been looked at so often, for a test that must not depend on the machine."""

    __slots__ = ("looks",)

    def __init__(self, looks: float) -> None:
        super().__init__(float("inf"))
        self.looks = looks

    def check(self, step: str) -> None:
        self.looks -= 1
        if self.looks < 0:
            self.until = 0
        super().check(step)


def _answer(knowledge: Knowledge, request: dict[str, Any], deadline: Deadline = NEVER) -> Response:
    parsed = parse(encoded(request), request["hook"])
    return advise(parsed, request["hook"] == "order-sign", knowledge, NoSource(), NOW, deadline)


def _fired(answer: Response) -> set[str]:
    """The rules that stand on cards."""
    return {rule["id"] for card in answer.cards for rule in (card.extension or {})[EXTENSION]["rules"]}


def _not_checked(answer: Response) -> dict[str, str]:
    listed = (answer.extension or {}).get(EXTENSION, {}).get("notChecked", [])
    return {each["rule"]: each["reason"] for each in listed}


def _topics(answer: Response) -> list[str]:
    return [card.source.topic.code for card in answer.cards if card.source.topic]


LATE = "it was not checked in time"


@pytest.fixture(scope="module", params=REQUESTS)
def complete(request: pytest.FixtureRequest, knowledge: Knowledge) -> tuple[dict[str, Any], Response, int]:
    """(request, its answer without a deadline, how often a deadline is looked at on the way)"""
    asked, looks = REQUESTS[request.param], Counted(10**9)
    return asked, _answer(knowledge, asked, looks), int(10**9 - looks.looks)


def test_whenever_the_time_ends_the_answer_is_valid_and_says_what_was_not_reached(
    complete: tuple[dict[str, Any], Response, int], knowledge: Knowledge
) -> None:
    asked, full, looks = complete
    known = _fired(full) | _not_checked(full).keys()
    assert looks > 0
    for last in (*range(min(looks, 40)), *range(40, looks, max(1, looks // 60))):
        deadline = Counted(last)
        answer = _answer(knowledge, asked, deadline)
        assert deadline.missed is not None
        assert faults(decoded(encode(answer))) == []
        if answer == full:
            continue  # only something was left out that nothing would have come of
        assert _fired(answer) <= _fired(full), "what was found before is what would be found"
        late = {rule for rule, why in _not_checked(answer).items() if LATE in why}
        assert known <= _fired(answer) | _not_checked(answer).keys()
        if late:
            assert "could-not-check" in _topics(answer)
            said = answer.cards[_topics(answer).index("could-not-check")]
            assert said.indicator in ("warning", "critical")
            assert "Not checked in time" in f"{said.summary} {said.detail}"


def test_what_was_found_before_the_end_keeps_its_card(knowledge: Knowledge) -> None:
    asked, looks = REQUESTS["an order with cards"], Counted(10**9)
    _answer(knowledge, asked, looks)
    answers = [_answer(knowledge, asked, Counted(last)) for last in range(0, int(10**9 - looks.looks), 7)]
    judged = [each for each in answers if "rate-exceeds-ceiling" in _fired(each)]
    partly = [each for each in judged if LATE in _not_checked(each).values()]
    assert partly, "the dose is judged first"
    for each in partly:
        assert each.cards[0].indicator == "critical"
        assert "of" in next(card.detail or "" for card in each.cards if "Not checked in time" in (card.detail or ""))


def test_without_any_time_one_card_says_so_and_every_rule_is_named(knowledge: Knowledge) -> None:
    answer = _answer(knowledge, REQUESTS["an order with cards"], Deadline(0))
    (card,) = answer.cards
    assert (card.indicator, card.summary) == (
        "warning", "Not checked in time: nothing was held against the ketamine protocol."
    )  # fmt: skip
    assert _topics(answer) == ["could-not-check"]
    full = _answer(knowledge, REQUESTS["an order with cards"])
    assert _fired(full) | _not_checked(full).keys() <= _not_checked(answer).keys()
    assert set(_not_checked(answer).values()) == {LATE}


def test_a_repair_that_could_not_be_tried_is_not_offered(knowledge: Knowledge) -> None:
    """No suggestion stands on the card that was not judged as a whole."""
    asked, looks = hook_request({"order": {"rate": "1.2 mg/kg/h"}}), Counted(10**9)
    full = _answer(knowledge, asked, looks)
    labels = {s.label for card in full.cards for s in card.suggestions or ()}
    assert any(label.startswith("Change to") for label in labels)
    without = 0
    for last in range(int(10**9 - looks.looks)):
        answer = _answer(knowledge, asked, Counted(last))
        offered = {s.label for card in answer.cards for s in card.suggestions or ()}
        assert offered <= labels
        without += "rate-exceeds-ceiling" in _fired(answer) and not any(o.startswith("Change to") for o in offered)
    assert without, "the time ended while a repair was tried, at least once"


def test_without_a_deadline_nothing_is_ever_late(knowledge: Knowledge) -> None:
    assert _answer(knowledge, REQUESTS["an order with cards"]) == _answer(
        knowledge, REQUESTS["an order with cards"], Deadline.after(3600)
    )


def test_a_patient_whose_administrations_did_not_come_in_time_is_not_said_to_have_none(knowledge: Knowledge) -> None:
    asked = hook_request({"hook": "patient-view", "patient": {"missing": ["administrations"]}})
    with pytest.raises(PreconditionFailed):
        _answer(knowledge, asked)
    assert _topics(_answer(knowledge, asked, Deadline(0))) == ["could-not-check"]


# The value ----------------------------------------------------------------------------------------------------------


def test_a_deadline_says_what_is_left_and_what_was_missed_first() -> None:
    deadline = Deadline.after(3600)
    assert 3590 < deadline.left <= 3600
    deadline.check("first")
    assert (deadline.is_over, deadline.missed) == (False, None)
    deadline.until = 0
    for step in ("second", "third"):
        with pytest.raises(Late):
            deadline.check(step)
    assert (deadline.is_over, deadline.left, deadline.missed) == (True, 0, "second")


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_loop_ends_at_the_first_item_after_the_deadline(items: int, looks: int) -> None:
    seen = []
    try:
        for each in Counted(looks).each(range(items), "loop"):
            seen.append(each)
    except Late:
        assert items > looks
    assert seen == list(range(min(items, looks)))


def test_to_look_at_a_deadline_costs_next_to_nothing(knowledge: Knowledge) -> None:
    """In looks for one order of an ordinary patient, each of which is one reading of a clock."""
    looks = Counted(10**9)
    _answer(knowledge, REQUESTS["an order with cards"], looks)
    assert 10**9 - looks.looks < 1000


# At the door --------------------------------------------------------------------------------------------------------


def test_an_answer_that_is_late_is_counted_and_logged_once(
    knowledge: Knowledge, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = client(knowledge, Settings(answer_deadline_ms=60_000))
    monkeypatch.setattr("cds_service.web.deadlines.current", lambda: Deadline(0))
    with caplog.at_level(logging.WARNING, "ketamine_cds"):
        sent = http.post(
            "/cds-services/ketamine-order-sign",
            data=encoded(REQUESTS["an order with cards"]),
            content_type="application/json",
        )
    assert sent.status_code == 200
    assert [card["source"]["topic"]["code"] for card in decoded(sent.data)["cards"]] == ["could-not-check"]
    assert [each.getMessage() for each in caplog.records] == ["an answer was not complete in time: drafts"]
    assert 'ketamine_cds_late_answers_total{step="drafts"}' in http.get("/metrics").text


def test_the_time_in_which_a_body_comes_is_the_callers(knowledge: Knowledge) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            time.sleep(0.7)
            return super().read(size)

    http = client(knowledge, Settings(answer_deadline_ms=600))
    body = encoded(REQUESTS["an order with cards"])
    for _ in range(3):  # the first may be late by its imports, and a busy machine by itself
        sent = http.post(
            "/cds-services/ketamine-order-sign",
            content_type="application/json",
            input_stream=Slow(body),
            headers={"Content-Length": str(len(body))},
        )
        if LATE not in sent.text:
            break
    assert LATE not in sent.text
    assert "rate-exceeds-ceiling" in sent.text


def test_a_slow_fhir_server_leaves_time_to_judge_the_dose(knowledge: Knowledge) -> None:
    class Slow:
        why_not: str | None = None

        def fetch(self, urls: Mapping[str, str]) -> dict[str, Answer]:
            time.sleep(0.05)
            return {key: Answer(gap="the FHIR server did not answer in time") for key in urls}

    asked = REQUESTS["an order with cards"] | {"prefetch": {}}
    deadline = Deadline.after(30)
    answer = advise(parse(encoded(asked), "order-sign"), True, knowledge, Slow(), NOW, deadline)
    assert deadline.missed is None
    assert "rate-exceeds-ceiling" in _fired(answer)
