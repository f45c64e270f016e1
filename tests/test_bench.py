"""The benchmark measures what it says: checked answers, bodies of the size it names, figures that add up."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bench import bodies, candidate, client, noop, servers
from bench.report import OURS, Lap
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """A short run. The program stops at the first answer that is not 200 or not the expected one."""
    command = [sys.executable, "-m", "bench.run", "--short", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_every_request_is_measured_on_every_target_at_every_concurrency(report: dict[str, Any]) -> None:
    measured = [(case["patient"], case["order"], case["concurrency"]) for case in report["cases"]]
    orders = [*bodies.RATES, bodies.NOT_KETAMINE]
    expected = [(patient, order, c) for c in (1, 2) for patient in ("large", "small") for order in orders]
    assert measured == expected
    for case in report["cases"]:
        assert list(case["targets"]) == [OURS, *noop.PATHS]
        assert list(case["ratios"]) == list(noop.PATHS)


def test_the_answers_are_those_of_the_orders(report: dict[str, Any]) -> None:
    for case in report["cases"]:
        if case["order"] == "an order with cards":
            assert case["cards"] >= 1
            assert case["suggestions"] >= 1
        else:
            assert (case["cards"], case["suggestions"]) == (0, 0)


def test_the_figures_are_possible(report: dict[str, Any]) -> None:
    for case in report["cases"]:
        for figures in case["targets"].values():
            assert 0 < figures["p50_ms"] <= figures["p99_ms"] < 30_000
            # No client waits for another, so none can have more than its share.
            assert figures["per_second"] <= case["concurrency"] * 1000 / figures["p50_ms"] * 2
        for ratios in case["ratios"].values():
            for ratio in ratios.values():
                assert 0 < ratio["least"] <= ratio["median"] <= ratio["most"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_each_worker_stays_within_its_memory(report: dict[str, Any]) -> None:
    for workers in report["memory_mb_per_worker"].values():
        assert len(workers) == report["workers"]
        assert all(0 < worker["Pss"] <= worker["Rss"] for worker in workers)
    assert max(worker["Rss"] for worker in report["memory_mb_per_worker"][OURS]) <= 115


def test_what_is_measured_has_the_size_of_a_small_and_a_large_chart(knowledge: Knowledge) -> None:
    requests, origins = bodies.measured(datetime.now().astimezone())
    assert set(origins) == {"small", "large"}
    http = create_app(Settings(), knowledge).test_client()
    for each in requests:
        low, high = (230_000, 300_000) if each.patient == "large" else (30_000, 50_000)
        assert low < len(each.body) < high
        answer = http.post(f"/cds-services/{OURS}", data=each.body, content_type="application/json")
        assert answer.status_code == 200
        assert bool(answer.get_json()["cards"]) == (each.order == "an order with cards")


def test_a_wrong_answer_stops_the_run() -> None:
    with servers.noop(workers=1) as floor:
        path = noop.PATHS["no-op, msgspec"].format(size=40)
        answer = client.once(floor.port, path, b"{}")
        assert answer == noop.answer(40)
        assert len(client.loop(floor.port, path, b"{}", answer, count=30).seconds) == 30
        with pytest.raises(client.WrongAnswer, match="answered 200"):
            client.loop(floor.port, path, b"{}", answer + b" ", count=1)
        with pytest.raises(client.WrongAnswer, match="answered 500"):
            client.once(floor.port, path, b"{")


def test_a_server_that_cannot_start_is_said_with_what_it_said() -> None:
    with pytest.raises(servers.NotStarted, match="No module named"), servers._running(["bench.nothing"], 1, {}):
        pass


def test_percentiles_are_times_that_were_taken() -> None:
    seconds = [each / 1000 for each in range(1, 301)]
    loops = [client.Loop(seconds[::2], began=0, ended=1), client.Loop(seconds[1::2], began=0.5, ended=3)]
    assert Lap.of(loops, cpu_seconds=0.6) == Lap(p50_ms=150, p99_ms=297, per_second=100, cpu_ms=2)
    assert Lap.of([client.Loop([0.002], began=0, ended=0.5)], 0) == Lap(2, 2, 2, 0)


def test_a_candidate_is_measured_beside_a_service_without_one_and_its_calls_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [each for each in bodies.measured(datetime.now().astimezone())[0] if each.patient == "small"]
    monkeypatch.setattr(bodies, "measured", lambda now: (small[:1], {}))
    monkeypatch.setattr(client, "prepare", lambda: None)  # it turns off the collector of this process
    assert candidate.main(["--rounds", "1", "--requests", "3"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[2:-1] for line in printed.splitlines() if line.startswith("| small")]
    assert [row[1].strip() for row in rows] == ["back to back", "one each 200 ms"]
    assert all(float(figure) > 0 for row in rows for figure in row[2:])
    assert "14 judged" in printed  # three calls of each kind, twice; and the first of each
