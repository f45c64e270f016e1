"""A plot counts each order once, and an order at a limit does not lie above it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cds_service.errors import CdsError
from cds_service.retrospect import gate, plots
from cds_service.retrospect.plots import Axis


def test_an_order_at_a_limit_is_not_above_it() -> None:
    figures = [0.1, 0.3, 0.5, 0.5, 0.55]
    above = dict(plots.above(figures, Axis(end=2.0, step=0.05)))
    assert (above[0.0], above[0.1], above[0.5], above[0.55]) == (5, 4, 1, 0)


def test_every_order_stands_in_one_bar_and_what_lies_beyond_in_the_last() -> None:
    axis = Axis(end=2.0, step=0.05)
    counts = plots.bins([0.0, 0.05, 0.15, 1.99, 2.0, 60.0], axis)
    assert sum(counts) == 6
    assert (counts[0], counts[1], counts[3], counts[-1]) == (1, 1, 1, 3)


@pytest.mark.parametrize("figures", [[], [0.2], [0.5] * 300, [0.001, 900.0]])
def test_an_axis_is_made_for_whatever_was_ordered(figures: list[float]) -> None:
    axis = Axis.of(figures, [0.5, 1.0])
    assert axis.step > 0
    assert sum(plots.bins(figures, axis)) == len(figures)
    assert "<svg" in plots.curve(plots.above(figures, axis), axis, {"a <limit>": 0.5}, "mg/kg/h")
    assert "<limit>" not in plots.histogram(plots.bins(figures, axis), axis, {"a <limit>": 0.5}, "mg/kg/h")


@pytest.mark.parametrize(
    ("text", "holds"), [("failed > 0", False), ("failed>=0", True), ("failed < 1.5", True), ("failed <= -1", False)]
)
def test_a_gate_holds_as_it_is_written(text: str, holds: bool) -> None:
    assert gate.read(text).holds({"failed": Decimal(0)}) is holds


@pytest.mark.parametrize("text", ["failed", "failed = 1", "failed > a", "__import__ > 1", "failed > 1; drop"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(CdsError):
        gate.read(text)
