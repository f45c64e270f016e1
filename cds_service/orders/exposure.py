"""What an order would give, so that a later version can be held against an earlier one: the same, less or more."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import msgspec

from cds_service.orders.dosage import Written
from cds_service.orders.regimen import Step

Figures = tuple[Fraction | None, ...]


class Exposure(msgspec.Struct, frozen=True):
    """An order's dosage, its amounts apart from all else. The unit in which an amount was written is in neither."""

    shape: str
    """Route, strength, repetition, cap and whatever else is no amount, in one text that is only compared."""
    amounts: tuple[Figures, ...] = ()
    """Of each step mg, mg/kg, mg/h, mg/kg/h, and the minutes over which it runs."""

    def is_no_more_than(self, earlier: Exposure) -> bool:
        """Whether no amount is higher and no step faster; False where that cannot be told."""
        if self.shape != earlier.shape or len(self.amounts) != len(earlier.amounts):
            return False
        pairs = zip(self.amounts, earlier.amounts, strict=True)
        return all(
            no_higher(now_minutes, then_minutes, lower_is_worse=True)
            and all(no_higher(n, t) for n, t in zip(now, then, strict=True))
            for (*now, now_minutes), (*then, then_minutes) in pairs
        )


def no_higher(now: Fraction | None, then: Fraction | None, lower_is_worse: bool = False) -> bool:
    """Whether a figure is the same or better; a figure beside none is not."""
    if now is None or then is None:
        return now is then
    return now >= then if lower_is_worse else now <= then


def exposure(written: Sequence[Written], steps: Sequence[Step], mg_per_ml: Fraction | None) -> Exposure:
    """The exposure of an order by its dosage instructions and the steps that they are at the patient's weight."""
    shape = [str(mg_per_ml), *(repr(_without_amounts(each)) for each in written)]
    return Exposure(
        "; ".join(shape),
        tuple((s.mg, s.mg_per_kg, s.mg_per_hour, s.mg_per_kg_per_hour, s.minutes) for s in steps),
    )


def _without_amounts(written: Written) -> tuple[object, ...]:
    """What must be the same. A start may be the moment of the draft, and a text may repeat the amounts."""
    return (
        written.sequence,
        len(written.dose),
        len(written.rate),
        written.bounds_minutes,
        written.repeat,
        written.as_needed,
        written.cap and (written.cap.amount.value, written.cap.amount.dimension, written.cap.minutes),
        written.route.kind,
        written.push,
        written.titrate,
        written.text if not written.has_amount else None,
        tuple(problem.where for problem in written.problems),
        any(amount.open_ended for amount in (*written.dose, *written.rate)),
    )
