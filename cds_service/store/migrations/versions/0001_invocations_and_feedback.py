"""Invocations with their cards and findings, and feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_DIGEST = sa.String(32)
_UUID = sa.String(36)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "invocation",
        sa.Column("id", _UUID, primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("hook_instance", _UUID),
        sa.Column("microseconds", sa.BigInteger, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("site", sa.Text),
        sa.Column("patient", _DIGEST),
        sa.Column("shadow", sa.Boolean, nullable=False),
        sa.Column("failed", sa.Boolean, nullable=False),
    )
    op.create_index("invocation_at", "invocation", ["at", "id"])
    op.create_table(
        "card",
        sa.Column("invocation_id", _UUID, sa.ForeignKey("invocation.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("uuid", _UUID, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("indicator", sa.Text, nullable=False),
        sa.Column("order_key", _DIGEST),
    )
    op.create_index("card_uuid", "card", ["uuid"])
    op.create_table(
        "finding",
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
    )
    op.create_index("finding_order", "finding", ["order_key"])
    op.create_table(
        "feedback",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("card_uuid", _UUID, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("sent_at", sa.Text),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("commented", sa.Boolean, nullable=False),
        sa.Column("suggestions", sa.JSON, nullable=False),
        sa.Column("card_known", sa.Boolean, nullable=False),
        sa.UniqueConstraint("digest", name="feedback_digest"),
    )
    op.create_index("feedback_card", "feedback", ["card_uuid"])
    op.create_index("feedback_received_at", "feedback", ["received_at", "id"])
