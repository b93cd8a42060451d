"""Service accounts with their keys, assertions that were used, and where tokens come from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns."""
    op.create_table(
        "service_accounts",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("targets", sa.JSON(), nullable=True),
        sa.Column("sources", sa.JSON(), nullable=True),
        sa.Column("owner", sa.String(length=256), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_service_accounts")),
    )
    op.create_table(
        "service_account_keys",
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("jwk", sa.JSON(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account"],
            ["service_accounts.name"],
            name=op.f("fk_service_account_keys_account"),
        ),
        sa.PrimaryKeyConstraint("account", "key", name=op.f("pk_service_account_keys")),
    )
    op.create_table(
        "token_origins",
        sa.Column("token", sa.String(length=32), nullable=False),
        sa.Column("jwt", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=256), nullable=True),
        sa.Column("session", sa.String(length=256), nullable=True),
        sa.Column("acting", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["token"], ["tokens.id"], name=op.f("fk_token_origins_token"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token", "jwt", name=op.f("pk_token_origins")),
    )
    op.create_index("ix_token_origins_jwt", "token_origins", ["jwt"])
    op.create_index("ix_token_origins_subject", "token_origins", ["issuer", "subject"])
    op.create_index("ix_token_origins_session", "token_origins", ["issuer", "session"])
    op.create_table(
        "assertions",
        sa.Column("account", sa.String(length=128), nullable=False),
        sa.Column("jti", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("account", "jti", name=op.f("pk_assertions")),
    )
    op.create_index(op.f("ix_assertions_expires"), "assertions", ["expires"])
    for column in (
        sa.Column("via", sa.String(length=32), nullable=False, server_default=""),
        sa.Column("account", sa.String(length=128), nullable=True),
        sa.Column("account_key", sa.String(length=64), nullable=True),
        sa.Column("actors", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("claims", sa.JSON(), nullable=False, server_default="{}"),
    ):
        op.add_column("tokens", column)
    op.create_index(op.f("ix_tokens_account"), "tokens", ["account"])
