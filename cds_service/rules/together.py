"""What is given together: which steps of an order group start within a span, and what they add up to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from fractions import Fraction

import msgspec

from cds_service.deadline import give_way
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.regimen import Step
from cds_service.orders.route import UNSTATED

_AS_ONE = frozenset({"intravenous", "intraosseous", UNSTATED})


class Placed(msgspec.Struct, frozen=True):
    """A step of an order with its start: `at` minutes after the order's beginning, None where it is not known."""

    order: KetamineOrder
    step: Step
    at: Fraction | None

    @property
    def moment(self) -> datetime | None:
        return self.step.written.start

    @property
    def ends(self) -> bool:
        """Whether its end is known, so that a later sequence follows it."""
        return self.step.finite


def placed(order: KetamineOrder, steps: Sequence[Step]) -> list[Placed]:
    """The steps of one order on its time line: a later `sequence` follows the end of the one before."""
    return [Placed(order, step, at) for step, at in begins(steps)]


def begins(steps: Sequence[Step]) -> list[tuple[Step, Fraction | None]]:
    """Each step with the minutes after which it starts; None where an end before it is not known."""
    at: Fraction | None = Fraction(0)
    result: list[tuple[Step, Fraction | None]] = []
    for sequence in sorted({step.written.sequence or 0 for step in steps}):
        level = [step for step in steps if (step.written.sequence or 0) == sequence]
        result += [(step, at) for step in level]
        if at is not None:
            ends = [step.minutes or Fraction(0) if step.finite else None for step in level]
            longest = [end for end in ends if end is not None]
            at = at + max(longest) if len(longest) == len(ends) else None
    return result


def minutes_between(first: Placed, later: Placed) -> Fraction | None:
    """From one start to the other, negative where `later` comes first. None where it is not known."""
    if first.moment is not None and later.moment is not None:
        return Fraction(round((later.moment - first.moment).total_seconds()), 60)
    if first.order is not later.order:
        return Fraction(0)
    if first.at is None or later.at is None:
        return None
    return later.at - first.at


def by_route(steps: Sequence[Placed]) -> list[list[Placed]]:
    """The steps of each route; intravenous, intraosseous and unstated are one (4a)."""
    found: dict[str, list[Placed]] = {}
    for each in steps:
        kind = each.step.route.kind
        found.setdefault(UNSTATED if kind in _AS_ONE else kind, []).append(each)
    return list(found.values())


def starting_within(steps: Sequence[Placed], span: Fraction) -> list[list[Placed]]:
    """For each step, it and those that start less than `span` minutes after it; unknown starts count as within."""
    return [[other for other in steps if _is_within(anchor, other, span)] for anchor in steps]


def _is_within(anchor: Placed, other: Placed, span: Fraction) -> bool:
    if other is anchor:
        return True
    gap = minutes_between(anchor, other)
    return gap is None or 0 <= gap < span


def running_together(steps: Sequence[Placed]) -> list[list[Placed]]:
    """For each continuous step, it and those that can run while it does."""
    return [[other for other in steps if other is anchor or _overlap(anchor, other)] for anchor in steps]


def _overlap(a: Placed, b: Placed) -> bool:
    if a.moment is not None and b.moment is not None:
        first, second = (a, b) if a.moment <= b.moment else (b, a)
        if not first.ends or first.step.minutes is None:
            return True
        gap = minutes_between(first, second)
        return gap is None or gap < first.step.minutes
    if a.order is not b.order or a.step.written.sequence is None or b.step.written.sequence is None:
        return True
    if a.step.written.sequence == b.step.written.sequence:
        return True
    earlier = min((a, b), key=lambda placed: placed.step.written.sequence or 0)
    return not earlier.ends


def doses_within(step: Step, span: Fraction) -> int:
    """How many scheduled doses of one step start within any `span` minutes; an as-needed one counts once."""
    repeat = step.written.repeat
    if repeat.interval is None or step.written.as_needed:
        return 1
    doses = math.ceil(span / repeat.interval)
    return min(doses, repeat.count) if repeat.count else max(doses, 1)


def total(
    steps: Iterable[Placed], figure: Callable[[Step], Fraction | None], times: Callable[[Step], int] = lambda _: 1
) -> Fraction | None:
    """The sum of a figure, None where one of them is not known."""
    give_way()
    amount = Fraction(0)
    for each in steps:
        value = figure(each.step)
        if value is None:
            return None
        amount += value * times(each.step)
    return amount
