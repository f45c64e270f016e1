"""A call is looked up by its hook instance."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("invocation_hook_instance", "invocation", ["hook_instance"])
