"""Plots as SVG inside a page: a histogram with limits drawn in, and orders above a limit wherever it is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 760, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 58, 34
BINS = 40
_LAST = 0.995
"""The part of the orders that the axis shows; what lies beyond is in the last bar."""


@dataclass(frozen=True)
class Axis:
    """From 0 to `end` in bars of `step`; both are round numbers."""

    end: float
    step: float

    @classmethod
    def of(cls, figures: Sequence[float], limits: Sequence[float]) -> Axis:
        """Wide enough for nearly all figures, and for the limits that lie near them."""
        top = figures[min(len(figures) - 1, floor(len(figures) * _LAST))] if figures else 1.0
        near = [limit for limit in limits if limit <= 2 * top]
        step = _round_up(max([top * 1.05, *(limit * 1.1 for limit in near)]) / BINS)
        return cls(step * BINS, step)

    def x(self, value: float) -> float:
        return _LEFT + min(value / self.end, 1) * (WIDTH - _LEFT - _RIGHT)


@dataclass(frozen=True)
class Words:
    """What a plot says to whoever hears or points at it, with the places of `str.format`."""

    bar: str = "{start} to {end} {unit}: {count}"
    doses: str = "Orders by dose in {unit}, with the limits"
    above: str = "Orders above a limit in {unit}, wherever it is put"


_ENGLISH = Words()


def _round_up(step: float) -> float:
    power: float = 10.0 ** floor(log10(step))
    return next(nice for each in (1, 2, 2.5, 5, 10) if (nice := each * power) >= step * (1 - 1e-9))


def bins(figures: Sequence[float], axis: Axis) -> list[int]:
    """How many figures lie in each bar; a bar holds its lower end, and the last one all beyond."""
    counts = [0] * BINS
    for figure in figures:
        counts[min(floor(figure / axis.step + 1e-9), BINS - 1)] += 1
    return counts


def above(figures: Sequence[float], axis: Axis) -> list[tuple[float, int]]:
    """(limit, orders above it) for a limit at each end of a bar."""
    made, place = [], 0
    for number in range(BINS + 1):
        limit = axis.step * number
        while place < len(figures) and figures[place] <= limit * (1 + 1e-12):
            place += 1
        made.append((round(limit, 6), len(figures) - place))
    return made


def histogram(
    counts: Sequence[int], axis: Axis, limits: Mapping[str, float], unit: str, words: Words = _ENGLISH
) -> str:
    """Bars of orders by their dose (`bins`), with the limits that stand within the axis."""
    top = max([*counts, 1])
    width = (WIDTH - _LEFT - _RIGHT) / BINS
    bars = "".join(
        f'<rect x="{_LEFT + number * width:.1f}" y="{_y(count, top):.1f}" width="{max(width - 1, 1):.1f}" '
        f'height="{_y(0, top) - _y(count, top):.1f}"><title>{escape(says)}</title></rect>'
        for number, count in enumerate(counts)
        if count
        for start, end in [(number * axis.step, (number + 1) * axis.step)]
        for says in [words.bar.format(start=f"{start:g}", end=f"{end:g}", unit=unit, count=count)]
    )
    return _svg(bars, axis, top, limits, unit, words.doses.format(unit=unit))


def curve(
    points: Sequence[tuple[float, int]],
    axis: Axis,
    limits: Mapping[str, float],
    unit: str,
    words: Words = _ENGLISH,
) -> str:
    """For every place of a limit, how many orders lie above it (`above`)."""
    top = max([count for _, count in points] + [1])
    path = " ".join(f"{axis.x(limit):.1f},{_y(count, top):.1f}" for limit, count in points)
    line = f'<polyline points="{path}" fill="none" class="curve"/>'
    return _svg(line, axis, top, limits, unit, words.above.format(unit=unit))


def _y(count: float, top: int) -> float:
    return HEIGHT - _BOTTOM - count / top * (HEIGHT - _TOP - _BOTTOM)


def _svg(inside: str, axis: Axis, top: int, limits: Mapping[str, float], unit: str, says: str) -> str:
    shown = {name: value for name, value in limits.items() if value <= axis.end}
    by_value = sorted(shown.items(), key=lambda each: each[1])
    lines = "".join(
        _limit(axis.x(value), name, 12 + number % 4 * 11) for number, (name, value) in enumerate(by_value)
    )
    marks = "".join(
        f'<text x="{axis.x(value):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{value:g}</text>'
        for value in (axis.end * part / 4 for part in range(5))
    )
    scale = "".join(
        f'<text x="{_LEFT - 6}" y="{_y(count, top) + 4:.1f}" text-anchor="end">{count}</text>'
        for count in sorted({0, ceil(top / 2), top})
    )
    ground = (
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{HEIGHT - _BOTTOM}" y2="{HEIGHT - _BOTTOM}" class="axis"/>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}">'
        f"{inside}{ground}{lines}{marks}{scale}"
        f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(unit)}</text></svg>'
    )


def _limit(x: float, name: str, y: int) -> str:
    place = f'x="{x + 3:.1f}"' if x < 0.8 * WIDTH else f'x="{x - 3:.1f}" text-anchor="end"'
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{HEIGHT - _BOTTOM}" class="limit"/>'
        f'<text {place} y="{y + 6}" class="limit">{escape(name)}</text>'
    )
