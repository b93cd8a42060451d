"""Requests for access: who asked for what, what people answered, until when it is given."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "access_requests",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("issuer", sa.String(256), nullable=False),
        sa.Column("owner", sa.String(256), nullable=False),
        sa.Column("actors", sa.JSON, nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
        sa.Column("target", sa.String(128), nullable=False),
        sa.Column("database", sa.String(256), nullable=False),
        sa.Column("login", sa.String(256), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("duration", sa.Float, nullable=False),
        sa.Column("rule", sa.String(128), nullable=False),
        sa.Column("approvers", sa.JSON, nullable=False),
        sa.Column("people", sa.Integer, nullable=False),
        sa.Column("opened", sa.Float, nullable=False),
        sa.Column("expires", sa.Float, nullable=False),
        sa.Column("begins", sa.Float, nullable=True),
        sa.Column("ends", sa.Float, nullable=True),
        sa.Column("settled", sa.Float, nullable=True),
        sa.Column("settled_by", sa.String(256), nullable=False),
        sa.Column("settled_reason", sa.Text, nullable=False),
        sa.Column("votes", sa.JSON, nullable=False),
    )
    op.create_index("ix_access_requests_state", "access_requests", ["state", "subject"])


def downgrade() -> None:
    """Take the table away."""
    op.drop_table("access_requests")
