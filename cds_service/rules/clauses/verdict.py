"""What a clause comes to, in three values, and the logic that joins clauses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from cds_service.chart.account import Unplaced
from cds_service.chart.facts import Fact, Members
from cds_service.lazy import Made, kept
from cds_service.protocol import model
from cds_service.protocol.references import clauses_of
from cds_service.rules.case import Case, memory
from cds_service.rules.clauses.presence import Absence, absences
from cds_service.rules.dose_finding import Measured
from cds_service.rules.outcome import ENTRY, Kind, Reason, undelivered
from cds_service.says import Says, listed
from cds_service.says.findings import NO_CODE_YET

SETTING = "setting"
"""The fact of a reason about where the patient is, where the site's own locations have no codes."""
QUESTION = "question"
"""The fact of a reason that asks about words without a code."""


class Verdict(msgspec.Struct, frozen=True):
    """`holds` is None where it cannot be told; then `reasons` say why. `facts` are what it rests on.

    One that holds has reasons where an exception to it could not be read. Most facts are never said: words for them
    are made where they are asked for.
    """

    holds: bool | None
    facts: Iterable[Fact] = ()
    reasons: tuple[Reason, ...] = ()
    amounts: tuple[Measured, ...] = ()
    """The amounts that are past their limits."""


NO = Verdict(False)
YES = Verdict(True)
"""That holds without a fact to be said."""


def unknown(fact: str, says: Says, kind: Kind = "not-placed") -> Verdict:
    return Verdict(None, reasons=(Reason(fact, says, kind),))


Evaluation = Callable[[Any, Case, datetime | None], Verdict]
W = TypeVar("W", bound=Callable[..., Verdict])
_WAYS: dict[type, Evaluation] = {}


def evaluates(kind: type) -> Callable[[W], W]:
    """Declare the function that evaluates a kind of clause."""

    def declared(way: W) -> W:
        _WAYS[kind] = way
        return way

    return declared


def evaluate(clause: model.Clause, case: Case, since: datetime | None = None) -> Verdict:
    """The verdict of a clause. `since` leaves out measurements that are not later (for `unless_later`).

    A clause that is shared (`share`) is evaluated once.
    """
    shared: _Shared | None = clause.__dict__.get(_SHARED)
    if shared is None or since is not None:
        return _WAYS[type(clause)](clause, case, since)
    known = shared.memory(case)
    verdict: Verdict | None = known.get(shared)
    if verdict is None:
        verdict = known[shared] = _WAYS[type(clause)](clause, case, None)
    return verdict


_SHARED = "shared"


@dataclass(frozen=True, eq=False, slots=True)
class _Shared:
    """Stands for all clauses of a protocol that say the same: what it is in a case is known once."""

    of_patient: bool
    """It asks nothing of the order, so that all orders of a drug share it."""
    memory: Callable[[Case], dict[Any, Any]]
    """Where it is kept."""


def share(protocol: model.Protocol) -> None:
    """Mark the clauses of a protocol that stand in several places, and those that several orders would ask alike."""
    alike: dict[bytes, list[model.Clause]] = {}
    for clause in clauses_of(protocol):
        alike.setdefault(msgspec.json.encode(clause), []).append(clause)
    for clauses in alike.values():
        of_patient = _rests_on_patient(clauses[0])
        if of_patient or len(clauses) > 1:
            shared = _Shared(of_patient, memory(of_patient))
            for clause in clauses:
                clause.__dict__[_SHARED] = shared


def _rests_on_patient(clause: model.Clause) -> bool:
    """Whether it asks nothing of the order that is judged."""
    match clause:
        case model.Any() | model.All() | model.Not() | model.Unless():
            return all(map(_rests_on_patient, clause.of))
        case model.ConditionIs():
            return all(map(_rests_on_patient, clause.unless_later))
        case model.SymptomIs():
            return clause.answered_by_cut is None
    return not isinstance(clause, (model.OrderIs, model.AmountIs))


def _parts(clause: model.Any | model.Not | model.Unless) -> Sequence[tuple[model.Clause, Sequence[Absence]]]:
    return [(part, absences(part)) for part in clause.of]


def _evaluated(clause: model.Any | model.Not | model.Unless, case: Case, since: datetime | None) -> list[Verdict]:
    """The verdicts of the parts of a clause, each evaluated only where the chart has something of it."""
    is_missing = case.on_record.isdisjoint
    return [
        NO if any(map(is_missing, absent)) else evaluate(part, case, since)
        for part, absent in kept(clause, "parts", _parts)
    ]


@evaluates(model.Any)
def _(clause: model.Any, case: Case, since: datetime | None = None) -> Verdict:
    verdicts = _evaluated(clause, case, since)
    if held := [v for v in verdicts if v.holds]:
        unread = () if any(not v.reasons for v in held) else reasons_of(held)
        return Verdict(True, facts_of(held), unread, amounts_of(held))
    if None in [v.holds for v in verdicts]:
        return Verdict(None, reasons=reasons_of(verdicts))
    return NO


@evaluates(model.Added)
@evaluates(model.All)
def _(clause: model.All, case: Case, since: datetime | None = None) -> Verdict:
    # Whoever evaluates it has looked for what any of its parts cannot hold without.
    found: dict[int, Verdict] = {}
    for place in kept(clause, "cheapest-first", _cheapest_first):
        verdict = evaluate(clause.of[place], case, since)
        if verdict.holds is False:
            return NO
        found[place] = verdict
    verdicts = [found[place] for place in sorted(found)]
    if None in [v.holds for v in verdicts]:
        return Verdict(None, reasons=reasons_of(v for v in verdicts if v.holds is None))
    return Verdict(True, facts_of(verdicts), reasons_of(verdicts), amounts_of(verdicts))


def _cheapest_first(clause: model.All) -> list[int]:
    """The places of its parts: what the order says is soon told, measurements must be read."""
    return sorted(range(len(clause.of)), key=lambda place: _cost(clause.of[place]))


def _cost(clause: model.Clause) -> int:
    if isinstance(clause, (model.Any, model.All, model.Not, model.Unless)):
        return sum(map(_cost, clause.of))
    if isinstance(clause, (model.OrderIs, model.PatientIs, model.EncounterIs)):
        return 1
    return 5 if isinstance(clause, (model.ObservationIs, model.SymptomIs)) else 3


@evaluates(model.Not)
def _(clause: model.Not, case: Case, since: datetime | None = None) -> Verdict:
    (verdict,) = _evaluated(clause, case, since)
    if verdict.holds is None and _asks_for_a_result(clause.of) and not any(r.undelivered for r in verdict.reasons):
        return Verdict(True, reasons=verdict.reasons)  # what is not understood is no result that one has
    if verdict.reasons:
        return Verdict(None, reasons=verdict.reasons)
    return Verdict(not verdict.holds)


def _asks_for_a_result(clauses: Sequence[model.Clause]) -> bool:
    """Whether they ask only that something was measured or answered, whatever it says."""
    return all(
        (isinstance(each, model.ObservationIs) and (each.any_value or each.present))
        or (isinstance(each, model.All | model.Any) and _asks_for_a_result(each.of))
        for each in clauses
    )


@evaluates(model.Unless)
def _(clause: model.Unless, case: Case, since: datetime | None = None) -> Verdict:
    (verdict,) = _evaluated(clause, case, since)
    if verdict.holds is None or (verdict.holds and verdict.reasons):
        return Verdict(True, reasons=verdict.reasons)
    return Verdict(not verdict.holds)


def facts_of(verdicts: Sequence[Verdict]) -> Iterable[Fact]:
    return Made(lambda: dict.fromkeys(fact for verdict in verdicts for fact in verdict.facts))


def amounts_of(verdicts: Iterable[Verdict]) -> tuple[Measured, ...]:
    return tuple(amount for verdict in verdicts for amount in verdict.amounts)


def reasons_of(verdicts: Iterable[Verdict]) -> tuple[Reason, ...]:
    return tuple(dict.fromkeys(reason for verdict in verdicts for reason in verdict.reasons))


def in_sets(members: Members, sets: Sequence[str]) -> bool:
    for reference in sets:
        name, _, group = reference.partition("/")
        member = members.get(name)
        if member is not None and (not group or member.group == group):
            return True
    return False


def without_codes(sets: Sequence[str], case: Case) -> Verdict | None:
    """Could not tell, where none of the sets has any code."""
    empty = case.valuesets.without_codes
    for name in sets:
        if name.partition("/")[0] not in empty:
            return None
    titles = listed(case.valuesets[name].named for name in sets)
    return unknown("terminology", NO_CODE_YET(titles), "not-judged")


def not_found(case: Case, *keys: str) -> Verdict:
    """Nothing was found: absent as recorded, if the lists of these queries are complete."""
    reasons = undelivered(case.chart, *keys)
    return Verdict(None, reasons=reasons) if reasons else NO


def left_open(entries: Iterable[Unplaced]) -> tuple[Reason, ...]:
    """The reasons that entries are which could not be placed."""
    return tuple(
        Reason(QUESTION if e.asks else ENTRY, e.says, "not-placed", e.reference, e.urgent, e.name) for e in entries
    )


def nothing_found(case: Case, entries: Iterable[Unplaced], *keys: str) -> Verdict:
    """As not_found, where some of the entries that were given could not be placed."""
    verdict = not_found(case, *keys)
    reasons = left_open(entries)
    return Verdict(None, reasons=(*reasons, *verdict.reasons)) if reasons else verdict
