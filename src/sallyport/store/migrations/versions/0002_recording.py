"""The recordings' index: journals, sessions, operations and what they share, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Full-text search is the index's own to make, where there is any."""
    op.create_table(
        "recording_audit",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(length=256), nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("session", sa.String(length=96), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_audit")),
    )
    op.create_index(op.f("ix_recording_audit_action"), "recording_audit", ["action"], unique=False)
    op.create_index(op.f("ix_recording_audit_actor"), "recording_audit", ["actor"], unique=False)
    op.create_index(op.f("ix_recording_audit_at"), "recording_audit", ["at"], unique=False)
    op.create_table(
        "recording_journals",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("worker", sa.String(length=96), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("chain", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_recording_journals")),
    )
    op.create_table(
        "recording_operations",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("session", sa.String(length=96), nullable=False),
        sa.Column(
            "operation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("shape", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("text", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("approval", sa.String(length=64), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("rows", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("elapsed", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_operations")),
    )
    op.create_index(
        op.f("ix_recording_operations_at"), "recording_operations", ["at"], unique=False
    )
    op.create_index(
        "ix_recording_operations_session",
        "recording_operations",
        ["session", "operation"],
        unique=False,
    )
    op.create_index(
        op.f("ix_recording_operations_shape"), "recording_operations", ["shape"], unique=False
    )
    op.create_index(
        op.f("ix_recording_operations_text"), "recording_operations", ["text"], unique=False
    )
    op.create_table(
        "recording_sessions",
        sa.Column("id", sa.String(length=96), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("issuer", sa.String(length=256), nullable=False),
        sa.Column("token", sa.String(length=128), nullable=False),
        sa.Column("actors", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(length=128), nullable=False),
        sa.Column("application", sa.String(length=256), nullable=False),
        sa.Column("protocol", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("database", sa.String(length=256), nullable=False),
        sa.Column("login", sa.String(length=256), nullable=False),
        sa.Column("write", sa.Boolean(), nullable=False),
        sa.Column("encrypted", sa.Boolean(), nullable=False),
        sa.Column("opened", sa.Float(), nullable=False),
        sa.Column("closed", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("worker", sa.String(length=96), nullable=False),
        sa.Column("events", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column(
            "operations", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("denied", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("held", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rows", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bytes", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("root", sa.String(length=64), nullable=False),
        sa.Column("legal_hold", sa.Boolean(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("extents", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_sessions")),
    )
    op.create_index(
        op.f("ix_recording_sessions_opened"), "recording_sessions", ["opened"], unique=False
    )
    op.create_index(
        op.f("ix_recording_sessions_state"), "recording_sessions", ["state"], unique=False
    )
    op.create_index(
        "ix_recording_sessions_subject", "recording_sessions", ["subject", "opened"], unique=False
    )
    op.create_index(
        "ix_recording_sessions_target", "recording_sessions", ["target", "opened"], unique=False
    )
    op.create_table(
        "recording_shapes",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("verb", sa.String(length=64), nullable=False),
        sa.Column("effect", sa.String(length=16), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("resources", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_shapes")),
    )
    op.create_table(
        "recording_texts",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recording_texts")),
    )
    op.create_table(
        "recording_touched",
        sa.Column("name", sa.String(length=512), nullable=False),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["id"], ["recording_shapes.id"], name=op.f("fk_recording_touched_id")
        ),
        sa.PrimaryKeyConstraint("name", "id", "kind", name=op.f("pk_recording_touched")),
    )
    op.create_index("ix_recording_touched_id", "recording_touched", ["id"], unique=False)
