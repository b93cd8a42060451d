"""What a client says of its task and purpose, beside what waits for an approval."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("approvals") as table:
        for name in ("task", "purpose"):
            table.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
