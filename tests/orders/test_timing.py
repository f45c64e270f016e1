"""`timing.read`: how long, how often and how many times, in exact minutes; of two readings the more frequent."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from cds_service.fhir.datatypes import Timing
from cds_service.orders import timing
from cds_service.orders.timing import Repeat, Times
from tests.orders.build import fhir_dosage
from tests.said import said


def _read(in_words: Fraction | None = None, **elements: Any) -> Times:
    return timing.read(fhir_dosage(timing=elements).timing or Timing(), in_words, UTC)


def _repeat(**elements: Any) -> Times:
    return _read(repeat=elements)


def test_a_duration_is_in_minutes() -> None:
    assert _repeat(duration=2, durationUnit="h").minutes == 120
    assert _repeat(durationMax=90, durationUnit="s").minutes == Fraction(3, 2)


def test_a_longest_duration_below_the_duration_contradicts_it() -> None:
    assert list(map(said, _repeat(duration=2, durationMax=1, durationUnit="h").contradictions)) == [
        "the longest duration is shorter than the duration"
    ]


@pytest.mark.parametrize("value", [0, -5])
def test_no_time_is_a_problem_of_timing(value: int) -> None:
    times = _repeat(duration=value, durationUnit="h")
    assert times.minutes is None
    assert [(p.where, p.of) for p in times.problems] == [("timing.repeat.duration", "timing")]


def test_bounds_are_a_duration_the_upper_end_of_a_range_or_a_closed_period() -> None:
    day = {"value": 1, "unit": "d", "system": "http://unitsofmeasure.org", "code": "d"}
    assert _repeat(boundsDuration=day).bounds_minutes == 1440
    assert _repeat(boundsRange={"low": day, "high": {**day, "value": 2}}).bounds_minutes == 2880
    period = {"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T12:00:00Z"}
    closed = _repeat(boundsPeriod=period)
    assert closed.bounds_minutes == 120
    assert closed.start == datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_a_period_without_an_end_is_open() -> None:
    times = _repeat(boundsPeriod={"start": "2026-11-22T10:00:00Z"})
    assert (times.bounds_minutes, times.problems) == (None, [])


def test_a_period_that_ends_before_it_starts_is_a_problem() -> None:
    times = _repeat(boundsPeriod={"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T09:00:00Z"})
    assert times.bounds_minutes is None
    assert [said(problem.says) for problem in times.problems] == ["it ends before it starts"]


@pytest.mark.parametrize(
    ("repeat", "interval"),
    [
        ({"frequency": 1, "period": 6, "periodUnit": "h"}, 360),
        ({"frequency": 3, "period": 1, "periodUnit": "d"}, 480),
        ({"frequency": 1, "frequencyMax": 4, "period": 1, "periodUnit": "d"}, 360),
        ({"frequency": 1, "period": 6, "periodMax": 8, "periodUnit": "h"}, 360),
    ],
)
def test_the_interval_is_the_shortest_that_the_period_allows(repeat: dict[str, Any], interval: int) -> None:
    assert _repeat(**repeat).repeat.interval == interval


def test_named_times_of_the_day_count_each_and_the_shortest_gap_is_the_interval() -> None:
    repeat = _repeat(timeOfDay=["08:00:00", "12:00:00", "22:00:00"]).repeat
    assert (repeat.interval, repeat.per_week) == (240, 21)


def test_days_of_the_week_give_as_many_doses_a_week() -> None:
    repeat = _repeat(frequency=2, period=1, periodUnit="d", dayOfWeek=["mon", "wed", "fri"]).repeat
    assert (repeat.interval, repeat.per_week) == (720, 6)


@pytest.mark.parametrize(("code", "interval"), [("BID", 720), ("Q6H", 360), ("qd", 1440)])
def test_a_code_says_how_often(code: str, interval: int) -> None:
    assert _read(code={"coding": [{"code": code}]}).repeat.interval == interval


def test_a_code_for_once_is_one_dose() -> None:
    assert _read(code={"text": "STAT"}).repeat == Repeat(count=1)


def test_once_beside_a_repeat_is_said_and_the_repeat_counts() -> None:
    times = _read(code={"text": "STAT"}, repeat={"frequency": 1, "period": 6, "periodUnit": "h"})
    assert times.repeat.interval == 360
    assert list(map(said, times.contradictions)) == [
        "it is to be given once and to be repeated; the repeats are judged"
    ]


def test_of_two_statements_the_more_frequent_counts_and_it_is_said() -> None:
    times = _read(in_words=Fraction(60), repeat={"frequency": 1, "period": 6, "periodUnit": "h"})
    assert times.repeat.interval == 60
    assert list(map(said, times.contradictions)) == [
        "how often it is given is said in two ways; the more frequent is judged"
    ]


def test_a_count_without_how_often_cannot_be_read() -> None:
    times = _repeat(count=4)
    assert times.repeat.unreadable
    assert [said(problem.says) for problem in times.problems] == ["4 doses are to be given, and not how often"]


def test_events_are_doses_with_the_shortest_gap_between_them() -> None:
    times = _read(event=["2026-11-22T10:00:00Z", "2026-11-22T16:00:00Z", "2026-11-22T18:00:00Z"])
    assert (times.repeat.interval, times.repeat.count) == (120, 3)
    assert times.start == datetime(2026, 11, 22, 10, tzinfo=UTC)


def test_words_in_the_place_of_a_code_are_read_and_the_place_is_said() -> None:
    times = _read(code={"text": "every 4 hours"})
    assert times.repeat.interval == 240
    (problem,) = times.problems
    assert "is no code that says how often, read as every 240 min" in said(problem.says)
