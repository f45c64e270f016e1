"""One ketamine order in its setting: what every rule reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cached_property, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from cds_service.chart.chart import Chart
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.regimen import Conventions
from cds_service.protocol.limits import LimitBook, Limits
from cds_service.protocol.model import Limit, Protocol
from cds_service.terminology.valuesets import ValueSets

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Case:
    """`companions` are all ketamine orders of the request, this one among them."""

    order: KetamineOrder
    companions: Sequence[KetamineOrder]
    chart: Chart
    protocol: Protocol
    limits: Limits
    valuesets: ValueSets
    signing: bool
    """order-sign: the order must be complete. At order-select a dose may still be missing."""
    _once: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def now(self) -> datetime:
        return self.chart.now

    @cached_property
    def book(self) -> LimitBook:
        """The limits of this order's drug."""
        return self.limits.book(self.order.drug, self.now.date())

    @cached_property
    def conventions(self) -> Conventions:
        return Conventions(
            bolus_minutes=self.number("bolus-minutes"),
            continuous_minutes=self.number("continuous-minutes"),
            tolerance=self.number("contradiction-tolerance") / 100,
        )

    @cached_property
    def group(self) -> list[KetamineOrder]:
        """The orders of this one's order group, itself among them."""
        if self.order.group is None:
            return [self.order]
        return [other for other in self.companions if other.group == self.order.group]

    def number(self, limit: str) -> Fraction:
        return self.book.number(limit)

    def limit(self, name: str) -> Limit:
        return self.book.limit(name)


def once(function: Callable[Concatenate[Case, P], T]) -> Callable[Concatenate[Case, P], T]:
    """Many rules ask the same of a case: the answer is computed once. A changed copy of a case asks anew."""

    @wraps(function)
    def remembered(case: Case, /, *arguments: P.args, **named: P.kwargs) -> T:
        asked = (function, *arguments, *named.items())
        if asked not in case._once:
            case._once[asked] = function(case, *arguments, **named)
        answer: T = case._once[asked]
        return answer

    return remembered
