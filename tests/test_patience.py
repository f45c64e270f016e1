"""Asking what may be away: nobody waits longer than patience lasts, and a failure is followed by a pause."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest

from cds_service.patience import Asking, Unanswered
from tests.waiting import SOON, until


def test_after_a_question_without_an_answer_nobody_asks_for_a_while_and_then_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, failures, now = [], [], [1_000.0]
    monkeypatch.setattr("cds_service.patience.time", SimpleNamespace(monotonic=lambda: now[0]))

    def question() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise ValueError("the weight of Miller")
        return "well"

    asking = Asking("it fails", patience=SOON, pause=0.2, failed=lambda: failures.append(1))
    for _ in range(5):
        with pytest.raises(Unanswered) as unanswered:
            asking.ask(question)
        assert "Miller" not in str(unanswered.value)
    assert len(asked) == len(failures) == 1
    now[0] += 0.3
    with pytest.raises(Unanswered):
        asking.ask(question)
    assert asking.is_away
    now[0] += 0.3
    assert asking.ask(question) == "well"
    assert (len(asked), asking.is_away) == (3, False)


def test_questions_that_hang_hold_no_more_threads_than_there_are_and_their_callers_for_no_longer_than_patience() -> (
    None
):
    gate, held = threading.Event(), []
    asking = Asking("it hangs", patience=0.05, pause=0, threads=2, held=held.append)
    before = threading.active_count()
    try:
        for _ in range(20):
            with pytest.raises(Unanswered):
                asking.ask(gate.wait)
        assert asking.held == 2
        assert threading.active_count() <= before + 2
    finally:
        gate.set()
    until(lambda: asking.held == 0)
    assert held[:2] == [1, 2]
    assert asking.ask(lambda: "well", SOON) == "well"


def test_a_caller_who_has_less_time_than_is_usual_finds_no_outage() -> None:
    gate = threading.Event()
    asking = Asking("it is slow", patience=SOON, pause=SOON, threads=2)
    with pytest.raises(Unanswered):
        asking.ask(gate.wait, 0.01)
    assert not asking.is_away
    assert asking.ask(lambda: "well") == "well"
    gate.set()


def test_an_outage_is_one_warning_and_its_end_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ketamine_cds")
    asking = Asking("it fails", patience=SOON, pause=0)
    for _ in range(5):
        with pytest.raises(Unanswered):
            asking.ask(lambda: 1 // 0)
    asking.ask(lambda: 1)
    asking.ask(lambda: 1)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", "it fails: ZeroDivisionError"), ("INFO", "no longer, after 0 s: it fails")]
