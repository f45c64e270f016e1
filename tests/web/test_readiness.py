"""Readiness: what is checked, what degrades, and that no check keeps anyone waiting."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from cds_service.advise import advice
from cds_service.knowledge import Knowledge
from cds_service.web import synthetic
from cds_service.web.readiness import Readiness
from cds_service.web.synthetic import is_judged
from tests.hooks.client import client
from tests.scenarios.build import NOW

SOON = 60.0


def test_a_check_that_hangs_is_given_up_and_asked_by_one_thread() -> None:
    gate, readiness = threading.Event(), Readiness()
    readiness.add("well", lambda: True, degrades=False, patience=SOON)
    readiness.add("hangs", lambda: gate.wait(SOON), degrades=True, patience=0.05)
    before = threading.active_count()
    try:
        with ThreadPoolExecutor(50) as callers:
            began = time.monotonic()
            found = [each.result() for each in [callers.submit(readiness.now) for _ in range(200)]]
            assert time.monotonic() - began < SOON / 2
        assert {health.status for health in found} == {"degraded"}
        assert found[0].checks == {"well": True, "hangs": False}
        assert threading.active_count() <= before + 2
    finally:
        gate.set()


def test_what_was_found_is_remembered_for_a_second() -> None:
    asked: list[int] = []
    readiness = Readiness()
    readiness.add("counted", lambda: asked.append(1) or True, degrades=False, patience=SOON)
    for _ in range(50):
        assert readiness.now().status == "ready"
    assert len(asked) < 5
    time.sleep(1.1)
    before = len(asked)
    readiness.now()
    assert len(asked) == before + 1


@pytest.mark.parametrize(
    ("needed", "beside", "status"),
    [(True, True, "ready"), (True, False, "degraded"), (False, True, "not ready"), (False, False, "not ready")],
)
def test_without_what_orders_need_the_service_is_not_ready_without_the_rest_it_is_degraded(
    needed: bool, beside: bool, status: str
) -> None:
    readiness = Readiness()
    readiness.add("needed", lambda: needed, degrades=False, patience=SOON)
    readiness.add("beside", lambda: beside, degrades=True, patience=SOON)
    assert readiness.now().status == status


def test_a_check_that_fails_is_one_warning_until_it_holds_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ketamine_cds")
    state = {"holds": False}
    readiness = Readiness()
    readiness.add("store", lambda: state["holds"], degrades=True, patience=SOON)
    for _ in range(3):
        readiness._known = None
        readiness.now()
    state["holds"] = True
    readiness._known = None
    readiness.now()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "not ready: store: it does not hold"),
        ("INFO", "no longer, after 0 s: not ready: store"),
    ]


def test_the_synthetic_order_is_judged_and_a_service_that_cannot_judge_it_is_not_ready(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_judged(knowledge, NOW)
    http = client(knowledge)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("of the patient")

    monkeypatch.setattr("cds_service.web.synthetic.advice", fail)
    ready = http.get("/readyz")
    assert (ready.status_code, ready.get_json()["status"]) == (503, "not ready")
    assert ready.get_json()["checks"] == {"protocol": True, "order": False}


def test_an_answer_in_which_no_rule_speaks_is_no_judgement(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A protocol whose rules are gone answers every order without a card."""

    def silent(*given: Any, **named: Any) -> Any:
        made = advice(*given, **named)
        return replace(made, judged=[replace(each, outcomes=()) for each in made.judged])

    monkeypatch.setattr(synthetic, "advice", silent)
    assert not is_judged(knowledge, NOW)
