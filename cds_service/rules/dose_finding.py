"""What the dosing rules find (a limit that is passed, or why that cannot be told), and how they look at an order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import msgspec

from cds_service.orders.draft import KetamineOrder
from cds_service.orders.instructions import regimen
from cds_service.orders.regimen import Body, Step
from cds_service.protocol.model import SEVERITIES, Severity
from cds_service.rules.case import Case
from cds_service.rules.dosing_weight import reading, steps_as
from cds_service.rules.outcome import Reason
from cds_service.rules.together import Placed, placed

Use = Literal["analgesic", "depression", "procedural"]
NO_WEIGHT = Body.of(None)


@dataclass(frozen=True, slots=True)
class Finding:
    """One limit that one dose passes. `figure` and the limit are in `unit`."""

    rule: str
    tier: str
    figure: Fraction | None
    unit: str
    limit: str | None
    steps: tuple[Step, ...]
    how: Literal["step", "sum", "repeats", "ideal-weight", "cap"] = "step"
    body: Body = NO_WEIGHT
    """The weights at which it was found."""

    @property
    def step(self) -> Step:
        return self.steps[0]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why a rule could not be told for a step."""

    rule: str
    reason: Reason


class View(msgspec.Struct, frozen=True):
    """An order group's steps at one body, for one use of the order."""

    use: Use
    body: Body
    own: tuple[Placed, ...]
    """The steps of the order that is judged."""
    all: tuple[Placed, ...]
    """Those of its whole group."""


def uses(order: KetamineOrder) -> list[Use]:
    """As what an order is judged; pain and depression together as both."""
    if order.indication.is_procedural:
        return ["procedural"]
    found: list[Use] = []
    if order.indication.is_analgesic:
        found.append("analgesic")
    if order.indication.is_depression:
        found.append("depression")
    return found


def view(case: Case, use: Use, body: Body) -> View:
    own: list[Placed] = []
    everything: list[Placed] = []
    for order in case.group:
        if order is case.order:
            own = placed(order, steps_as(case, body, use == "depression"))
            everything += own
        else:
            everything += placed(order, regimen(order.written, reading(case, order, body, use == "depression")))
    return View(use, body, tuple(own), tuple(everything))


Result = Finding | Doubt


def why_unknown(step: Step, case: Case) -> Reason:
    """Why a figure of a step could not be computed."""
    if step.why_unknown is not None:
        return Reason("weight" if "weight" in step.why_unknown else "dose", step.why_unknown)
    amounts = [amount for amount in (step.dose, step.rate) if amount is not None]
    if case.order.concentration.mg_per_ml is None and any(a.dimension.startswith("volume") for a in amounts):
        return Reason("concentration", case.order.concentration.problem or "no strength is given")
    return Reason("weight", "there is no usable weight")


def may_clear(step: Step, case: Case) -> Reason | None:
    """Why a step that passes may still not be called clear: words only raise."""
    if step.spoken:
        return Reason("dose", "the dose stands in words alone")
    if case.order.concentration.by == "name" and any(
        amount is not None and amount.dimension.startswith("volume") for amount in (step.dose, step.rate)
    ):
        return Reason("concentration", "the strength stands in words alone")
    if any(amount is not None and amount.open_ended for amount in (step.dose, step.rate)):
        return Reason("dose", "the range has no upper end")
    return None


def routed(case: Case, limit: str, steps: Sequence[Placed]) -> list[Placed]:
    """The steps by a route that the limit applies to."""
    routes = case.limit(limit).routes
    return [each for each in steps if each.step.route.kind in routes]


def worst(found: Sequence[Finding], severity: Callable[[Finding], Severity]) -> dict[str, Finding]:
    """One finding per rule: the most severe, then the largest figure, then a single step before a sum."""
    best: dict[str, Finding] = {}
    for finding in found:
        held = best.get(finding.rule)
        if held is None or _rank(finding, severity) < _rank(held, severity):
            best[finding.rule] = finding
    return best


def _rank(finding: Finding, severity: Callable[[Finding], Severity]) -> tuple[int, Fraction, int]:
    figure = finding.figure if finding.figure is not None else Fraction(0)
    direction = 1 if finding.unit == "min" else -1
    return SEVERITIES.index(severity(finding)), direction * figure, 0 if finding.how == "step" else 1
