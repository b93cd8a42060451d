"""Approvals are bound to what the target gets, and to the masks, too.

Those of before are of statements that nothing masked, or are answered once more.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("approvals") as table:
        table.add_column(sa.Column("rewritten", sa.Text(), nullable=False, server_default=""))
        table.add_column(
            sa.Column("masks", sa.LargeBinary(length=64), nullable=False, server_default="")
        )
