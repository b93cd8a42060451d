"""Whose issuer a token's subject is of, and the newest login of each."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column and the table. Tokens that were exchanged before end within minutes."""
    home = sa.Column("home", sa.String(length=512), nullable=False, server_default="")
    op.add_column("tokens", home)
    op.create_table(
        "logins",
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("roles", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_logins")),
    )
