"""Which lists of the chart a rule can be decided by: from its clauses, and from what its code says that it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from cds_service.lazy import kept
from cds_service.protocol import model
from cds_service.protocol.model import Rule
from cds_service.rules.case import Case
from cds_service.rules.clauses.medicines import medicine_lists

F = TypeVar("F", bound=Callable[..., object])
QueryOf = Callable[[str], str]
"""The key of the query that asks for a set of observations (`Chart.query_of`)."""

_ASKS, _NAMES, _OTHERS = "asks_for", "names_asked_for", "reads_other_rules"


class Names(NamedTuple):
    """The names by which a judgement asks its rule for limits and value sets, and says which tier holds."""

    limits: frozenset[str]
    sets: frozenset[str]
    tiers: frozenset[str]


NO_NAMES = Names(frozenset(), frozenset(), frozenset())


def asks(
    *keys: str,
    limits: Iterable[str] = (),
    sets: Iterable[str] = (),
    tiers: Iterable[str] = (),
    other_rules: bool = False,
) -> Callable[[F], F]:
    """Declare which query keys a judgement asks the chart for, beside what its rule's clauses read, and the names
    that its rule gives limits, value sets and tiers for. `other_rules`: it reads what they find, or their limits.
    """

    def declared(judgement: F) -> F:
        setattr(judgement, _ASKS, frozenset(keys))
        setattr(judgement, _NAMES, Names(frozenset(limits), frozenset(sets), frozenset(tiers)))
        setattr(judgement, _OTHERS, other_rules)
        return judgement

    return declared


def names_of(judgement: Callable[..., object]) -> Names:
    named: Names = getattr(judgement, _NAMES)
    return named


def reads_other_rules(judgement: Callable[..., object]) -> bool:
    """Whether it rests on more than its own rule (`rules.alike`)."""
    reads: bool = getattr(judgement, _OTHERS)
    return reads


def read_by(rule: Rule, judgement: Callable[..., object] | None, query_of: QueryOf) -> frozenset[str]:
    """The query keys whose lists can decide a rule; `judgement` is its code, where code judges it."""
    clauses = [tier.when for tier in rule.tiers if tier.when] + [change.when for change in rule.changes]
    declared: frozenset[str] = getattr(judgement, _ASKS) if judgement is not None else frozenset()
    offers = {*rule.suggests, *(name for tier in rule.tiers for name in tier.suggests)}
    lowers = _RATES if offers.intersection((model.LOWER_RATE, model.LOWER_TO_LIMIT)) else ()
    return declared.union(lowers, *(_read(clause, query_of) for clause in clauses))


def read_in(case: Case, judgement_of: Callable[[Rule], Callable[..., object] | None]) -> Sequence[str]:
    """The query keys that any rule reads which is judged in this case, by the alphabet."""

    def read(protocol: model.Protocol) -> Sequence[str]:
        judged = rules_of(protocol, case.hook, case.stopping)
        found = (read_by(rule, judgement_of(rule), case.chart.query_of) for rule in judged)
        return sorted(frozenset[str]().union(*found))

    return kept(case.protocol, f"read at {case.hook}, {case.stopping}", read)


def rules_of(protocol: model.Protocol, hook: model.Hook, stopping: bool = False) -> Sequence[Rule]:
    """The rules that judge at a hook and are not switched off, in the catalogue's order."""
    judges = "stop" if stopping else "order"

    def chosen(protocol: model.Protocol) -> tuple[Rule, ...]:
        rules = protocol.rules.values()
        return tuple(rule for rule in rules if not rule.off and hook in rule.hooks and rule.judges == judges)

    return kept(protocol, f"rules at {hook}, {judges}", chosen)


def _read(clause: model.Clause, query_of: QueryOf) -> Iterator[str]:
    match clause:
        case model.Any() | model.All() | model.Not() | model.Unless():
            yield from _all(clause.of, query_of)
        case model.ConditionIs():
            yield from ("conditions", "encounter")
            yield from _all(clause.unless_later, query_of)
        case model.ObservationIs():
            yield from map(query_of, clause.sets)
            if clause.around_dose is not None:
                yield "administrations"
        case model.SymptomIs():
            yield "conditions"
            yield from map(query_of, clause.sets)
            if clause.around_dose is not None:
                yield "administrations"
            if clause.answered_by_cut is not None:
                yield from _RATES
        case model.MedicineIs():
            yield from medicine_lists(clause)
        case model.ExposureIs():
            yield "administrations"
        case model.PatientIs():
            yield "patient"
        case model.ProcedureIs():
            yield "procedures"
            if clause.this_encounter:
                yield "encounter"
        case model.AllergyIs():
            yield "allergies"
        case model.EncounterIs():
            yield "encounter"
        case model.MonitoringIs():
            yield from ("serviceRequests", "procedures")
        case model.AmountIs():
            yield from _BODY
        case model.OrderIs():
            if clause.cut_by is not None:
                yield from _RATES
            if any(getattr(clause, field) for field in _OF_STEPS):
                yield from _BODY


_BODY = ("bodySize", "patient")
"""The steps of an order rest on the weight, and whether that is believed on the age."""
_OF_STEPS = ("single_dose", "single_dose_at_most", "continuous", "finite_at_most", "planned_longer_than",
             "without_end", "cut_by")  # fmt: skip
_RATES = ("administrations", *_BODY)
"""A rate against the one that ran before."""


def _all(clauses: Iterable[model.Clause], query_of: QueryOf) -> Iterator[str]:
    for clause in clauses:
        yield from _read(clause, query_of)
