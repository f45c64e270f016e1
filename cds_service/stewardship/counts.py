"""What was answered and what became of it, counted by the store: each query groups, so that few rows come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from cds_service.stewardship.reading import Reading
from cds_service.store import tables

_CALLS, _CARDS, _FOUND, _SAID = tables.invocations.c, tables.cards.c, tables.findings.c, tables.feedback.c
OVERRIDDEN, ACCEPTED = "overridden", "accepted"
UNKNOWN = "unknown"
"""The kind of a reason that was recorded before kinds were."""


@dataclass(frozen=True, slots=True)
class Period:
    """Calls from `since` to before `until` (both with a zone), of one client and service where these are named."""

    since: datetime
    until: datetime
    client: str | None = None
    service: str | None = None

    @property
    def days(self) -> int:
        """How many days it holds, one that is not over among them."""
        return max(1, -(-(self.until - self.since) // timedelta(days=1)))

    def holds(self) -> list[sa.ColumnElement[bool]]:
        """The conditions on an invocation."""
        made = [_CALLS.at >= self.since, _CALLS.at < self.until]
        if self.client is not None:
            made.append(_CALLS.client == self.client)
        if self.service is not None:
            made.append(_CALLS.service == self.service)
        return made


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one day, service and client. In shadow mode nothing was shown."""

    day: date
    service: str
    client: str
    protocol: str
    site: str | None
    shadow: bool
    failed: bool
    count: int


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards of one day, service, client and severity, and how many of them were answered in which way."""

    day: date
    service: str
    client: str
    indicator: str
    shadow: bool
    count: int
    overridden: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings of one rule that ended in one way. `carded` stood on a card; the feedback is that on their cards."""

    rule: str
    status: str
    severity: str | None
    shadow: bool
    count: int
    filtered: int
    carded: int
    overridden: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Reasons:
    """Cards of a topic that were overridden with the same reasons: (system, code) each."""

    topic: str
    reasons: tuple[tuple[str | None, str], ...]
    commented: bool
    count: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Findings of a rule that could not be told for want of the same facts. `kind` is that of the gravest reason."""

    rule: str
    kind: str
    facts: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Recency:
    """In how many calls a rule ended in one way, in the last days and in those before."""

    rule: str
    status: str
    lately: int
    before: int


class _Day(FunctionElement[str]):
    """The day of a moment in UTC, as YYYY-MM-DD."""

    type = sa.String()
    inherit_cache = True


@compiles(_Day, "sqlite")
def _day_of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 10)"


@compiles(_Day, "postgresql")
def _day_of_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)} AT TIME ZONE 'UTC', 'YYYY-MM-DD')"


class _Monday(FunctionElement[str]):
    """The Monday of a moment's week in UTC, as YYYY-MM-DD."""

    type = sa.String()
    inherit_cache = True


@compiles(_Monday, "sqlite")
def _monday_of_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    day = f"substr({compiler.process(element.clauses, **options)}, 1, 10)"
    return f"date({day}, 'weekday 0', '-6 days')"


@compiles(_Monday, "postgresql")
def _monday_of_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    moment = f"{compiler.process(element.clauses, **options)} AT TIME ZONE 'UTC'"
    return f"to_char(date_trunc('week', {moment}), 'YYYY-MM-DD')"


def calls(reading: Reading, period: Period) -> list[Calls]:
    """All calls of a period."""
    by = (_CALLS.service, _CALLS.client, _CALLS.protocol, _CALLS.site, _CALLS.shadow, _CALLS.failed)
    day = _Day(_CALLS.at).label("day")
    query = sa.select(day, *by, sa.func.count().label("count")).where(*period.holds()).group_by(day, *by)
    return [Calls(**_dated(row)) for row in reading.rows(query)]


def cards(reading: Reading, period: Period) -> list[Cards]:
    """All cards of a period."""
    answered = _answered(period)
    by = (_CALLS.service, _CALLS.client, _CARDS.indicator, _CALLS.shadow)
    day = _Day(_CALLS.at).label("day")
    query = (
        sa.select(day, *by, sa.func.count().label("count"), *_became(answered, _CARDS.uuid))
        .join_from(tables.invocations, tables.cards, _CARDS.invocation_id == _CALLS.id)
        .outerjoin(answered, _is_about(answered, _CARDS.uuid))
        .where(*period.holds())
        .group_by(day, *by)
    )
    return [Cards(**_dated(row)) for row in reading.rows(query)]


def findings(reading: Reading, period: Period) -> list[Findings]:
    """All findings of a period. A rule that was clear has none."""
    return [Findings(**row) for row in reading.rows(_findings(period))]


def findings_by_week(reading: Reading, period: Period) -> dict[date, list[Findings]]:
    """The same by the Monday of their week."""
    found: dict[date, list[Findings]] = {}
    for row in reading.rows(_findings(period, _Monday(_CALLS.at).label("monday"))):
        given = dict(row)
        found.setdefault(date.fromisoformat(given.pop("monday")), []).append(Findings(**given))
    return found


def _findings(period: Period, *spans: sa.ColumnElement[str]) -> sa.Select[Any]:
    answered = _answered(period)
    by = (*spans, _FOUND.rule, _FOUND.status, _FOUND.severity, _CALLS.shadow)
    return (
        sa.select(
            *by,
            sa.func.count().label("count"),
            sa.func.count(_FOUND.filtered).label("filtered"),
            sa.func.count(sa.distinct(_FOUND.card_uuid)).label("carded"),
            *_became(answered, _FOUND.card_uuid),
        )
        .join_from(tables.invocations, tables.findings, _FOUND.invocation_id == _CALLS.id)
        .outerjoin(answered, _is_about(answered, _FOUND.card_uuid))
        .where(*period.holds())
        .group_by(*by)
    )


def reasons(reading: Reading, period: Period) -> list[Reasons]:
    """Why cards of a period were overridden."""
    answered, said = _answered(period), sa.cast(_SAID.reasons, sa.Text)
    query = (
        sa.select(
            _CARDS.topic,
            said.label("reasons"),
            _SAID.commented,
            sa.func.count(sa.distinct(_CARDS.uuid)).label("count"),
        )
        .join_from(tables.invocations, tables.cards, _CARDS.invocation_id == _CALLS.id)
        .join(answered, _is_about(answered, _CARDS.uuid))
        .join(tables.feedback, _SAID.id == answered.c.id)
        .where(*period.holds(), _SAID.outcome == OVERRIDDEN)
        .group_by(_CARDS.topic, said, _SAID.commented)
    )
    return [
        Reasons(row["topic"], _pairs(row["reasons"]), row["commented"], row["count"]) for row in reading.rows(query)
    ]


def missing(reading: Reading, period: Period) -> list[Missing]:
    """Which facts were missing where a rule could not be told."""
    facts = sa.cast(_FOUND.missing, sa.Text)
    kind = sa.func.coalesce(_FOUND.reason_kind, sa.literal_column(f"'{UNKNOWN}'"))
    query = (
        sa.select(_FOUND.rule, kind.label("kind"), facts.label("facts"), sa.func.count().label("count"))
        .join_from(tables.invocations, tables.findings, _FOUND.invocation_id == _CALLS.id)
        .where(*period.holds(), _FOUND.status == "could-not-tell")
        .group_by(_FOUND.rule, kind, facts)
    )
    return [
        Missing(row["rule"], row["kind"], tuple(msgspec.json.decode(row["facts"], type=list[str])), row["count"])
        for row in reading.rows(query)
    ]


def milliseconds(reading: Reading, period: Period) -> dict[str, dict[int, int]]:
    """service -> how many calls took so many whole milliseconds, from arrival to answer."""
    whole = (_CALLS.microseconds // sa.literal_column("1000")).label("whole")
    query = (
        sa.select(_CALLS.service, whole, sa.func.count().label("count"))
        .where(*period.holds())
        .group_by(_CALLS.service, whole)
    )
    found: dict[str, dict[int, int]] = {}
    for row in reading.rows(query):
        found.setdefault(row["service"], {})[int(row["whole"])] = row["count"]
    return found


def recency(reading: Reading, period: Period, since: datetime) -> list[Recency]:
    """In how many calls of a period each rule fired or could not be told, from `since` on and before."""
    is_recent = _CALLS.at >= since
    by = (_FOUND.rule, _FOUND.status)
    query = (
        sa.select(
            *by,
            _distinct_where(is_recent, _CALLS.id).label("lately"),
            _distinct_where(sa.not_(is_recent), _CALLS.id).label("before"),
        )
        .join_from(tables.invocations, tables.findings, _FOUND.invocation_id == _CALLS.id)
        .where(*period.holds(), _FOUND.status.in_(("fired", "could-not-tell")))
        .group_by(*by)
    )
    return [Recency(**row) for row in reading.rows(query)]


# The parts of a query -------------------------------------------------------------------------------------------


def _answered(period: Period) -> sa.Subquery:
    """The newest feedback of a client on a card: who answers twice means the second. None came before its card."""
    newest = (
        sa.select(sa.func.max(_SAID.id).label("id"))
        .where(_SAID.received_at >= period.since)
        .group_by(_SAID.card_uuid, _SAID.client)
        .subquery()
    )
    return (
        sa.select(_SAID.id, _SAID.card_uuid, _SAID.client, _SAID.outcome)
        .join_from(newest, tables.feedback, _SAID.id == newest.c.id)
        .subquery()
    )


def _is_about(answered: sa.Subquery, uuid: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Feedback counts for a card that was sent to the same client."""
    return sa.and_(answered.c.card_uuid == uuid, answered.c.client == _CALLS.client, _CALLS.shadow.is_(False))


def _became(answered: sa.Subquery, uuid: sa.ColumnElement[Any]) -> Iterator[sa.ColumnElement[int]]:
    """A card with one identifier counts once, however often it was sent."""
    for outcome in (OVERRIDDEN, ACCEPTED):
        yield _distinct_where(answered.c.outcome == outcome, uuid).label(outcome)


def _distinct_where(condition: sa.ColumnElement[bool], column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.distinct(sa.case((condition, column))))


def _dated(row: sa.RowMapping) -> dict[str, Any]:
    return {**row, "day": date.fromisoformat(row["day"])}


def _pairs(text: str) -> tuple[tuple[str | None, str], ...]:
    pairs: Sequence[tuple[str | None, str]] = msgspec.json.decode(text, type=list[tuple[str | None, str]])
    return tuple(pairs)
