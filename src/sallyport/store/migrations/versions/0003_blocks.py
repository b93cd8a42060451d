"""Operations in blocks, many a row, in the place of a row each.

What sessions before this did is found no more by what they did; they are listed and replayed as
ever, since their files hold all of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Put the new tables in the place of the old ones."""
    op.execute("DROP TRIGGER IF EXISTS recording_text_remove")
    op.execute("DROP TABLE IF EXISTS recording_text")
    op.drop_table("recording_operations")
    op.drop_table("recording_texts")
    _blocks()
    op.create_table(
        "recording_late",
        sa.Column("session", sa.String(length=96), nullable=False),
        sa.Column("operation", _number(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("approval", sa.String(length=64), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("rows", _number(), nullable=False),
        sa.Column("bytes", _number(), nullable=False),
        sa.Column("elapsed", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("session", "operation", "held", name=op.f("pk_recording_late")),
    )


def _blocks() -> None:
    op.create_table(
        "recording_blocks",
        sa.Column("id", _number(), autoincrement=False, nullable=False),
        sa.Column("session", sa.String(length=96), nullable=False),
        sa.Column("first", sa.Float(), nullable=False),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("texts", sa.LargeBinary(), nullable=False),
        sa.Column("columns", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_blocks")),
    )
    op.create_index(op.f("ix_recording_blocks_last"), "recording_blocks", ["last"], unique=False)
    op.create_index("ix_recording_blocks_session", "recording_blocks", ["session"], unique=False)
    op.create_table(
        "recording_block_shapes",
        sa.Column("shape", _number(), nullable=False),
        sa.Column("block", _number(), nullable=False),
        sa.ForeignKeyConstraint(
            ["block"], ["recording_blocks.id"], name=op.f("fk_recording_block_shapes_block")
        ),
        sa.PrimaryKeyConstraint("shape", "block", name=op.f("pk_recording_block_shapes")),
    )
    op.create_index(
        "ix_recording_block_shapes_block", "recording_block_shapes", ["block"], unique=False
    )


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")
