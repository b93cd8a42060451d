"""Logouts that issuers told of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "logouts",
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("jti", sa.LargeBinary(length=32), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=True),
        sa.Column("session", sa.String(length=256), nullable=True),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "jti", name=op.f("pk_logouts")),
    )
    op.create_index("ix_logouts_subject", "logouts", ["issuer", "subject"])
    op.create_index("ix_logouts_session", "logouts", ["issuer", "session"])
