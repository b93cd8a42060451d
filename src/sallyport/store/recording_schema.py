"""Tables of the recordings' index: what the files hold, so that it is found. It proves nothing.

Times are epoch seconds. Control's follower is the only writer but for `sessions.legal_hold`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from sallyport.store.schema import metadata

_Number = BigInteger().with_variant(Integer, "sqlite")

journals = Table(
    "recording_journals",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("worker", String(96), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("offset", _Number, nullable=False),
    Column("chain", LargeBinary(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("problem", Text, nullable=False),
)
"""How far each journal was read. `state` is open, ended, or kept (what it held lies elsewhere)."""

sessions = Table(
    "recording_sessions",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("state", String(16), nullable=False, index=True),
    Column("subject", String(256), nullable=False),
    Column("groups", JSON, nullable=False),
    Column("issuer", String(256), nullable=False),
    Column("token", String(128), nullable=False),
    Column("actors", JSON, nullable=False),
    Column("source", String(128), nullable=False),
    Column("application", String(256), nullable=False),
    Column("protocol", String(32), nullable=False),
    Column("target", String(128), nullable=False),
    Column("database", String(256), nullable=False),
    Column("login", String(256), nullable=False),
    Column("write", Boolean, nullable=False),
    Column("encrypted", Boolean, nullable=False),
    Column("opened", Float, nullable=False, index=True),
    Column("closed", Float, nullable=True),
    Column("reason", Text, nullable=False),
    Column("worker", String(96), nullable=False),
    Column("events", _Number, nullable=False),
    Column("operations", _Number, nullable=False),
    Column("denied", _Number, nullable=False),
    Column("held", _Number, nullable=False),
    Column("rows", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
    Column("size", _Number, nullable=False),
    Column("root", String(64), nullable=False),
    Column("legal_hold", Boolean, nullable=False),
    Column("path", Text, nullable=False),
    Column("extents", JSON, nullable=False),
    Column("task", Text, nullable=True),
    Column("purpose", Text, nullable=True),
    Index("ix_recording_sessions_subject", "subject", "opened"),
    Index("ix_recording_sessions_target", "target", "opened"),
)
"""One row a session. `extents` are where its events lie in the journals: [name, start, end]."""

shapes = Table(
    "recording_shapes",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("verb", String(64), nullable=False),
    Column("effect", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("rules", JSON, nullable=False),
    Column("reason", Text, nullable=False),
    Column("resources", JSON, nullable=False),
)
"""What many decisions have in common. Two rows may say the same."""

touched = Table(
    "recording_touched",
    metadata,
    Column("name", String(512), primary_key=True),
    Column("id", _Number, ForeignKey("recording_shapes.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Index("ix_recording_touched_id", "id"),
)
"""What the operations of each shape touch, by full name."""

blocks = Table(
    "recording_blocks",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("session", String(96), nullable=False),
    Column("first", Float, nullable=False),
    Column("last", Float, nullable=False, index=True),
    Column("texts", LargeBinary, nullable=False),
    Column("columns", LargeBinary, nullable=False),
    Index("ix_recording_blocks_session", "session"),
)
"""Decisions of one session, many a row (`recording.blocks`), made from `first` to `last`."""

block_shapes = Table(
    "recording_block_shapes",
    metadata,
    Column("shape", _Number, primary_key=True),
    Column("block", _Number, ForeignKey("recording_blocks.id"), primary_key=True),
    Index("ix_recording_block_shapes_block", "block"),
)
"""Which shapes the decisions of a block have."""

late = Table(
    "recording_late",
    metadata,
    Column("session", String(96), primary_key=True),
    Column("operation", _Number, primary_key=True),
    Column("held", Boolean, primary_key=True),
    Column("approval", String(64), nullable=False),
    Column("tag", Text, nullable=False),
    Column("code", String(32), nullable=False),
    Column("rows", _Number, nullable=False),
    Column("bytes", _Number, nullable=False),
    Column("elapsed", Float, nullable=False),
)
"""How operations ended, or what became of a hold, that were decided in an earlier block."""

audit = Table(
    "recording_audit",
    metadata,
    Column("id", _Number, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False, index=True),
    Column("actor", String(256), nullable=False, index=True),
    Column("action", String(128), nullable=False, index=True),
    Column("object", Text, nullable=False),
    Column("session", String(96), nullable=False),
    Column("details", JSON, nullable=False),
    Column("actors", JSON, nullable=False, server_default="[]"),
)
"""What was done to the product itself, and logins that were refused."""

findings = Table(
    "recording_findings",
    metadata,
    Column("target", String(128), primary_key=True),
    Column("database", String(256), primary_key=True),
    Column("column", String(256), primary_key=True),
    Column("detector", String(64), primary_key=True),
    Column("hits", _Number, nullable=False),
    Column("cells", _Number, nullable=False),
    Column("first", Float, nullable=False),
    Column("last", Float, nullable=False),
    Column("subject", String(256), nullable=False),
)
"""What detectors hid in columns that no mask names. `subject` saw it last."""

TABLES = (journals, sessions, shapes, touched, blocks, block_shapes, late, audit, findings)
