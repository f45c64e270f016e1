"""What the measurement of replays says: every size and policy has its row, and the law of growth is told right."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import replay
from bench.replay import Cost

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def said() -> str:
    """A short run, as anybody would start it."""
    pytest.importorskip("duckdb")
    command = [sys.executable, "-m", "bench.replay", "--short"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def rows(said: str) -> list[list[str]]:
    """The cells of each replay."""
    lines = [line for line in said.splitlines() if re.match(r"\| \d", line)]
    return [line.replace(",", "").replace("|", " ").split() for line in lines]


def test_each_size_is_replayed_by_each_number_of_policies(said: str) -> None:
    orders, judged = replay.SHORT
    expected = [(str(size), "2") for size in orders] + [(str(size), n) for size in judged for n in ("2", "3")]
    assert [(row[0], row[2]) for row in rows(said)] == expected


def test_of_a_hundred_orders_one_is_judged_or_all(said: str) -> None:
    """A few patients have a second one, which the drug's infusion left that runs already."""
    shares = [int(row[1]) / int(row[0]) for row in rows(said)]
    assert all(0.01 <= share < 0.02 for share in shares[: len(replay.SHORT[0])])
    assert all(1 <= share < 2 for share in shares[len(replay.SHORT[0]) :])


@pytest.mark.skipif(sys.platform != "linux", reason="stages and memory are read from /proc")
def test_the_stages_add_up_and_none_is_missing(said: str) -> None:
    for row in rows(said):
        *stages, processor, memory = map(float, row[4:10])
        assert all(seconds > 0 for seconds in stages[:2])
        assert sum(stages) == pytest.approx(processor, abs=0.25)
        assert 50 < memory < 2_000


def test_growth_and_the_third_policy_are_told(said: str) -> None:
    assert len(re.findall(r"grows with the power -?\d+\.\d\d", said)) == len(replay.SHORT[0]) - 1
    assert len(re.findall(r"a third policy adds -?\d+ %", said)) == len(replay.SHORT[1])


def cost(orders: int, seconds: float, policies: int = 2) -> Cost:
    return Cost(orders, orders, policies, 0.1, seconds={"load": 7.0, "read": seconds / 4, "judge": seconds * 3 / 4})


@pytest.mark.parametrize(("seconds", "power"), [((3.0, 30.0), 1.0), ((3.0, 300.0), 2.0), ((3.0, 3.0), 0.0)])
def test_the_power_is_that_of_what_is_not_loading(seconds: tuple[float, float], power: float) -> None:
    found = replay.exponent(cost(1_000, seconds[0]), cost(10_000, seconds[1]))
    assert found == pytest.approx(power)


def test_a_third_policy_is_held_against_two_of_the_same_size() -> None:
    costs = [cost(100, 3.0), cost(100, 4.5, 3), cost(200, 6.0), cost(200, 8.0, 3)]
    assert list(replay.added(costs)) == [
        "100 orders: a third policy adds 15 %, beside loading 50 %",
        "200 orders: a third policy adds 15 %, beside loading 33 %",
    ]


def test_an_export_that_was_not_finished_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "30-judged.part").mkdir()
    (tmp_path / "30-judged.part" / "Observation.ndjson").write_text("half a li", "utf-8")
    export = replay.exported(tmp_path, 30, 1.0)
    assert [each.name for each in tmp_path.iterdir()] == ["30-judged"]
    assert len((export / "Patient.ndjson").read_text("utf-8").splitlines()) == 30
    before = export.stat().st_mtime_ns
    assert replay.exported(tmp_path, 30, 1.0).stat().st_mtime_ns == before


def test_what_the_disk_cannot_hold_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--orders", str(10**12), "--judged", "--exports", str(tmp_path)]
    assert replay.main(given) == 1
    assert "GB too small" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
