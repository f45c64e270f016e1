"""The language of the cards, and the site's filter that changed a finding."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("invocation", sa.Column("language", sa.Text))
    op.add_column("finding", sa.Column("filtered", sa.Text))
