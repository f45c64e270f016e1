"""FHIR dates: partial ones, ones without a zone, and how old each is at a given moment."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Self

import msgspec

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?$")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}")
_YEARS = range(1800, 2300)  # outside it the calendar's own arithmetic overflows
ONE_DAY = timedelta(days=1)


class When(msgspec.Struct, frozen=True, gc=False):
    """A moment, or the days between which it lies. `date_only` values are counted in whole days."""

    earliest: datetime
    latest: datetime
    placed: datetime
    """Where it stands in an order of dates: a coarse one where it is as old as it may be."""
    text: str
    date_only: bool = False
    is_coarse: bool = False
    """Only a month or a year: which of several is the newest cannot be told from it."""

    def age(self, now: datetime) -> timedelta:
        """How long ago, at the least. Date-only values count whole days; today is 0."""
        if self.date_only:
            return max(self._today(now) - self.latest.date(), timedelta(0))
        return now - self.latest

    def age_at_most(self, now: datetime) -> timedelta:
        """How long ago, at the most: differs from `age` only where the day is not given."""
        if self.date_only:
            return self._today(now) - self.earliest.date()
        return now - self.earliest

    def is_future(self, now: datetime, tolerance: timedelta) -> bool:
        """After `now`, by more than clocks differ."""
        if self.date_only:
            return self.earliest.date() > self._today(now)
        return self.earliest > now + tolerance

    def _today(self, now: datetime) -> date:
        """The date at `now` in the zone in which this date was written."""
        return now.astimezone(self.earliest.tzinfo).date()

    def day(self) -> date:
        return self.latest.date()

    def __lt__(self, other: Self) -> bool:
        return self.latest < other.latest


def parse(text: str | None, zone: tzinfo) -> When | None:
    """The FHIR date, dateTime or instant `text`; `zone` where it names none. None when it cannot be read."""
    if not text:
        return None
    text = text.strip()
    try:
        if not _DATE_TIME.match(text):
            partial = _PARTIAL.match(text)
            return _days(text, partial, zone) if partial else None
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.year not in _YEARS:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return When(moment, moment, moment, text)


def _days(text: str, partial: re.Match[str], zone: tzinfo) -> When | None:
    year, month, day = (int(part) if part else None for part in partial.groups())
    assert year is not None
    if year not in _YEARS:
        return None
    # Some feeds write 00 for a month or day that is not known.
    first = date(year, month or 1, day or 1)
    last_month = month or 12
    last = date(year, last_month, day or monthrange(year, last_month)[1])
    start, end = datetime.combine(first, time.min, zone), datetime.combine(last, time.max, zone)
    return When(start, end, end if first == last else start, text, date_only=True, is_coarse=first != last)


def years_between(birth: date, day: date) -> int:
    """Completed years."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def months_between(birth: date, day: date) -> int:
    """Completed months."""
    return (day.year - birth.year) * 12 + day.month - birth.month - (day.day < birth.day)
