"""When and how often a dose is given, as it was written: run time, bounds, repeats, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, tzinfo
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from cds_service import units
from cds_service.fhir import dates
from cds_service.fhir.datatypes import Quantity, Timing, TimingRepeat
from cds_service.orders import often
from cds_service.says import Said, Says
from cds_service.says import orders as says

_DAY = Fraction(1440)
_WEEK = 7 * _DAY


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something of a dosage cannot be read; `where` is its FHIR path below the dosage."""

    where: str
    says: Says
    of: Literal["amount", "timing"] = "amount"


@dataclass(frozen=True, slots=True)
class Repeat:
    """How often a dose is repeated: `interval` minutes between doses, the fewest where they are not even."""

    interval: Fraction | None = None
    count: int | None = None
    unreadable: bool = False
    in_a_week: Fraction | None = None
    """Doses in seven days, where that does not follow from the interval."""

    @property
    def per_week(self) -> Fraction | None:
        if self.in_a_week is not None:
            return self.in_a_week
        return _WEEK / self.interval if self.interval else None


@dataclass(slots=True)
class Times:
    """What a Timing says. `minutes` and `bounds_minutes` are None where it does not say."""

    minutes: Fraction | None = None
    bounds_minutes: Fraction | None = None
    start: datetime | None = None
    repeat: Repeat = Repeat()
    problems: list[Problem] = field(default_factory=list)
    contradictions: list[Said] = field(default_factory=list)

    def refuse(self, where: str, why: Says) -> None:
        self.problems.append(Problem(f"timing.{where}" if where else "timing", why, "timing"))


def read(timing: Timing, in_words: Fraction | None, zone: tzinfo) -> Times:
    """The timing of a dosage; `in_words` is the interval (minutes) that the words beside it name.

    Never raises. Of several statements that do not agree the one with the most doses counts.
    """
    times = Times()
    repeat = timing.repeat or TimingRepeat()
    times.minutes = _duration(repeat, times)
    _bounds(repeat, times, zone)
    if times.start is None and timing.event:
        event = dates.parse(timing.event[0], zone)
        times.start = event.earliest if event else None
    times.repeat = _repeat(timing, repeat, in_words, times, zone)
    return times


def _length(value: object, unit: str | None, where: str, times: Times) -> Fraction | None:
    """Minutes of a time that is above zero; what else is given is a problem."""
    if value is None:
        return None
    try:
        minutes = units.quantity(str(value), unit or "", "time").value
    except units.UnitError as error:
        times.refuse(where, error.says)
        return None
    if minutes <= 0:
        times.refuse(where, says.NO_TIME(str(value)))
        return None
    return minutes


def _duration(repeat: TimingRepeat, times: Times) -> Fraction | None:
    usual = _length(repeat.duration, repeat.duration_unit, "repeat.duration", times)
    most = _length(repeat.duration_max, repeat.duration_unit, "repeat.durationMax", times)
    if usual is not None and most is not None and most < usual:
        times.contradictions.append(says.LONGEST_DURATION_SHORTER)
    return usual if usual is not None else most


def _bounds(repeat: TimingRepeat, times: Times, zone: tzinfo) -> None:
    """Bounds in minutes, and their start. A period without an end is open."""
    if repeat.bounds_range is not None:
        low, high = (_bound(end, times) for end in (repeat.bounds_range.low, repeat.bounds_range.high))
        if low is not None and high is not None and low > high:
            times.contradictions.append(says.BOUNDS_CROSSED)
        times.bounds_minutes = max(low, high) if low is not None and high is not None else high
    if repeat.bounds_duration is not None:
        times.bounds_minutes = _bound(repeat.bounds_duration, times)
    period = repeat.bounds_period
    start = dates.parse(period.start, zone) if period else None
    end = dates.parse(period.end, zone) if period else None
    times.start = start.earliest if start else None
    if start and end and end.latest <= start.earliest:
        times.refuse("repeat.boundsPeriod", says.ENDS_BEFORE_START)
    elif times.bounds_minutes is None and start and end:
        times.bounds_minutes = Fraction(round((end.latest - start.earliest).total_seconds()), 60)


def _bound(given: Quantity | None, times: Times) -> Fraction | None:
    if given is None or given.value is None:
        return None
    texts = [text for text in (given.code, given.unit) if text and units.is_of(text, "time")]
    found = [_length(given.value, text, "repeat.bounds[x]", times) for text in texts or [given.unit_text or ""]]
    lengths = [each for each in found if each is not None]
    if len(set(lengths)) > 1:
        times.contradictions.append(says.BOUNDS_UNIT_AND_CODE(str(given.unit), str(given.code)))
    return max(lengths, default=None)


def _repeat(timing: Timing, repeat: TimingRepeat, in_words: Fraction | None, times: Times, zone: tzinfo) -> Repeat:
    counts = [each for each in (repeat.count, repeat.count_max) if each is not None]
    if any(each < 1 for each in counts):
        times.refuse("repeat.count", says.NO_NUMBER_OF_DOSES(str(min(counts))))
    count = max((each for each in counts if each > 0), default=None)
    before = len(times.problems)
    named = _named(repeat, times)
    by_code, once = _by_code(timing, times)
    stated = [_by_period(repeat, once, times), by_code, named, _events(timing.event, times, zone)]
    unreadable = len(times.problems) > before
    found = [each for each in stated if each is not None]
    if in_words is not None:
        found.append((in_words, None))
    if once and found:
        times.contradictions.append(says.ONCE_AND_REPEATED)
    elif len({per_week or _WEEK / interval for interval, per_week in found}) > 1 and not _agree(found, named):
        times.contradictions.append(says.TWO_FREQUENCIES)
    if not found:
        if count is None and len(timing.event) > 1:
            count = len(timing.event)
        if once and not unreadable:
            return Repeat(count=1)
        if not unreadable and (count or 1) > 1 and not timing.event:
            times.refuse("repeat", says.COUNT_WITHOUT_INTERVAL(str(count)))
            unreadable = True
        return Repeat(count=count, unreadable=unreadable)
    if count is None and found == [stated[3]]:
        count = len(timing.event)
    weekly = max(per_week or _WEEK / interval for interval, per_week in found)
    interval = min(interval for interval, _ in found)
    uneven = weekly if any(per_week is not None for _, per_week in found) else None
    return Repeat(interval, count, unreadable, uneven)


_Often = tuple[Fraction, Fraction | None]
"""(minutes between two doses, doses in a week where they do not follow from it)."""


def _agree(found: Sequence[_Often], named: _Often | None) -> bool:
    """Named times and days are within a period that does not give more doses than they do."""
    if named is None:
        return False
    most = named[1] or _WEEK / named[0]
    return all(per_week is not None or _WEEK / interval <= most for interval, per_week in found)


def _by_period(repeat: TimingRepeat, once: bool, times: Times) -> _Often | None:
    given = [each for each in (repeat.frequency, repeat.frequency_max) if each is not None]
    if any(each < 1 for each in given):
        times.refuse("repeat.frequency", says.NO_NUMBER_OF_DOSES(str(min(given))))
        return None
    frequency = max(given, default=1)
    if repeat.period is None and repeat.period_max is None:
        if not (repeat.time_of_day or repeat.day_of_week or repeat.when) and (frequency > 1 or repeat.period_unit):
            times.refuse("repeat", says.TIMES_WITHOUT_PERIOD(str(frequency)))
        return None
    before = len(times.problems)
    read = [
        _length(value, repeat.period_unit, f"repeat.{name}", times)
        for name, value in (("period", repeat.period), ("periodMax", repeat.period_max))
    ]
    if len(times.problems) > before:
        return None
    periods = [each for each in read if each is not None]
    if len(periods) == 2 and periods[1] < periods[0]:
        times.contradictions.append(says.LONGEST_PERIOD_SHORTER)
    interval = min(periods) / frequency
    if interval < often.SHORTEST:
        if not once:
            times.refuse("repeat.period", says.NO_INTERVAL(str(frequency), str(min(periods) * 60)))
        return None
    return _on_days(repeat, interval, frequency)


def _on_days(repeat: TimingRepeat, interval: Fraction, frequency: int) -> _Often:
    """Doses of each day on some days of the week only; of a longer period all."""
    days = len(set(repeat.day_of_week))
    if not days or interval * frequency > _DAY:
        return interval, None
    return interval, _DAY / interval * days


def _named(repeat: TimingRepeat, times: Times) -> _Often | None:
    """Times of the day, meals and days of the week: each is one dose."""
    days = len(set(repeat.day_of_week))
    clock = sorted(set(filter(None, map(_minute, repeat.time_of_day))))
    if len(clock) < len(set(repeat.time_of_day)):
        times.refuse("repeat.timeOfDay", says.TIME_UNREAD)
    in_a_day = max(len(set(repeat.time_of_day)), len(set(repeat.when)))
    if not in_a_day:
        return (_WEEK / days, None) if days else None
    gaps = [later - earlier for earlier, later in pairwise(clock)]
    if len(clock) > 1:
        gaps.append(clock[0] + _DAY - clock[-1])
    return min(gaps, default=_DAY / in_a_day), Fraction(in_a_day * (days or 7))


def _minute(text: str) -> Fraction | None:
    """Minutes since midnight, a moment after it so that midnight counts."""
    try:
        at = time.fromisoformat(text)
    except ValueError:
        return None
    return Fraction(at.hour * 60 + at.minute + 1) + Fraction(at.second, 60)


def _by_code(timing: Timing, times: Times) -> tuple[_Often | None, bool]:
    """(by the most frequent of the codes and words, whether they say once)."""
    if timing.code is None:
        return None, False
    said = list(dict.fromkeys([*(c.code for c in timing.code.coding if c.code), *timing.code.words]))
    known = [each for word in said if (each := often.by_code(word)) is not None]
    worded = [each for word in said if often.by_code(word) is None and (each := often.interval(word)) is not None]
    once = any(often.is_once(word) for word in said)
    if len(set(known)) > 1 or (known and any(each not in known for each in worded)):
        times.contradictions.append(says.TWO_CODES)
    if not known and said and not once:
        name = timing.code.name or said[0]
        times.refuse("code", says.NO_CODE_READ_AS(name, str(min(worded))) if worded else says.NO_CODE(name))
    return ((min(known + worded), None) if known or worded else None), once


def _events(events: Sequence[str], times: Times, zone: tzinfo) -> _Often | None:
    """Named moments: the shortest gap between two of them counts."""
    if len(events) < 2:
        return None
    found = sorted(when.earliest for text in events if (when := dates.parse(text, zone)))
    if len(found) < len(events):
        times.refuse("event", says.MOMENT_UNREAD)
        return None
    gap = min((later - earlier).total_seconds() for earlier, later in pairwise(found))
    return Fraction(max(round(gap), 1), 60), None
