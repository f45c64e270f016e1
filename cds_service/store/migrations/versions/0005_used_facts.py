"""The facts behind each finding, for as long as a site has them kept, and why a rule could not be told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("finding", sa.Column("reason_kind", sa.Text))
    op.create_table(
        "used_fact",
        sa.Column("invocation_id", sa.String(36), sa.ForeignKey("invocation.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("finding", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("codes", sa.JSON, nullable=False),
        sa.Column("value", sa.Text),
        sa.Column("unit", sa.Text),
        sa.Column("age_minutes", sa.BigInteger),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("used_fact_until", "used_fact", ["until"])
