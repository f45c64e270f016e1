"""Remove records that are older than the retention time, and export all records as JSON lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from cds_service.store import engines, tables
from cds_service.store.engines import told
from cds_service.store.migrate import migrate
from cds_service.store.store import expire

BATCH = 500


def prune(url: URL, before: datetime, now: datetime | None = None) -> tuple[int, int]:
    """Delete what was recorded earlier, in batches that let others write between them.

    Returns how many invocations and feedback entries went; comparisons go, too, and facts whose own time is over
    `now`. Raises StoreError.
    """
    migrate(url)
    engine = engines.engine(url, engines.UPKEEP)
    invocations, said, compared = tables.invocations.c, tables.feedback.c, tables.comparisons.c
    try:
        with told(engines.shown(url)):
            with engine.begin() as connection:
                expire(connection, now or datetime.now(UTC))
            _delete(engine, sa.select(compared.id).where(compared.at < before), _comparisons)
            return (
                _delete(engine, sa.select(invocations.id).where(invocations.at < before), _invocations),
                _delete(engine, sa.select(said.id).where(said.received_at < before), _feedback),
            )
    finally:
        engine.dispose()


def _delete(engine: sa.Engine, old: sa.Select[Any], delete: Any) -> int:
    count = 0
    while True:
        with engine.begin() as connection:
            ids = list(connection.execute(old.limit(BATCH)).scalars())
            delete(connection, ids)
        count += len(ids)
        if len(ids) < BATCH:
            return count


def _invocations(connection: sa.Connection, ids: list[str]) -> None:
    for table in (tables.used_facts, tables.findings, tables.cards):
        connection.execute(sa.delete(table).where(table.c.invocation_id.in_(ids)))
    connection.execute(sa.delete(tables.invocations).where(tables.invocations.c.id.in_(ids)))


def _feedback(connection: sa.Connection, ids: list[int]) -> None:
    connection.execute(sa.delete(tables.feedback).where(tables.feedback.c.id.in_(ids)))


def _comparisons(connection: sa.Connection, ids: list[str]) -> None:
    connection.execute(sa.delete(tables.differences).where(tables.differences.c.comparison_id.in_(ids)))
    connection.execute(sa.delete(tables.comparisons).where(tables.comparisons.c.id.in_(ids)))


def export(url: URL, since: datetime | None = None, now: datetime | None = None) -> Iterator[dict[str, Any]]:
    """Every record as plain values, oldest first: invocations with cards and findings, feedback, comparisons.

    Facts that were used come along if their time is not over `now`. Each record says in `record` which it is. Read in
    batches, each as of its own moment. Raises StoreError.
    """
    migrate(url)
    engine = engines.engine(url, engines.UPKEEP)
    try:
        with told(engines.shown(url)):
            yield from _invocation_records(engine, since, now or datetime.now(UTC))
            yield from _feedback_records(engine, since)
            yield from _comparison_records(engine, since)
    finally:
        engine.dispose()


def _invocation_records(engine: sa.Engine, since: datetime | None, now: datetime) -> Iterator[dict[str, Any]]:
    for rows in _batches(engine, tables.invocations, tables.invocations.c.at, since):
        ids = [row["id"] for row in rows]
        with engine.connect() as connection:
            cards = _by(tables.cards.c.invocation_id, connection, ids)
            found = _by(tables.findings.c.invocation_id, connection, ids)
            used = _by(tables.used_facts.c.invocation_id, connection, ids)
        for row in rows:
            parts = {
                "cards": cards.get(row["id"], []),
                "findings": found.get(row["id"], []),
                "used": [fact for fact in used.get(row["id"], []) if fact["until"] > now],
            }
            yield {"record": "invocation", **row, **parts}


def _feedback_records(engine: sa.Engine, since: datetime | None) -> Iterator[dict[str, Any]]:
    for rows in _batches(engine, tables.feedback, tables.feedback.c.received_at, since):
        for row in rows:
            del row["digest"]
            yield {"record": "feedback", **row}


def _comparison_records(engine: sa.Engine, since: datetime | None) -> Iterator[dict[str, Any]]:
    for rows in _batches(engine, tables.comparisons, tables.comparisons.c.at, since):
        with engine.connect() as connection:
            found = _by(tables.differences.c.comparison_id, connection, [row["id"] for row in rows])
        for row in rows:
            yield {"record": "comparison", **row, "differences": found.get(row["id"], [])}


def _batches(
    engine: sa.Engine, table: sa.Table, when: sa.Column[Any], since: datetime | None
) -> Iterator[list[dict[str, Any]]]:
    """The rows by moment and id; each batch continues where the last one ended."""
    query = sa.select(table).order_by(when, table.c.id).limit(BATCH)
    if since is not None:
        query = query.where(when >= since)
    last: tuple[Any, Any] | None = None
    while True:
        at = query if last is None else query.where(sa.tuple_(when, table.c.id) > last)
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(at).mappings()]
        if rows:
            yield rows
        if len(rows) < BATCH:
            return
        last = (rows[-1][when.name], rows[-1]["id"])


def _by(whose: sa.Column[str], connection: sa.Connection, ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a table by the record that they belong to, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    query = sa.select(whose.table).where(whose.in_(ids)).order_by(whose.table.c.number)
    for row in connection.execute(query).mappings():
        plain = {name: value for name, value in row.items() if name not in (whose.name, "number")}
        found.setdefault(row[whose.name], []).append(plain)
    return found
