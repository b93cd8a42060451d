"""What proves a token without its travelling: a SCRAM verifier. Tokens made before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    with op.batch_alter_table("tokens") as batch:
        batch.add_column(sa.Column("salt", sa.LargeBinary(length=16), nullable=True))
        batch.add_column(sa.Column("iterations", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("stored_key", sa.LargeBinary(length=32), nullable=True))
        batch.add_column(sa.Column("server_key", sa.LargeBinary(length=32), nullable=True))
