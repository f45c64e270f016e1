"""Where the marks of the plots lie, in units of an SVG's own; the templates draw them. Colours stand in the sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from cds_service.console.words import say
from cds_service.protocol.model import SEVERITIES
from cds_service.stewardship.rates import Rate
from cds_service.stewardship.report import Row, Week

LEVELS = 4
"""Of the heat map, beside that of a day with nothing."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A rectangle, its class in the sheet, and what it says to whoever points at it."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    says: str


@dataclass(frozen=True, slots=True)
class Label:
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class Plot:
    width: float
    height: float
    marks: tuple[Mark, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Whisker:
    """A rate on a line from 0 to 100: its place, and its interval."""

    at: float
    low: float
    high: float


def calendar(days: Sequence[Row]) -> Plot:
    """A square for each day, a column for each week, Monday on top; the darker, the more cards."""
    side, gap, left, top = 16, 3, 30, 16
    most = max((day.cards for day in days), default=0)
    month, marks, labels = "", list[Mark](), list[Label]()
    first = date.fromisoformat(days[0].name) if days else date.min
    for row in days:
        day = date.fromisoformat(row.name)
        column = ((day - first).days + first.weekday()) // 7
        x, y = left + column * (side + gap), top + day.weekday() * (side + gap)
        level = -(-row.cards * LEVELS // most) if most else 0
        kind = f"heat-{level}" if row.calls else "heat-none"
        marks.append(Mark(x, y, side, side, kind, say("on-a-day", day=row.name, calls=row.calls, cards=row.cards)))
        if (name := say(f"month-{day.month}")) != month:
            if labels and x - labels[-1].x < 2 * side:
                labels.pop()  # of a month with a day or two
            labels.append(Label(x, top - 5, name))
            month = name
    for number, name in ((number, say(f"weekday-{number}")) for number in (0, 2, 4)):
        labels.append(Label(0, top + number * (side + gap) + side - 2, name))
    width = max((mark.x + side for mark in marks), default=left) + 2
    return Plot(width, top + 7 * (side + gap), tuple(marks), tuple(labels))


def weekly(weeks: Sequence[Week]) -> Plot:
    """A bar for each week, its cards by severity, the worst at the bottom."""
    height, bar, gap, left, top = 130, 22, 8, 34, 8
    most = max((sum(week.cards.values()) for week in weeks), default=0) or 1
    marks, labels = list[Mark](), [Label(0, top + 8, f"{most}"), Label(0, top + height, "0")]
    for number, week in enumerate(weeks):
        x, y = left + number * (bar + gap), float(top + height)
        for severity in SEVERITIES:
            count = week.cards.get(severity, 0)
            tall = round(count * height / most, 1)
            y -= tall
            if count:
                marks.append(Mark(x, round(y, 1), bar, tall, severity, _in_a_week(week, count, severity)))
        if number % 2 == 0:
            name = say("day-and-month", day=f"{week.monday:%d}", month=say(f"month-{week.monday.month}"))
            labels.append(Label(x, top + height + 14, name))
    return Plot(left + len(weeks) * (bar + gap) + 24, top + height + 20, tuple(marks), tuple(labels))


def _in_a_week(week: Week, count: int, severity: str) -> str:
    return say("in-a-week", monday=week.monday, number=count, severity=say(f"severity-{severity}"))


def whisker(rate: Rate) -> Whisker | None:
    """None where nothing was answered."""
    if rate.share is None:
        return None
    low, high = rate.interval
    return Whisker(round(rate.share * 100, 1), round(low * 100, 1), round(high * 100, 1))
