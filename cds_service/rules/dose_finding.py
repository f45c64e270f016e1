"""What the dosing rules find (an amount that is past its limit), and how they look at an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import msgspec

from cds_service.orders.indication import Use
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Step
from cds_service.protocol.model import SEVERITIES, Rule, Severity
from cds_service.rules.case import Case, once
from cds_service.rules.dosing_weight import dosing_weight, reading, steps_as
from cds_service.rules.outcome import Reason
from cds_service.rules.together import Placed, placed
from cds_service.says import findings as says
from cds_service.says.orders import NO_RUN_TIME, NO_STRENGTH

How = Literal["step", "sum", "repeats", "ideal-weight", "cap"]
NO_WEIGHT = Body.of(None)
MINUTES = "min"


class Measured(msgspec.Struct, frozen=True):
    """An amount that is past a limit. `figure` and limit are in `unit`; a time that is not known has no figure."""

    figure: Fraction | None
    unit: str
    limit: str | None
    steps: tuple[Step, ...]
    how: How = "step"
    body: Body = NO_WEIGHT
    """The weights at which it was found."""
    use: str = ""
    """What the order was judged as."""
    most: Fraction | None = None
    """The number that it is past, where that is a part of the limit."""

    @property
    def step(self) -> Step:
        return self.steps[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """One tier of a rule that an amount makes fire."""

    rule: str
    tier: str
    amount: Measured


Found = tuple[list[Finding], list[Reason]]
"""What a judgement of the dose finds, and what it could not tell."""


class View(msgspec.Struct, frozen=True):
    """An order group's steps at one body, for one use of the order."""

    use: Use
    body: Body
    own: tuple[Placed, ...]
    """The steps of the order that is judged."""
    all: tuple[Placed, ...]
    """Those of its whole group."""
    kinds: frozenset[str | None]
    """Of all these steps; None where one's is not known."""


def is_session(step: Step, use: Use, case: Case) -> bool:
    """A finite dose that is judged by the rules of its use; a longer one is judged by its rate."""
    if use.session is None or not step.finite:
        return False
    return step.minutes is None or step.minutes <= case.book.minutes(use.session)


@once
def views(case: Case) -> tuple[View, ...]:
    """The order at every weight that may be the patient's, for each of its uses. Raises Late."""
    return views_at(case, dosing_weight(case).bodies if case.body is None else [case.body])


def views_at(case: Case, bodies: Sequence[Body]) -> tuple[View, ...]:
    return tuple(
        view(case, use, body) for body in case.deadline.each(bodies, "judge") for use in case.order.indication.uses
    )


def view(case: Case, use: Use, body: Body) -> View:
    own: list[Placed] = []
    everything: list[Placed] = []
    for order in case.group:
        if order is case.order:
            own = placed(order, steps_as(case, body, use.volume_is_dose))
            everything += own
        else:
            everything += placed(order, regimen(order.written, reading(case, order, body, use.volume_is_dose)))
    kinds = frozenset(each.step.kind for each in everything)
    return View(use, body, tuple(own), tuple(everything), kinds)


@once
def unread_dose(case: Case) -> Reason | None:
    """Why an order, or a part of it, has no dose that could pass."""
    unread = [w for w in case.order.written if not w.has_amount]
    if not case.order.written or len(unread) == len(case.order.written):
        return Reason("dose", says.NO_DOSE_READ)
    if unread:
        return Reason("dose", says.PART_WITHOUT_DOSE)
    return None


def why_unknown(step: Step, case: Case) -> Reason:
    """Why a figure of a step could not be computed."""
    if step.why_unknown is not None:
        return Reason("weight" if step.why_unknown == NO_RUN_TIME else "dose", step.why_unknown)
    amounts = [amount for amount in (step.dose, step.rate) if amount is not None]
    if case.order.concentration.mg_per_ml is None and any(a.dimension.startswith("volume") for a in amounts):
        return Reason("concentration", case.order.concentration.problem or NO_STRENGTH)
    return Reason("weight", says.NO_USABLE_WEIGHT)


def may_clear(step: Step, case: Case) -> Reason | None:
    """Why a step that passes may still not be called clear: words only raise."""
    if step.spoken:
        return Reason("dose", says.DOSE_IN_WORDS)
    amounts = [amount for amount in (step.dose, step.rate) if amount is not None]
    if case.order.concentration.by == "name" and any(a.dimension.startswith("volume") for a in amounts):
        return Reason("concentration", says.STRENGTH_STANDS_IN_WORDS)
    if any(amount.open_ended for amount in amounts):
        return Reason("dose", says.NO_UPPER_END)
    return None


def worst(found: Iterable[Finding], rule: Rule) -> Finding | None:
    """Of one rule, the most severe, then the largest figure (the shortest time), then a single step before a sum."""
    return min(found, key=lambda finding: _rank(finding.amount, rule.tier(finding.tier).severity), default=None)


def _rank(amount: Measured, severity: Severity) -> tuple[int, Fraction, int]:
    figure = amount.figure if amount.figure is not None else Fraction(0)
    direction = 1 if amount.unit == MINUTES else -1
    return SEVERITIES.index(severity), direction * figure, 0 if amount.how == "step" else 1
