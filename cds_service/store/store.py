"""The store: invocations are written in batches, feedback is on the disk when it returns, overrides are looked up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from cds_service.store import engines, tables
from cds_service.store.database import Database, new
from cds_service.store.engines import StoreError
from cds_service.store.migrate import migrate
from cds_service.store.records import Comparison, Feedback, Finding, Invocation, Override, Record

_CHUNK = 500
"""Values of one IN (…)."""
_MOST_OVERRIDES = 500
_EXPIRE_EVERY = timedelta(hours=1)


class Store:
    """One store of a process. Threads may share it; after a fork, each process makes its own.

    The tables are migrated before the first statement, so a store that is away at the start is used once it is back.
    """

    def __init__(self, url: str) -> None:
        self.url = engines.url_of(url)
        self._database = Database(self.url, migrate)
        self._expired: datetime | None = None
        """When facts were deleted last."""

    def migrate(self) -> None:
        """Bring the tables up to date, once. Raises StoreError."""
        self._database.open()

    def reachable(self) -> bool:
        """Whether a statement gets an answer now."""
        try:
            with self._database.transaction(engines.LOOK_UP) as connection:
                connection.execute(sa.select(tables.invocations.c.id).limit(1)).all()
        except StoreError:
            return False
        return True

    def close(self) -> None:
        self._database.close()

    # Audit ------------------------------------------------------------------------------------------------------

    def write(self, records: Sequence[Record]) -> None:
        """Add invocations with their cards and findings, and comparisons, all or none. Raises StoreError.

        What is there already is passed over: a commit whose answer was lost is tried again.
        """
        calls = [record for record in records if isinstance(record, Invocation)]
        compared = [record for record in records if isinstance(record, Comparison)]
        uuids = [card.uuid for record in calls for card in record.cards]
        with self._database.transaction(engines.AUDIT) as connection:
            for table, rows in (
                (tables.invocations, [_invocation_row(record) for record in calls]),
                (tables.cards, [row for record in calls for row in _card_rows(record)]),
                (tables.findings, [row for record in calls for row in _finding_rows(record)]),
                (tables.used_facts, [row for record in calls for row in _used_rows(record)]),
                (tables.comparisons, [_comparison_row(record) for record in compared]),
                (tables.differences, [row for record in compared for row in _difference_rows(record)]),
            ):
                if rows:
                    connection.execute(new(connection, table), rows)
            if calls:
                self._expire(connection, max(record.at for record in calls))
            # Feedback may arrive before the record of its card is written.
            for start in range(0, len(uuids), _CHUNK):
                connection.execute(_CARDS_CAME, {"uuids": uuids[start : start + _CHUNK]})

    def _expire(self, connection: sa.Connection, now: datetime) -> None:
        """Delete the facts whose time is over, now and then, whether or not any are kept still."""
        if self._expired is None or abs(now - self._expired) > _EXPIRE_EVERY:
            expire(connection, now)
            self._expired = now

    # Feedback ---------------------------------------------------------------------------------------------------

    def add_feedback(self, entries: Sequence[Feedback]) -> int:
        """Add feedback and return how much of it was new; it is on the disk when this returns.

        What is there already, word for word, is passed over. Raises StoreError, and then none of it was added.
        """
        if not entries:
            return 0
        with self._database.transaction(engines.FEEDBACK) as connection:
            known = self._known(connection, {entry.card for entry in entries})
            before = connection.execute(sa.select(sa.func.max(tables.feedback.c.id))).scalar() or 0
            rows = [_feedback_row(entry, entry.card in known) for entry in entries]
            connection.execute(new(connection, tables.feedback), rows)
            digests = {row["digest"] for row in rows}
            return _count_new(connection, digests, before)

    def _known(self, connection: sa.Connection, uuids: set[str]) -> set[str]:
        listed = sorted(uuids)
        known: set[str] = set()
        for start in range(0, len(listed), _CHUNK):
            chosen = tables.cards.c.uuid.in_(listed[start : start + _CHUNK])
            known |= set(connection.execute(sa.select(tables.cards.c.uuid).where(chosen)).scalars())
        return known

    # Overrides --------------------------------------------------------------------------------------------------

    def overrides(self, orders: Sequence[str], client: str, since: datetime) -> list[Override]:
        """The findings on these orders whose cards this client overrode with a reason, newest first.

        Of cards with one identifier the newest before the feedback counts: that is what the clinician saw.
        Raises StoreError.
        """
        asked = {"orders": list(orders), "client": client, "since": since}
        newest: dict[tuple[Any, ...], Override] = {}
        shown: dict[tuple[int, str], str] = {}
        with self._database.transaction(engines.LOOK_UP) as connection:
            for row in connection.execute(_OVERRIDES, asked).mappings():
                seen = shown.setdefault((row["feedback_id"], row["card_uuid"]), row["invocation_id"])
                if seen == row["invocation_id"]:
                    override = Override(received_at=row["received_at"], finding=_finding(row))
                    newest.setdefault((row["order_key"], row["invocation_id"], row["number"]), override)
        return list(newest.values())


def expire(connection: sa.Connection, now: datetime) -> int:
    """Delete the facts whose time is over, and return how many they were."""
    return connection.execute(sa.delete(tables.used_facts).where(tables.used_facts.c.until <= now)).rowcount


_CARDS_CAME = (
    sa.update(tables.feedback)
    .where(tables.feedback.c.card_uuid.in_(sa.bindparam("uuids", expanding=True)))
    .where(tables.feedback.c.card_known.is_(False))
    .values(card_known=True)
)


def _count_new(connection: sa.Connection, digests: set[str], before: int) -> int:
    listed, count = sorted(digests), 0
    for start in range(0, len(listed), _CHUNK):
        chosen = tables.feedback.c.digest.in_(listed[start : start + _CHUNK])
        query = sa.select(sa.func.count()).where(chosen, tables.feedback.c.id > before)
        count += connection.execute(query).scalar_one()
    return count


def _overrides() -> sa.Select[Any]:
    """Built once: building the statement takes longer than running it."""
    found, said, of = tables.findings.c, tables.feedback.c, tables.invocations.c
    client = sa.bindparam("client", type_=sa.Text)
    return (
        sa.select(tables.findings, said.received_at, said.id.label("feedback_id"))
        .join(tables.invocations, of.id == found.invocation_id)
        .join(tables.feedback, said.card_uuid == found.card_uuid)
        .where(
            found.order_key.in_(sa.bindparam("orders", expanding=True)),
            of.client == client,
            of.shadow.is_(False),
            of.at <= said.received_at,
            said.client == client,
            said.outcome == "overridden",
            sa.or_(said.commented, sa.cast(said.reasons, sa.Text) != "[]"),
            said.received_at >= sa.bindparam("since", type_=tables.Moment),
        )
        .order_by(said.received_at.desc(), of.at.desc())
        .limit(_MOST_OVERRIDES)
    )


_OVERRIDES = _overrides()


# Rows -----------------------------------------------------------------------------------------------------------


def _invocation_row(record: Invocation) -> dict[str, Any]:
    row = msgspec.structs.asdict(record)
    del row["cards"], row["findings"]
    return row


def _card_rows(record: Invocation) -> Iterator[dict[str, Any]]:
    for number, card in enumerate(record.cards):
        row = msgspec.structs.asdict(card)
        row["order_key"] = row.pop("order")
        yield {"invocation_id": record.id, "number": number, **row}


def _finding_rows(record: Invocation) -> Iterator[dict[str, Any]]:
    for number, finding in enumerate(record.findings):
        row = msgspec.structs.asdict(finding)
        row["order_key"], row["card_uuid"] = row.pop("order"), row.pop("card")
        del row["used"]
        yield {"invocation_id": record.id, "number": number, **row}


def _used_rows(record: Invocation) -> Iterator[dict[str, Any]]:
    used = [(at, fact) for at, finding in enumerate(record.findings) for fact in finding.used]
    for number, (finding, fact) in enumerate(used):
        yield {"invocation_id": record.id, "number": number, "finding": finding, **msgspec.structs.asdict(fact)}


def _comparison_row(record: Comparison) -> dict[str, Any]:
    row = msgspec.structs.asdict(record)
    del row["differences"]
    return row


def _difference_rows(record: Comparison) -> Iterator[dict[str, Any]]:
    for number, difference in enumerate(record.differences):
        yield {"comparison_id": record.id, "number": number, **msgspec.structs.asdict(difference)}


def _finding(row: Any) -> Finding:
    given = {name: row[name] for name in Finding.__struct_fields__ if name not in ("order", "card", "used")}
    return Finding(order=row["order_key"], card=row["card_uuid"], **given)


def _feedback_row(entry: Feedback, known: bool) -> dict[str, Any]:
    row = msgspec.structs.asdict(entry)
    row["card_uuid"] = row.pop("card")
    # Two entries are the same if the client sent the same; nothing that we add counts.
    same = [entry.client, entry.service, entry.card, entry.outcome, entry.sent_at, entry.reasons]
    sent = msgspec.json.encode([*same, entry.commented, sorted(entry.suggestions)])
    return {**row, "card_known": known, "digest": hashlib.sha256(sent).hexdigest()}
