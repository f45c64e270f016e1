"""The limits that hold for one drug on one day, as exact numbers."""

from __future__ import annotations

import calendar
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import lru_cache, partial

from cds_service import units
from cds_service.protocol.model import Limit, Protocol


class LimitBook:
    """Limits by id. A drug with a limit of its own gets that one under the general id."""

    def __init__(self, protocol: Protocol, drug: str, day: date) -> None:
        self.drug = drug
        self._limits: dict[str, Limit] = {}
        self._values: dict[str, tuple[Fraction, ...]] = {}
        for name, limit in protocol.limits.items():
            if limit.drug is None:
                self._limits[name] = limit
        for limit in protocol.limits.values():
            if limit.drug == drug and limit.stands_for is not None:
                self._limits[limit.stands_for] = limit
        self._spans: dict[str, timedelta] = {}
        self._canonical: dict[tuple[str, str], Fraction] = {}
        for name, limit in self._limits.items():
            self._values[name] = _in_force(limit, day)

    def __contains__(self, name: str) -> bool:
        return name in self._limits

    def limit(self, name: str) -> Limit:
        return self._limits[name]

    def number(self, name: str) -> Fraction:
        """The limit's number, in the unit that the entry names."""
        (value,) = self._values[name]
        return value

    def numbers(self, name: str) -> tuple[Fraction, ...]:
        return self._values[name]

    def canonical(self, name: str, dimension: str) -> Fraction:
        """The limit's number in the canonical unit of a dimension."""
        found = self._canonical.get((name, dimension))
        if found is None:
            factor = units.find(self._limits[name].unit, dimension).factor
            found = self._canonical[name, dimension] = self.number(name) * factor
        return found

    def minutes(self, name: str) -> Fraction:
        """A time limit in minutes."""
        return self.canonical(name, "time")

    def window(self, name: str, now: datetime) -> timedelta:
        """A look-back window. Months and years are counted in the calendar, back from `now`."""
        unit, number = self._limits[name].unit, self.number(name)
        if unit in ("mo", "a"):
            return now - _months_before(now, int(number) * (12 if unit == "a" else 1))
        if name not in self._spans:
            self._spans[name] = timedelta(minutes=float(self.minutes(name)))
        return self._spans[name]


def _in_force(limit: Limit, day: date) -> tuple[Fraction, ...]:
    value = limit.values[_start(limit, day)]
    return tuple(Fraction(v) for v in (value if isinstance(value, list) else [value]))


def _start(limit: Limit, day: date) -> date:
    """The latest date of a value that is not after `day`; before all of them, the first."""
    past = [start for start in limit.values if start <= day]
    return max(past) if past else min(limit.values)


def _months_before(now: datetime, months: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
    day = min(now.day, calendar.monthrange(year, month + 1)[1])
    return now.replace(year=year, month=month + 1, day=day)


class Limits:
    """The limit books of one protocol. Days between which no value changes share a book."""

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self._changes = sorted({start for limit in protocol.limits.values() for start in limit.values})
        self._books = lru_cache(maxsize=64)(partial(LimitBook, protocol))

    def book(self, drug: str, day: date) -> LimitBook:
        """The limits of a drug that are in force on a day."""
        passed = bisect_right(self._changes, day)
        return self._books(drug, self._changes[passed - 1] if passed else date.min)


def in_force_since(protocol: Protocol, day: date) -> date:
    """The day of the last change up to `day`; before all of them, of the first. What is written of the limits stays
    the same until the next one."""
    starts = {_start(limit, day) for limit in protocol.limits.values()}
    return max((start for start in starts if start <= day), default=min(starts))


def as_written(limit: Limit, day: date) -> str:
    """The value in force, as the entry writes it, for a card or a table."""
    return listed(numbers_as_written(limit, day))


def numbers_as_written(limit: Limit, day: date) -> list[str]:
    value = limit.values[_start(limit, day)]
    return [str(each) for each in (value if isinstance(value, list) else [value])]


def listed(numbers: Sequence[str]) -> str:
    """Two numbers are a range, more are a list."""
    return (" to " if len(numbers) == 2 else ", ").join(numbers)
