"""How a candidate policy would have answered the same calls: counts, and what differed by rule."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "comparison",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("live", sa.String(16), nullable=False),
        sa.Column("candidate", sa.String(16), nullable=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("orders", sa.Integer, nullable=False),
        sa.Column("dropped", sa.Integer, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
        sa.Column("interrupting_live", sa.Integer, nullable=False),
        sa.Column("interrupting_candidate", sa.Integer, nullable=False),
    )
    op.create_index("comparison_at", "comparison", ["at", "id"])
    op.create_table(
        "difference",
        sa.Column("comparison_id", sa.String(36), sa.ForeignKey("comparison.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("was", sa.Text, nullable=False),
        sa.Column("was_severity", sa.Text),
        sa.Column("becomes", sa.Text, nullable=False),
        sa.Column("severity", sa.Text),
        sa.Column("orders", sa.Integer, nullable=False),
    )
