"""What an order gives together with the others of its drug in the worst hour to come: doses, rates and rescue."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import msgspec

from cds_service import bounds
from cds_service.deadline import NEVER, Deadline
from cds_service.orders.regimen import MINUTES_PER_HOUR, Step, mass
from cds_service.rules.case import Case, once
from cds_service.rules.dosing_weight import reading, steps_at
from cds_service.rules.other_orders import Other, lightest, other_orders
from cds_service.rules.together import begins

_HOUR = Fraction(MINUTES_PER_HOUR)
_NOW = Fraction(0)
_MINUTE = Fraction(1)


class Part(msgspec.Struct, frozen=True):
    """What gives the drug from `start` on (minutes from now): a rate until `end`, or mg at once, `every` so often."""

    start: Fraction
    mg: Fraction = Fraction(0)
    mg_per_hour: Fraction = Fraction(0)
    end: Fraction | None = None
    every: Fraction | None = None
    count: int | None = None
    hour_cap: Fraction | None = None
    """mg that its own maximum allows in an hour."""
    own: bool = False
    """Whether the order that is judged gives it."""
    scales: bool = True
    """Whether a lower dose gives less in the hour; of doses as needed without an interval only the maximum counts."""

    @property
    def is_once(self) -> bool:
        return not self.mg_per_hour and self.every is None and self.hour_cap is None

    def within_hour(self, begin: Fraction) -> Fraction:
        """mg in the hour from `begin` on, whatever its own maximum."""
        ends = begin + _HOUR if self.end is None else min(self.end, begin + _HOUR)
        if self.mg_per_hour:
            return self.mg_per_hour * max(ends - max(self.start, begin), _NOW) / _HOUR
        if self.every is None:
            return self.mg if begin <= self.start < begin + _HOUR else _NOW
        doses = math.ceil(max(ends - max(self.start, begin), _NOW) / self.every)
        return self.mg * (doses if self.count is None else min(doses, self.count))

    def capped(self, begin: Fraction) -> Fraction:
        """mg in the hour from `begin` on."""
        mg = self.within_hour(begin)
        return mg if self.hour_cap is None else min(mg, self.hour_cap)


class WorstHour(msgspec.Struct, frozen=True):
    """The most mg in any hour that the order takes part in."""

    mg: Fraction | None
    """None where a dose is not known."""
    hours: tuple[tuple[Fraction, Fraction], ...] = ()
    """(mg of the order's own doses, mg of all else) of each hour that may be the worst."""

    def part_within(self, mg: Fraction) -> Fraction:
        """The part of the order's own doses at which no hour comes to more."""
        parts = (max(mg - others, _NOW) / own if own else _NOW for own, others in self.hours if own + others > mg)
        return min(parts, default=Fraction(1))


@once
def worst_hour(case: Case, routes: tuple[str, ...]) -> WorstHour | None:
    """What comes by these routes. None where the rules of the dose judge it: single doses, and one order without
    doses as needed beside its rate (a loading dose and its infusion are one regimen).
    """
    beside = [part for other in other_orders(case) for part in _of_other(case, other, routes)]
    if not (beside or is_pca(case)):
        return None
    own = list(_parts(case, steps_at(case, lightest(case)), routes, own=True))
    if not own:
        return None
    known = [part for part in (*own, *beside) if part is not None]
    if len(known) < len(own) + len(beside) or len(known) > bounds.PARTS:
        return WorstHour(None)
    if all(part.is_once for part in known):
        return None
    return worst_of(known, case.deadline)


def worst_of(parts: Sequence[Part], deadline: Deadline = NEVER) -> WorstHour:
    """The worst hour from now on: one that begins or ends where a part does. Raises Late."""
    starts = {part.start for part in parts} | {part.start - _HOUR + _MINUTE for part in parts}
    starts |= {part.end - _HOUR for part in parts if part.end is not None}
    hours, most = [], _NOW
    for begin in deadline.each(sorted({max(start, _NOW) for start in starts}), "judge"):
        if not any(part.own and part.within_hour(begin) for part in parts):
            continue
        most = max(most, sum((part.capped(begin) for part in parts), _NOW))
        scaled = sum((part.within_hour(begin) for part in parts if part.own and part.scales), _NOW)
        rest = sum((part.capped(begin) for part in parts if not (part.own and part.scales)), _NOW)
        hours.append((scaled, rest))
    return WorstHour(most, tuple(hours))


def mg_per_hour_beside(case: Case, routes: Sequence[str]) -> Fraction:
    """mg/h of the other infusions of the drug, as far as they are known."""
    parts = [part for other in other_orders(case) for part in _of_other(case, other, routes)]
    return sum((part.mg_per_hour for part in parts if part is not None), _NOW)


def is_pca(case: Case) -> bool:
    """Whether the order gives doses as needed beside a rate of its own."""
    steps = steps_at(case, lightest(case))
    return any(s.written.as_needed and s.finite for s in steps) and any(s.kind == "continuous" for s in steps)


def _of_other(case: Case, other: Other, routes: Sequence[str]) -> Iterator[Part | None]:
    if not other.of_drug:
        return
    if other.mg_per_hour is not None:
        yield Part(_NOW, mg_per_hour=other.mg_per_hour)
    elif not other.steps:
        yield None
    yield from _parts(case, other.steps, routes, own=False)


def _parts(case: Case, steps: Sequence[Step], routes: Sequence[str], own: bool) -> Iterator[Part | None]:
    """None for a step whose dose is not known."""
    for step, at in begins(steps):
        if step.route.kind not in routes:
            continue
        written = step.written
        start = at or _NOW
        if written.start is not None:
            start = Fraction(round((written.start - case.now).total_seconds()), 60)
        if step.kind == "continuous":
            ends = step.finite and at is not None and step.minutes is not None and written.repeat.interval is None
            end = start + step.minutes if ends and step.minutes is not None else None
            rate = step.mg_per_hour
            yield Part(start, mg_per_hour=rate, end=end, own=own) if rate is not None else None
        elif step.mg is None or step.kind is None:
            yield None
        elif start >= _NOW or written.repeat.interval is not None:
            every, cap = written.repeat.interval, _hour_cap(case, step, own)
            by_cap = written.as_needed and every is None and cap is not None
            mg = cap if by_cap and cap is not None else step.mg
            yield Part(start, mg, every=every, count=written.repeat.count, hour_cap=cap, own=own, scales=not by_cap)


def _hour_cap(case: Case, step: Step, own: bool) -> Fraction | None:
    """mg that a step's own maximum allows in an hour. Of another order's the strength is not known here."""
    cap = step.written.cap
    if cap is None or (cap.amount.dimension == "volume" and not own):
        return None
    mg = mass(cap.amount, reading(case, case.order, lightest(case)))[0]
    return mg * math.ceil(_HOUR / cap.minutes) if mg is not None else None
