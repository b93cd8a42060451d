"""Which checks of a target's masks were passed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "mask_checks",
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("database", sa.String(length=256), nullable=False),
        sa.Column("revision", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("target", "database", name=op.f("pk_mask_checks")),
    )
