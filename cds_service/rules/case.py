"""One ketamine order in its setting: what every rule reads."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import wraps
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeVar

from cds_service.chart.chart import Chart
from cds_service.deadline import Deadline
from cds_service.lazy import cached_property
from cds_service.orders import words
from cds_service.orders.draft import KetamineOrder
from cds_service.orders.regimen import Body, Conventions
from cds_service.orders.terms import Terms
from cds_service.protocol.limits import LimitBook, Limits
from cds_service.protocol.model import Hook, Limit, Protocol, Rule
from cds_service.rules import alike
from cds_service.rules.alike import Known
from cds_service.says import Says
from cds_service.terminology.identity import Identity
from cds_service.terminology.valuesets import ValueSets

LABELLED, UNREAD_DOSE = "labelled", "unread dose"
"""In `Case.on_record`: whether it is the labelled nasal product; that the order has a dose that cannot be read."""

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class Case:
    """`companions` are all orders of the request that its protocol judges, this one among them."""

    order: KetamineOrder
    companions: Sequence[KetamineOrder]
    chart: Chart
    protocol: Protocol
    limits: Limits
    valuesets: ValueSets
    terms: Terms
    signing: bool
    """order-sign: the order must be complete. At order-select a dose may still be missing."""
    viewing: bool = False
    """patient-view: the order is the one that is running."""
    stopping: bool = False
    """The order is a draft that ends one."""
    body: Body | None = None
    """Judged at these weights in place of the patient's."""
    _once: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    _of_patient: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """All orders of a drug share it, and so do changed copies of a case."""
    known: InitVar[Known | None] = None
    """What other policies found of this order (`rules.alike`). A changed copy of a case knows nothing of it."""

    def __post_init__(self, known: Known | None) -> None:
        object.__setattr__(self, "_known", known)
        object.__setattr__(self, "_marks", alike.marks(self.protocol) if known is not None else {})

    def found_alike(self, rule: Rule, find: Callable[[Case, Rule], T]) -> T:
        """What a rule that reads nothing of other rules finds: judged once for all policies in which it is alike."""
        known: Known | None = self.__dict__["_known"]
        if known is None:
            return find(self, rule)
        mark = self.__dict__["_marks"][rule.id]
        try:
            found: T = known[mark]
        except KeyError:
            found = known[mark] = find(self, rule)
        return found

    @cached_property
    def hook(self) -> Hook:
        return hook_of(self.signing, self.viewing)

    @cached_property
    def deadline(self) -> Deadline:
        return self.chart.deadline

    @cached_property
    def now(self) -> datetime:
        return self.chart.now

    def is_ours(self, identity: Identity | None) -> bool:
        """Whether a medicine is one of the drugs that this order's protocol judges."""
        return identity is not None and identity.drug in self.protocol.drugs

    @cached_property
    def drug_sets(self) -> tuple[str, ...]:
        """The value sets of those drugs."""
        return self.valuesets.drugs.family_sets(self.order.drug)

    @cached_property
    def book(self) -> LimitBook:
        """The limits of this order's drug."""
        return self.limits.book(self.order.drug, self.now.date())

    @cached_property
    def conventions(self) -> Conventions:
        named = self.protocol.conventions
        return Conventions(
            bolus_minutes=self.number(named.bolus),
            continuous_minutes=self.number(named.continuous),
            tolerance=self.number(named.tolerance) / 100,
        )

    @cached_property
    def on_record(self) -> frozenset[str]:
        """What there is for a clause to hold by: in the chart (`Chart.on_record`), and in the order (`in_order`)."""
        order = self.order
        said = {
            "drug": [order.drug],
            "indication": order.indication.all,
            "use": [use.name for use in order.indication.uses],
            "context": order.indication.contexts,
            "route": [written.route.kind for written in order.written],
            LABELLED: [str(order.labelled_nasal)],
        }
        found = [in_order(kind, name) for kind, names in said.items() for name in names]
        if not order.written or not all(written.has_amount for written in order.written):
            found.append(UNREAD_DOSE)
        return self.chart.on_record.union(found)

    @cached_property
    def ordered(self) -> Says:
        """The dose of the order in words."""
        return words.regimen(self.order.written)

    @cached_property
    def group(self) -> list[KetamineOrder]:
        """The orders of this one's order group, itself among them."""
        if self.order.group is None:
            return [self.order]
        return [other for other in self.companions if other.group == self.order.group]

    def of_patient(self, asked: Hashable, compute: Callable[[], T]) -> T:
        """What rests on the patient and the drug alone: computed once, also for another order of the request."""
        if asked not in self._of_patient:
            self._of_patient[asked] = compute()
        answer: T = self._of_patient[asked]
        return answer

    def number(self, limit: str) -> Fraction:
        return self.book.number(limit)

    def limit(self, name: str) -> Limit:
        return self.book.limit(name)


@dataclass(frozen=True, slots=True)
class RuleLimits:
    """The limits of a rule by the names that its judgement gives them (`Rule.limits`)."""

    case: Case
    rule: Rule

    def id(self, name: str) -> str:
        return self.rule.limits[name]

    def limit(self, name: str) -> Limit:
        return self.case.limit(self.rule.limits[name])

    def number(self, name: str) -> Fraction:
        return self.case.number(self.rule.limits[name])

    def numbers(self, name: str) -> tuple[Fraction, ...]:
        return self.case.book.numbers(self.rule.limits[name])

    def window(self, name: str) -> timedelta:
        return self.case.book.window(self.rule.limits[name], self.case.now)


def in_order(kind: str, name: str) -> str:
    """How something that an order says stands in `Case.on_record`; no value set and no query key has such a name."""
    return f"{kind}:{name}"


def hook_of(signing: bool, viewing: bool) -> Hook:
    return "patient-view" if viewing else "order-sign" if signing else "order-select"


def memory(of_patient: bool) -> Callable[[Case], dict[Any, Any]]:
    """What was computed of a case; or, which a changed copy of it shares, of its patient and drug alone."""
    return attrgetter("_of_patient" if of_patient else "_once")


def once(function: Callable[Concatenate[Case, P], T]) -> Callable[Concatenate[Case, P], T]:
    """Many rules ask the same of a case: the answer is computed once. A changed copy of a case asks anew."""
    return _remembered(function, memory(of_patient=False))


def once_of_patient(function: Callable[Concatenate[Case, P], T]) -> Callable[Concatenate[Case, P], T]:
    """As `once`, for what rests on the patient and the drug alone: it holds for a case whose order was changed."""
    return _remembered(function, memory(of_patient=True))


def _remembered(
    function: Callable[Concatenate[Case, P], T], memory: Callable[[Case], dict[Any, Any]]
) -> Callable[Concatenate[Case, P], T]:
    @wraps(function)
    def remembered(case: Case, /, *arguments: P.args, **named: P.kwargs) -> T:
        asked: Hashable = (function, *arguments, *named.items()) if arguments or named else function
        known = memory(case)
        try:
            answer: T = known[asked]
        except KeyError:
            answer = known[asked] = function(case, *arguments, **named)
        return answer

    return remembered
