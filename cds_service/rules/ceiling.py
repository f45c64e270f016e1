"""The most that a rule which fired lets a part of an order give: every dose that is offered stays within it."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from cds_service.orders.regimen import FIGURES, Step

NOTHING = Fraction(0)


class Ceiling(msgspec.Struct, frozen=True):
    """At most `most`, in `unit`, of the instruction at `index`. 0 where what may be given cannot be told."""

    index: int
    unit: str
    most: Fraction
    asks: bool = True
    """Whether the rule asks for a lower dose; one that does not only binds what others ask for."""

    def left_of(self, step: Step) -> Fraction | None:
        """The part of a step that may stay, where it is not all of it. A figure that is not known is not within."""
        if step.written.index != self.index:
            return None
        figure = FIGURES[self.unit](step)
        if figure is None:
            return NOTHING
        return self.most / figure if figure > self.most else None
