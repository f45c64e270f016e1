"""What a clause cannot hold without: a chart that has none of it answers most of the protocol at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from cds_service.chart.chart import EXPOSED
from cds_service.protocol import model
from cds_service.rules.case import LABELLED, UNREAD_DOSE, in_order

Absence = frozenset[str]
"""Value sets, query keys, what an order says: where none of them is in `Case.on_record`, a clause is surely false."""

_MOST = 16
"""Absences that are kept for one clause: each is enough alone, so more of them only save time."""


def needs(protocol: model.Protocol) -> Sequence[tuple[model.Rule, Absence]]:
    """The rules of clauses that want for facts, each with what it needs: where none of it is on record, each of its
    tiers is false.
    """
    rules = (rule for rule in protocol.rules.values() if rule.judge == "clauses")
    return [(rule, needed) for rule in rules if (needed := _needed(rule)) is not None]


def _needed(rule: model.Rule) -> Absence | None:
    """One absence of each tier, together; None where a tier can hold without any fact."""
    each = [absences(tier.when)[:1] for tier in rule.tiers if tier.when is not None]
    return Absence().union(*(absence for (absence,) in each)) if all(each) else None


def absences(clause: model.Clause) -> tuple[Absence, ...]:
    """Each of them makes the clause false, and never untold; none where what is not recorded does not decide it."""
    match clause:
        case model.All():
            return _least(each for part in clause.of for each in absences(part))
        case model.Any():
            return reduce(_both, map(absences, clause.of), (Absence(),))
        case model.ConditionIs():
            return (_absence("conditions", *clause.sets, *clause.asks),)
        case model.ObservationIs():
            # A gap in the query that asks for a set is on record under the name of the set.
            return (_absence("results", *clause.sets), *_without_dose(clause))
        case model.SymptomIs():
            return (_absence("conditions", "results", *clause.sets), *_without_dose(clause))
        case model.MedicineIs() if clause.at_least is None:
            return (_absence("medications", "medicationStatements", "administrations", *clause.sets),)
        case model.ExposureIs() if clause.running or clause.running_longer_than is not None:
            return (_absence("administrations", EXPOSED),)
        case model.ProcedureIs():
            return (_absence("procedures", *clause.sets),)
        case model.AllergyIs():
            return (_absence("allergies", *clause.sets, *clause.asks),)
        case model.OrderIs():
            return tuple(_of_order(clause))
        case model.AmountIs():
            return tuple(_of_amount(clause))
    return ()


def _of_order(clause: model.OrderIs) -> Iterator[Absence]:
    for kind, names in (
        ("drug", clause.drug),
        ("indication", clause.indication),
        ("indication", clause.only_indication),
        ("use", clause.judged_as),
        ("context", clause.context),
        ("route", clause.route),
        (LABELLED, ["True"] if clause.labelled else []),
    ):
        if names:
            yield Absence(in_order(kind, name) for name in names)


def _of_amount(clause: model.AmountIs) -> Iterator[Absence]:
    """A dose that cannot be read may be any. So may a step of an unknown kind, of which some clauses ask, whatever
    the order is for, and one that is held to an ideal weight.
    """
    yield Absence([in_order(LABELLED, str(clause.labelled))])
    asks_of_any = clause.weight == "ideal" or (clause.of and clause.figure in ("mg", "mg/kg"))
    if clause.use and not asks_of_any:
        yield Absence([UNREAD_DOSE, *(in_order("use", name) for name in clause.use)])


def _without_dose(clause: model.ObservationIs | model.SymptomIs) -> tuple[Absence, ...]:
    return (_absence("administrations", EXPOSED),) if clause.around_dose is not None else ()


def _absence(*names: str) -> Absence:
    """A group of a set is absent where the set is."""
    return Absence(name.partition("/")[0] for name in names)


def _both(one: Iterable[Absence], other: Iterable[Absence]) -> tuple[Absence, ...]:
    return _least(a | b for a in one for b in other)


def _least(found: Iterable[Absence]) -> tuple[Absence, ...]:
    """Without those that ask for more than another."""
    least: list[Absence] = []
    for each in sorted(found, key=len):
        if not any(known <= each for known in least):
            least.append(each)
    return tuple(least[:_MOST])
