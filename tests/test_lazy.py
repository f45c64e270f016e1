"""Orders share no lock: while one computes, another of the same process goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from cds_service.advise import advise
from cds_service.chart import chart as charts
from cds_service.chart.chart import Chart
from cds_service.fhir.records import Records
from cds_service.fhir.source import NoSource
from cds_service.hooks.request import parse
from cds_service.knowledge import Knowledge
from cds_service.lazy import OnDemand, cached_property, remembered
from tests.hooks.client import encoded
from tests.scenarios.build import NOW, hook_request

PATIENCE = 10.0


class Counting:
    computed = 0

    @cached_property
    def answer(self) -> int:
        """What it says."""
        self.computed += 1
        return 42

    @cached_property
    def failing(self) -> int:
        self.computed += 1
        raise ValueError("no")


def test_a_property_is_computed_once_per_object_and_keeps_its_words() -> None:
    one, other = Counting(), Counting()
    assert (one.answer, one.answer, one.computed, other.computed) == (42, 42, 1, 0)
    assert Counting.answer.__doc__ == "What it says."


def test_a_failure_is_not_remembered() -> None:
    one = Counting()
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            _ = one.failing
    assert one.computed == 2


def _chart(knowledge: Knowledge) -> Chart:
    return Chart(Records("p1"), knowledge.valuesets, NOW, timedelta(0))


def test_a_chart_that_computes_slowly_does_not_hold_up_the_same_property_of_another(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = _chart(knowledge), _chart(knowledge)
    entered, goes_on = threading.Event(), threading.Event()

    def of_chart(chart: Any, *others: Any) -> Iterator[Any]:
        if chart is slow:
            entered.set()
            assert goes_on.wait(PATIENCE)
        return iter(())

    monkeypatch.setattr(charts.medicines, "of_chart", of_chart)
    threads = [threading.Thread(target=lambda chart=chart: chart.medicines) for chart in (slow, quick)]
    threads[0].start()
    assert entered.wait(PATIENCE)
    threads[1].start()
    threads[1].join(PATIENCE / 2)
    assert "medicines" in vars(quick), "it waited for the other chart"
    assert "medicines" not in vars(slow)
    goes_on.set()
    threads[0].join(PATIENCE)


@pytest.mark.timing
def test_an_ordinary_order_beside_a_slow_one_takes_at_most_three_times_its_quiet_time(knowledge: Knowledge) -> None:
    """Two threads share one interpreter, so that twice is the least there can be."""
    problem = {
        "resourceType": "Condition",
        "subject": {"reference": "Patient/p1"},
        "clinicalStatus": {"coding": [{"code": "active"}]},
    }
    ordinary = hook_request({"order": {"rate": "0.2 mg/kg/h"}, "patient": {"weight": "80 kg"}})
    slow = hook_request({"order": {"rate": "0.2 mg/kg/h"}, "patient": {"weight": "80 kg"}})
    slow["prefetch"]["problems"] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "entry": [
            {"resource": problem | {"id": f"c{i}", "code": {"text": f"pain of the {i}th kind"}}} for i in range(4000)
        ],
    }

    def judge(request: dict[str, Any]) -> float:
        parsed, began = parse(encoded(request), "order-sign"), time.perf_counter()
        advise(parsed, True, knowledge, NoSource(), NOW)
        return time.perf_counter() - began

    judge(ordinary)
    quiet = min(judge(ordinary) for _ in range(9))
    held, stop = [], threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            held.append(judge(slow))

    beside = threading.Thread(target=go_on)
    beside.start()
    try:
        busy = min(judge(ordinary) for _ in range(9))
    finally:
        stop.set()
        beside.join()
    assert min(held) > 10 * quiet, "the slow order must be slow, or nothing is shown"
    assert busy < 3 * quiet, f"{busy * 1000:.1f} ms beside a slow order, {quiet * 1000:.1f} ms alone"


def test_what_is_made_on_demand_is_made_once_and_known_before() -> None:
    made: list[str] = []

    def maker(key: str) -> Callable[[], str]:
        return lambda: made.append(key) or key.upper()  # type: ignore[func-returns-value]

    letters = OnDemand({key: maker(key) for key in "ab"})
    assert ("a" in letters, "c" in letters, list(letters), len(letters), made) == (True, False, ["a", "b"], 2, [])
    assert (letters["a"], letters["a"], made) == ("A", "A", ["a"])
    with pytest.raises(KeyError):
        letters["c"]


def test_brief_arguments_are_remembered_and_long_ones_are_not() -> None:
    asked: list[tuple[str, ...]] = []

    def read(words: tuple[str, ...]) -> int:
        asked.append(words)
        return len(words)

    length = remembered(read)
    brief, long = ("pain",), ("p" * 2000,)
    assert [length(words) for words in (brief, brief, long, long)] == [1, 1, 1, 1]
    assert asked == [brief, long, long]


def test_a_worker_loads_the_http_client_only_where_there_is_a_server_to_ask() -> None:
    """It takes 5 to 9 MB of each worker."""
    program = "import sys; import cds_service.web.app; print('requests' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
