"""What detectors found in columns that no mask names."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "recording_findings",
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("database", sa.String(length=256), nullable=False),
        sa.Column("column", sa.String(length=256), nullable=False),
        sa.Column("detector", sa.String(length=64), nullable=False),
        sa.Column("hits", number, nullable=False),
        sa.Column("cells", number, nullable=False),
        sa.Column("first", sa.Float(), nullable=False),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint(
            "target", "database", "column", "detector", name=op.f("pk_recording_findings")
        ),
    )
