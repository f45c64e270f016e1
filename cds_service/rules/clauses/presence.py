"""What a clause cannot hold without: a chart that has none of it answers most of the protocol at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

from cds_service.chart.chart import EXPOSED, Chart
from cds_service.protocol import model

_MOST = 16
"""Ways of being absent that are kept for one clause: each is enough alone, so more of them only save time."""


class Absence(NamedTuple):
    """A clause is false, for certain, where nothing on record is in `sets` and all of `lists` are complete."""

    sets: frozenset[str]
    lists: frozenset[str]
    """Query keys. Those of observations need not stand here: `Chart.sets` has the sets of a list with a gap."""

    def __or__(self, other: Absence) -> Absence:
        return Absence(self.sets | other.sets, self.lists | other.lists)

    def is_in(self, other: Absence) -> bool:
        return self.sets <= other.sets and self.lists <= other.lists


_known: dict[int, tuple[model.Clause, tuple[Absence, ...]]] = {}
"""By the identity of a clause of a protocol, which is kept with it and so stays its own."""


def is_absent(clause: model.Clause, chart: Chart) -> bool:
    """Whether a protocol's clause is false for want of facts. False says nothing: it must then be evaluated."""
    known = _known.get(id(clause))
    if known is None:
        known = _known[id(clause)] = (clause, absences(clause))
    sets, gaps = chart.sets, chart.gaps
    return any(each.sets.isdisjoint(sets) and each.lists.isdisjoint(gaps) for each in known[1])


def absences(clause: model.Clause) -> tuple[Absence, ...]:
    """Any of them makes the clause false, and never untold; none where what is not recorded does not decide it."""
    match clause:
        case model.All():
            return _least(each for part in clause.of for each in absences(part))
        case model.Any():
            start: tuple[Absence, ...] = (_absence((), ()),)
            return reduce(
                lambda ways, part: _least(way | each for way in ways for each in absences(part)), clause.of, start
            )
        case model.ConditionIs():
            return (_absence((*clause.sets, *clause.asks), ("conditions",)),)
        case model.ObservationIs():
            return (_absence(clause.sets, ("results",)),)
        case model.SymptomIs():
            return (_absence(clause.sets, ("conditions", "results")),)
        case model.MedicineIs() if clause.at_least is None:
            return (_absence(clause.sets, ("medications", "administrations")),)
        case model.ExposureIs() if clause.running or clause.running_longer_than is not None:
            return (_absence((EXPOSED,), ("administrations",)),)
        case model.ProcedureIs():
            return (_absence(clause.sets, ("procedures",)),)
        case model.AllergyIs():
            return (_absence((*clause.sets, *clause.asks), ("allergies",)),)
    return ()


def _absence(references: Sequence[str], lists: Sequence[str]) -> Absence:
    return Absence(frozenset(each.partition("/")[0] for each in references), frozenset(lists))


def _least(ways: Iterable[Absence]) -> tuple[Absence, ...]:
    """Without those that ask for more than another."""
    kept: list[Absence] = []
    for way in sorted(ways, key=lambda each: len(each.sets) + len(each.lists)):
        if not any(known.is_in(way) for known in kept):
            kept.append(way)
    return tuple(kept[:_MOST])
