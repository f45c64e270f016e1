"""The benchmark measures what it says: checked answers, bodies of the size it names, figures that add up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bench import before, bodies, candidate, client, noop, servers
from bench.client import Call
from bench.report import OURS, Lap, figures, percentile, ratios
from bench.run import _mixed
from cds_service.knowledge import Knowledge
from cds_service.settings import Settings
from cds_service.web.app import create_app

ROOT = Path(__file__).parents[1]
SIZES = {"small": (30_000, 50_000), "median": (110_000, 140_000), "large": (200_000, 300_000)}
"""Bytes of a body: from, to."""
ORDERS = [*bodies.RATES, bodies.NOT_KETAMINE]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """A short run. The program stops at the first answer that is not 200 or not the expected one."""
    command = [sys.executable, "-m", "bench.run", "--short", "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_every_kind_of_request_is_measured_on_every_target_with_each_number_of_connections(
    report: dict[str, Any],
) -> None:
    measured = [(case["connections"], case["size"], case["order"]) for case in report["cases"]]
    assert measured == [(c, size, order) for c in (1, 2) for size in SIZES for order in ORDERS]
    for case in (*report["cases"], *report["mix"]):
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
    for case in (*report["cases"], *report["mix"]):
        for of in case["targets"].values():
            assert 0 < of["p50_ms"] <= of["p99_ms"] < 30_000
            assert of["per_second"] > 0
            # Beside another connection nothing tells what one call took of the processors.
            assert ("cpu_ms" in of) == (case["connections"] == 1)
        for ratio in case["ratios"].values():
            assert 0 < ratio["p50_least"] <= ratio["p50"] <= ratio["p50_most"]
            assert ratio["p99"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="the clock of another process is read")
def test_the_processor_time_of_the_kinds_adds_up_to_that_of_all(report: dict[str, Any]) -> None:
    alone = [case for case in report["cases"] if case["connections"] == 1]
    mix = next(case for case in report["mix"] if case["connections"] == 1)
    for target, of in mix["targets"].items():
        taken = [case["targets"][target]["cpu_ms"] for case in alone]
        assert all(ms > 0 for ms in taken)
        assert sum(taken) / len(taken) == pytest.approx(of["cpu_ms"])


def test_the_fallback_waits_for_every_search_and_answers_as_if_all_had_been_sent(report: dict[str, Any]) -> None:
    fallback = report["fallback"]
    assert fallback["searches"] == 15
    assert len(fallback["orders"]) == 2  # the run stops at an answer that differs from that with prefetch
    for of in (fallback["one search"], fallback["fetched and read"], *fallback["orders"].values()):
        assert fallback["wait_ms"] <= of["p50_ms"] <= of["p99_ms"]
    for of in (fallback["fetched and read"], *fallback["orders"].values()):
        assert of["cpu_ms"] > 0


def test_what_is_added_to_a_chart_is_in_the_body_and_costs_something(report: dict[str, Any]) -> None:
    base, *grown = report["growth"]
    added = {(row["added"], row["number"]) for row in grown}
    assert {("observations", 5_000), ("medicines", 100), ("drafts of ketamine", 24)} <= added
    for row in grown:
        assert row["bytes"] > base["bytes"] + 300 * row["number"]
    for what, most in (("observations", 5_000), ("medicines", 100), ("drafts of ketamine", 24)):
        (row,) = (row for row in grown if (row["added"], row["number"]) == (what, most))
        assert row["cpu_ms"] > base["cpu_ms"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_each_worker_stays_within_its_memory(report: dict[str, Any]) -> None:
    for workers in report["memory_mb_per_worker"].values():
        assert len(workers) == report["workers"]
        assert all(0 < worker["Pss"] <= worker["Rss"] for worker in workers)
    assert max(worker["Rss"] for worker in report["memory_mb_per_worker"][OURS]) <= 150


def test_what_is_measured_are_charts_of_three_sizes_of_several_patients(knowledge: Knowledge) -> None:
    measured = bodies.measured(datetime.now().astimezone())
    of_kinds = bodies.by_kind(measured)
    assert [(kind.size, kind.order) for kind in of_kinds] == [(size, order) for size in SIZES for order in ORDERS]
    assert all(len({each.patient for each in of}) == 3 for of in of_kinds.values())
    assert [each.kind for each in bodies.one_of_each(measured)] == list(of_kinds)
    http = create_app(Settings(), knowledge).test_client()
    for each in measured:
        low, high = SIZES[each.kind.size]
        assert low < len(each.body) < high
        answer = http.post(f"/cds-services/{OURS}", data=each.body, content_type="application/json")
        assert answer.status_code == 200
        assert bool(answer.get_json()["cards"]) == (each.kind.order == "an order with cards")


def test_the_bodies_come_mixed_as_many_of_each_kind_and_all_patients() -> None:
    measured = bodies.measured(datetime.now().astimezone())
    order = _mixed(measured, 6, seed=1)
    assert Counter(order) == Counter(dict.fromkeys(range(len(measured)), 2))
    assert order == _mixed(measured, 6, seed=1) != _mixed(measured, 6, seed=2)
    assert order != sorted(order)


def test_a_wrong_answer_stops_the_run() -> None:
    with servers.noop(workers=1) as floor:
        path = noop.PATHS["no-op, msgspec"].format(size=40)
        answer = client.once(floor.port, path, b"{}")
        assert answer == noop.answer(40)
        right, wrong = Call(path, b"{}", answer), Call(path, b"[]", answer + b" ")
        assert len(client.loop(floor.port, [right] * 30).waited) == 30
        with pytest.raises(client.WrongAnswer, match="answered 200"):
            client.loop(floor.port, [right, wrong])
        with pytest.raises(client.WrongAnswer, match="answered 500"):
            client.once(floor.port, path, b"{")


@pytest.mark.skipif(sys.platform != "linux", reason="the clock of another process is read")
def test_the_processor_time_of_another_process_is_read_finely() -> None:
    work = "print(flush=True); input(); sum(range(3_000_000)); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = client.processor_seconds([process.pid])
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        worked = client.processor_seconds([process.pid])
        assert 0 < before < worked
        # Between two reads it does nothing; it has gone on by far less than a tick of 10 ms.
        assert client.processor_seconds([process.pid]) - worked < 0.005
        process.stdin.close()


def test_a_server_that_cannot_start_is_said_with_what_it_said() -> None:
    with pytest.raises(servers.NotStarted, match="No module named"), servers._running(["bench.nothing"], 1, {}):
        pass


def test_percentiles_are_times_that_were_taken() -> None:
    lap = Lap([each / 1000 for each in range(1, 301)], [], connections=2)
    found = figures([lap])
    assert (found["p50_ms"], found["p99_ms"]) == pytest.approx((150, 297))
    assert "cpu_ms" not in found
    assert percentile([0.002], 99) == percentile([0.002], 25) == 0.002


def test_the_slowest_hundredth_is_of_all_rounds_and_the_ratio_of_medians_of_each_round() -> None:
    ours = [Lap([0.004] * 99 + [0.5], [0.002] * 100, 1), Lap([0.010] * 100, [0.004] * 100, 1)]
    theirs = [Lap([0.001] * 100, [], 1), Lap([0.005] * 100, [], 1)]
    assert figures(ours) == pytest.approx(
        {"p50_ms": 7, "p99_ms": 10, "per_second": (100 / 0.896 + 100) / 2, "cpu_ms": 3}
    )
    assert ratios(ours, theirs) == pytest.approx({"p50": 3, "p50_least": 2, "p50_most": 4, "p99": 2})


def test_another_commit_is_measured_on_the_same_bodies(capsys: pytest.CaptureFixture[str]) -> None:
    assert before.main([str(ROOT), "--pairs", "1", "--laps", "1"]) == 0
    rows = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    assert [(row[0].strip(), row[1].strip()) for row in rows] == [(size, order) for size in SIZES for order in ORDERS]
    for row in rows:
        then, now, ratio = map(float, row[2:])
        assert ratio == pytest.approx(now / then, rel=0.05)


def test_a_commit_that_is_none_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert before.main(["nothing-of-that-name"]) == 2
    assert "neither a folder nor a commit" in capfd.readouterr().err


def test_a_candidate_is_measured_beside_a_service_without_one_and_its_calls_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [each for each in bodies.measured(datetime.now().astimezone()) if each.kind.size == "small"]
    monkeypatch.setattr(bodies, "measured", lambda now: small[:1])
    monkeypatch.setattr(client, "prepare", lambda: None)  # it turns off the collector of this process
    assert candidate.main(["--rounds", "1", "--requests", "3"]) == 0
    printed = capsys.readouterr().out
    rows = [line.split("|")[2:-1] for line in printed.splitlines() if line.startswith("| small")]
    assert [row[1].strip() for row in rows] == ["back to back", "one each 200 ms"]
    assert all(float(figure) > 0 for row in rows for figure in row[2:])
    assert "14 judged" in printed  # three calls of each kind, twice; and the first of each
