"""What a clause comes to, in three values, and the logic that joins clauses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import singledispatch

import msgspec

from cds_service.chart.account import Unplaced
from cds_service.chart.facts import Fact, Members
from cds_service.protocol import model
from cds_service.rules.case import Case
from cds_service.rules.dose_finding import Measured
from cds_service.rules.outcome import Kind, Reason, not_placed, undelivered

SETTING = "setting"
"""The fact of a reason about where the patient is, where the site's own locations have no codes."""
QUESTION = "question"
"""The fact of a reason that asks about words without a code."""


class Verdict(msgspec.Struct, frozen=True):
    """`holds` is None where it cannot be told; then `reasons` say why. `facts` are what it rests on.

    One that holds has reasons where an exception to it could not be read.
    """

    holds: bool | None
    facts: tuple[Fact, ...] = ()
    reasons: tuple[Reason, ...] = ()
    amounts: tuple[Measured, ...] = ()
    """The amounts that are past their limits."""


NO = Verdict(False)


def unknown(fact: str, says: str, kind: Kind = "not-placed") -> Verdict:
    return Verdict(None, reasons=(Reason(fact, says, kind),))


@singledispatch
def evaluate(clause: model.Clause, case: Case, since: datetime | None = None) -> Verdict:
    """The verdict of a clause. `since` leaves out measurements that are not later (for `unless_later`)."""
    raise TypeError(f"no way to evaluate {type(clause).__name__}")


@evaluate.register
def _(clause: model.Any, case: Case, since: datetime | None = None) -> Verdict:
    verdicts = [evaluate(part, case, since) for part in clause.of]
    if held := [v for v in verdicts if v.holds]:
        unread = () if any(not v.reasons for v in held) else reasons_of(held)
        return Verdict(True, facts_of(held), unread, amounts_of(held))
    if any(v.holds is None for v in verdicts):
        return Verdict(None, reasons=reasons_of(verdicts))
    return NO


@evaluate.register
def _(clause: model.All, case: Case, since: datetime | None = None) -> Verdict:
    verdicts: list[Verdict] = []
    for part in clause.of:
        verdicts.append(evaluate(part, case, since))
        if verdicts[-1].holds is False:
            return NO
    if any(v.holds is None for v in verdicts):
        return Verdict(None, reasons=reasons_of(v for v in verdicts if v.holds is None))
    return Verdict(True, facts_of(verdicts), reasons_of(verdicts), amounts_of(verdicts))


@evaluate.register
def _(clause: model.Not, case: Case, since: datetime | None = None) -> Verdict:
    (verdict,) = (evaluate(part, case, since) for part in clause.of)
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


@evaluate.register
def _(clause: model.Unless, case: Case, since: datetime | None = None) -> Verdict:
    (verdict,) = (evaluate(part, case, since) for part in clause.of)
    if verdict.holds is None or (verdict.holds and verdict.reasons):
        return Verdict(True, reasons=verdict.reasons)
    return Verdict(not verdict.holds)


def facts_of(verdicts: Iterable[Verdict]) -> tuple[Fact, ...]:
    return tuple(dict.fromkeys(fact for verdict in verdicts for fact in verdict.facts))


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
    if all(case.valuesets[name].no_codes for name in sets):
        titles = ", ".join(case.valuesets[name].title for name in sets)
        return unknown("terminology", f"there is no code for it yet: {titles}", "not-judged")
    return None


def not_found(case: Case, *keys: str) -> Verdict:
    """Nothing was found: absent as recorded, if the lists of these queries are complete."""
    reasons = undelivered(case.chart, *keys)
    return Verdict(None, reasons=reasons) if reasons else NO


def left_open(entries: Iterable[Unplaced]) -> tuple[Reason, ...]:
    """The reasons that entries are which could not be placed."""
    return tuple(not_placed(e.says, e.reference, e.urgent, e.name) for e in entries)


def nothing_found(case: Case, entries: Iterable[Unplaced], *keys: str) -> Verdict:
    """As not_found, where some of the entries that were given could not be placed."""
    verdict = not_found(case, *keys)
    reasons = left_open(entries)
    return Verdict(None, reasons=(*reasons, *verdict.reasons)) if reasons else verdict
