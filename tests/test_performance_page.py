"""The page on speed calls an aim met by the figures of the kept runs, and by nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench import before, bodies, cql
from bench.report import OURS
from docs.performance_page import Aim, aims, kept

WITH, WITHOUT = bodies.RATES
P50 = {("median", WITH): 3, ("median", WITHOUT): 2.5, ("large", WITH): 2, ("large", WITHOUT): 2}


def _at(share: float) -> tuple[dict[str, Any], cql.Run, before.Run]:
    """Runs in which everything is at so many times its aim."""
    run, engines, earlier = kept()
    for case in run["cases"]:
        for ratio in case["ratios"].values():
            ratio["p50"] = P50.get((case["size"], case["order"]), 1) * share
            ratio["p99"] = 2.5 * share
    run["memory_mb_per_worker"][OURS] = [{"Rss": 110 * share}]
    run["fallback"]["fetched and read"]["p50_ms"] = 27 * share
    costs = [msgspec.structs.replace(each, before_ms=[1.0], now_ms=[0.65 * share]) for each in earlier.costs]
    cpu_ms = {who: [1.0 if who == cql.SERVICE else 20 / share] for who in engines.cpu_ms}
    return (
        run,
        msgspec.structs.replace(engines, cpu_ms=cpu_ms),
        msgspec.structs.replace(earlier, costs=costs),
    )


def _found(run: dict[str, Any], engines: cql.Run, earlier: before.Run) -> list[Aim]:
    return list(aims(run, engines, earlier))


def test_each_aim_is_met_at_its_figure_and_not_just_above_it() -> None:
    at = _found(*_at(1))
    assert [each.met for each in at] == [True] * 9
    assert [each.met for each in _found(*_at(1.01))] == [False] * 9
    assert [each.says for each in at] == [each.says for each in _found(*kept())]


@pytest.mark.parametrize("size", bodies.SIZES)
def test_the_worst_of_several_kinds_decides_and_is_named(size: str) -> None:
    run, engines, earlier = _at(0.9)
    (case,) = (
        case
        for case in run["cases"]
        if (case["connections"], case["size"], case["order"]) == (1, size, bodies.NOT_KETAMINE)
    )
    for ratio in case["ratios"].values():
        ratio["p50"] = 1.3
    (missed,) = (each for each in _found(run, engines, earlier) if not each.met)
    assert (missed.reached, missed.where) == (1.3, f"{size} chart, {bodies.NOT_KETAMINE}")
    assert missed.row.endswith("| **not met** |")


def test_what_is_measured_beside_other_connections_decides_nothing() -> None:
    run, engines, earlier = _at(1)
    for case in run["cases"]:
        if case["connections"] > 1:
            for ratio in case["ratios"].values():
                ratio["p50"] = ratio["p99"] = 100.0
    assert all(each.met for each in _found(run, engines, earlier))
