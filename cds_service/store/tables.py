"""The tables, as SQLAlchemy sees them; the migrations make them, and a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A moment, always with a zone; kept in UTC, which SQLite has to be told when it is read."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = sa.MetaData()
_DIGEST = sa.String(32)
_UUID = sa.String(36)
_POLICY = sa.String(16)
"""A digest of what was loaded, as the sign-off sheet has it."""

invocations = sa.Table(
    "invocation",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("hook_instance", _UUID),
    sa.Column("microseconds", sa.BigInteger, nullable=False),
    sa.Column("protocol", sa.Text, nullable=False),
    sa.Column("site", sa.Text),
    sa.Column("patient", _DIGEST),
    sa.Column("shadow", sa.Boolean, nullable=False),
    sa.Column("failed", sa.Boolean, nullable=False),
    sa.Column("language", sa.Text),
    sa.Index("invocation_at", "at", "id"),
    sa.Index("invocation_hook_instance", "hook_instance"),
)

cards = sa.Table(
    "card",
    metadata,
    sa.Column("invocation_id", _UUID, sa.ForeignKey("invocation.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("uuid", _UUID, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("indicator", sa.Text, nullable=False),
    sa.Column("order_key", _DIGEST),
    sa.Index("card_uuid", "uuid"),
)

findings = sa.Table(
    "finding",
    metadata,
    sa.Column("invocation_id", _UUID, sa.ForeignKey("invocation.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("tier", sa.Text),
    sa.Column("severity", sa.Text),
    sa.Column("missing", sa.JSON, nullable=False),
    sa.Column("card_uuid", _UUID),
    sa.Column("order_key", _DIGEST),
    sa.Column("figure", sa.Text),
    sa.Column("lower_is_worse", sa.Boolean, nullable=False),
    sa.Column("dose_shape", _DIGEST),
    sa.Column("dose_amounts", sa.JSON, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("filtered", sa.Text),
    sa.Column("reason_kind", sa.Text),
    sa.Index("finding_order", "order_key"),
)

used_facts = sa.Table(
    "used_fact",
    metadata,
    sa.Column("invocation_id", _UUID, sa.ForeignKey("invocation.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("finding", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("codes", sa.JSON, nullable=False),
    sa.Column("value", sa.Text),
    sa.Column("unit", sa.Text),
    sa.Column("age_minutes", sa.BigInteger),
    sa.Column("until", Moment, nullable=False),
    sa.Index("used_fact_until", "until"),
)
"""`finding` is the number of the finding in its invocation."""

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("card_uuid", _UUID, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("sent_at", sa.Text),
    sa.Column("received_at", Moment, nullable=False),
    sa.Column("reasons", sa.JSON, nullable=False),
    sa.Column("commented", sa.Boolean, nullable=False),
    sa.Column("suggestions", sa.JSON, nullable=False),
    sa.Column("card_known", sa.Boolean, nullable=False),
    sa.UniqueConstraint("digest", name="feedback_digest"),
    sa.Index("feedback_card", "card_uuid"),
    sa.Index("feedback_received_at", "received_at", "id"),
)

comparisons = sa.Table(
    "comparison",
    metadata,
    sa.Column("id", _UUID, primary_key=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("live", _POLICY, nullable=False),
    sa.Column("candidate", _POLICY, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("orders", sa.Integer, nullable=False),
    sa.Column("dropped", sa.Integer, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
    sa.Column("interrupting_live", sa.Integer, nullable=False),
    sa.Column("interrupting_candidate", sa.Integer, nullable=False),
    sa.Index("comparison_at", "at", "id"),
)

differences = sa.Table(
    "difference",
    metadata,
    sa.Column("comparison_id", _UUID, sa.ForeignKey("comparison.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("was", sa.Text, nullable=False),
    sa.Column("was_severity", sa.Text),
    sa.Column("becomes", sa.Text, nullable=False),
    sa.Column("severity", sa.Text),
    sa.Column("orders", sa.Integer, nullable=False),
)
