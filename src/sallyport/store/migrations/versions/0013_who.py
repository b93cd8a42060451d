"""What clients say of task and purpose beside their sessions, and who acted for whom in audits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. What earlier sessions said is in their recordings alone: not known here."""
    for name in ("task", "purpose"):
        op.add_column("recording_sessions", sa.Column(name, sa.Text(), nullable=True))
    acting = sa.Column("actors", sa.JSON(), nullable=False, server_default="[]")
    op.add_column("recording_audit", acting)
