"""What a candidate policy would have changed: per client and rule, among the orders that both policies judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cds_service.stewardship.choices import Choices
from cds_service.stewardship.counts import Period
from cds_service.stewardship.rates import Rate
from cds_service.stewardship.reading import Reading
from cds_service.store import tables

_COMPARED, _DIFFER = tables.comparisons.c, tables.differences.c
_COUNTS = ("calls", "orders", "dropped", "failed", "interrupting_live", "interrupting_candidate")


@dataclass(frozen=True, slots=True)
class Transition:
    """A rule that ended otherwise under the candidate: how it ended, and at how many of the orders."""

    rule: str
    was: str
    becomes: str
    orders: Rate


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate beside one live policy, for one client. Without a transition all judged orders ended alike."""

    client: str
    live: str
    candidate: str
    """Digest of the policy, as its sign-off sheet has it."""
    first: datetime
    last: datetime
    calls: int
    """Judged by both policies."""
    orders: int
    dropped: int
    failed: int
    interrupting_live: int
    interrupting_candidate: int
    transitions: tuple[Transition, ...]
    """The most frequent first."""

    @property
    def not_judged(self) -> int:
        """Calls of which nothing is known."""
        return self.dropped + self.failed

    def per_100(self, cards: int) -> float | None:
        """Cards for 100 judged orders."""
        return 100 * cards / self.orders if self.orders else None


def candidates(reading: Reading, period: Period, choices: Choices) -> Iterator[Candidate]:
    """Those of a period, by client; they are counted for all services together."""
    by = (_COMPARED.client, _COMPARED.live, _COMPARED.candidate)
    totals = sa.select(
        *by,
        sa.func.min(_COMPARED.at).label("first"),
        sa.func.max(_COMPARED.at).label("last"),
        *(sa.func.sum(_COMPARED[name]).label(name) for name in _COUNTS),
    )
    change = (_DIFFER.rule, _DIFFER.was, _DIFFER.was_severity, _DIFFER.becomes, _DIFFER.severity)
    changes = sa.select(*by, *change, sa.func.sum(_DIFFER.orders).label("orders")).join_from(
        tables.comparisons, tables.differences, _DIFFER.comparison_id == _COMPARED.id
    )
    of_each: dict[tuple[str, str, str], list[sa.RowMapping]] = {}
    for row in reading.rows(changes.where(*_holds(period)).group_by(*by, *change)):
        of_each.setdefault((row["client"], row["live"], row["candidate"]), []).append(row)
    for row in reading.rows(totals.where(*_holds(period)).group_by(*by).order_by(_COMPARED.client, sa.text("first"))):
        orders, key = int(row["orders"]), (row["client"], row["live"], row["candidate"])
        made = [
            Transition(
                each["rule"],
                _ended(each["was"], each["was_severity"]),
                _ended(each["becomes"], each["severity"]),
                Rate(int(each["orders"]), orders, choices.confidence.value, round(choices.few_answers.value)),
            )
            for each in of_each.get(key, ())
        ]
        made.sort(key=lambda each: (-each.orders.count, each.rule, each.was, each.becomes))
        counts: dict[str, Any] = {name: int(row[name]) for name in _COUNTS}
        yield Candidate(*key, first=row["first"], last=row["last"], transitions=tuple(made), **counts)


def _ended(status: str, severity: str | None) -> str:
    """`fired warning`, `clear`, `switched off`: as the report of a replay has it."""
    return status.replace("switched-off", "switched off") if severity is None else f"{status} {severity}"


def _holds(period: Period) -> list[sa.ColumnElement[bool]]:
    made = [_COMPARED.at >= period.since, _COMPARED.at < period.until]
    return made if period.client is None else [*made, _COMPARED.client == period.client]
