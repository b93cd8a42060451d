"""Tables of what control keeps: tokens, revocations, credentials, approvals and quota counts.

Times are epoch seconds. INVARIANT: no table holds a secret in the clear: a token is a hash, a
credential is sealed.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
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
    UniqueConstraint,
)

from sallyport.store.schema import metadata

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("subject", String(256), nullable=False, index=True),
    Column("groups", JSON, nullable=False),
    Column("roles", JSON, nullable=False),
    Column("owner", String(256), nullable=False),
    Column("targets", JSON, nullable=True),
    Column("sources", JSON, nullable=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("revoked", Float, nullable=True),
    Column("used", Float, nullable=True),
    Column("salt", LargeBinary(16), nullable=True),
    Column("iterations", Integer, nullable=True),
    Column("stored_key", LargeBinary(32), nullable=True),
    Column("server_key", LargeBinary(32), nullable=True),
    Column("via", String(32), nullable=False, server_default=""),
    Column("account", String(128), nullable=True, index=True),
    Column("account_key", String(64), nullable=True),
    Column("actors", JSON, nullable=False, server_default="[]"),
    Column("claims", JSON, nullable=False, server_default="{}"),
    Column("home", String(512), nullable=False, server_default=""),
)
"""`salt` to `server_key` are the SCRAM verifier; a token made before there were any has none.

`via` is how it came about: "" (made by somebody), break-glass, exchange, sign-in or
client-credentials; `home` is the issuer of whom it stands for, "" the gateway itself.
"""

token_origins = Table(
    "token_origins",
    metadata,
    Column("token", String(32), ForeignKey("tokens.id", ondelete="CASCADE"), primary_key=True),
    Column("jwt", String(64), primary_key=True),
    Column("issuer", String(512), nullable=False),
    Column("subject", String(256), nullable=True),
    Column("session", String(256), nullable=True),
    Column("acting", Boolean, nullable=False),
    Index("ix_token_origins_jwt", "jwt"),
    Index("ix_token_origins_subject", "issuer", "subject"),
    Index("ix_token_origins_session", "issuer", "session"),
)
"""JWTs that a token was exchanged for: its subject's, and its actor's (`acting`). `subject` and
`session` are `sub` and `sid`."""

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("groups", JSON, nullable=False),
    Column("targets", JSON, nullable=True),
    Column("sources", JSON, nullable=True),
    Column("owner", String(256), nullable=False),
    Column("created", Float, nullable=False),
)

service_account_keys = Table(
    "service_account_keys",
    metadata,
    Column("account", String(128), ForeignKey("service_accounts.name"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("jwk", JSON, nullable=False),
    Column("created", Float, nullable=False),
)
"""Public keys; `key` is the thumbprint (RFC 7638)."""

assertions = Table(
    "assertions",
    metadata,
    Column("account", String(128), primary_key=True),
    Column("jti", LargeBinary(32), primary_key=True),
    Column("expires", Float, nullable=False, index=True),
)
"""Client assertions that were used: `jti` is a hash. Kept beyond their account, until they expire.
"""

revocations = Table(
    "revocations",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("value", String(256), primary_key=True),
    Column("at", Float, nullable=False),
)
"""What an issuer's own tokens are refused for: kind is token, subject or all; `at` bounds `iat`."""

logins = Table(
    "logins",
    metadata,
    Column("issuer", String(512), primary_key=True),
    Column("subject", String(256), primary_key=True),
    Column("at", Float, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("roles", JSON, nullable=False),
)
"""The newest login of each `sub` of an issuer: when its JWT was made, and what it gave."""

logouts = Table(
    "logouts",
    metadata,
    Column("issuer", String(512), primary_key=True),
    Column("jti", LargeBinary(32), primary_key=True),
    Column("subject", String(256), nullable=True),
    Column("session", String(256), nullable=True),
    Column("at", Float, nullable=False),
    Index("ix_logouts_subject", "issuer", "subject"),
    Index("ix_logouts_session", "issuer", "session"),
)
"""Logout tokens of issuers that were taken: `jti` is a hash, so that none counts twice; `subject`
and `session` are `sub` and `sid`; a subject's JWTs of before `at` let nobody in."""

browser_sessions = Table(
    "browser_sessions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("state", LargeBinary(32), nullable=False, unique=True),
    Column("token", String(32), nullable=False),
    Column("client", String(128), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("sub", String(256), nullable=False),
    Column("sid", String(256), nullable=True),
    Column("nonce", String(64), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("begun", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("used", Float, nullable=False),
    Index("ix_browser_sessions_subject", "issuer", "sub"),
)
"""Browsers that are signed in: `digest` is the hash of a cookie, `state` that of the login that it
came of, `sealed` what the provider gave, which opens with the cookie alone."""

credentials = Table(
    "credentials",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("master", LargeBinary(8), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("ticket", Boolean, nullable=False),
    Column("session", String(64), nullable=False),
    Column("operation", Integer, nullable=False),
    Column("subject", String(256), nullable=False),
    Column("issuer", String(256), nullable=False),
    Column("owner", String(256), nullable=False),
    Column("actors", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("protocol", String(32), nullable=False),
    Column("target", String(128), nullable=False),
    Column("database", String(256), nullable=False),
    Column("login", String(256), nullable=False),
    Column("source", String(128), nullable=False),
    Column("application", String(256), nullable=False),
    Column("verb", String(64), nullable=False),
    Column("effect", String(16), nullable=False),
    Column("resources", JSON, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("text", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("digest", LargeBinary(64), nullable=False),
    Column("rewritten", Text, nullable=False, server_default=""),
    Column("masks", LargeBinary(64), nullable=False, server_default=""),
    Column("task", Text, nullable=False, server_default=""),
    Column("purpose", Text, nullable=False, server_default=""),
    Column("rules", JSON, nullable=False),
    Column("approvers", JSON, nullable=False),
    Column("people", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("window", Float, nullable=False),
    Column("opened", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("settled", Float, nullable=True),
    Column("settled_reason", Text, nullable=False, server_default=""),
    Column("spent", Float, nullable=True),
    UniqueConstraint("session", "operation", name="uq_approvals_session"),
    Index("ix_approvals_state", "state", "expires"),
    Index("ix_approvals_ticket", "subject", "target", "digest"),
)

mask_checks = Table(
    "mask_checks",
    metadata,
    Column("target", String(128), primary_key=True),
    Column("database", String(256), primary_key=True),
    Column("revision", String(64), nullable=False),
)

votes = Table(
    "votes",
    metadata,
    Column("approval", String(32), ForeignKey("approvals.id"), primary_key=True),
    Column("person", String(256), primary_key=True),
    Column("name", String(256), nullable=False),
    Column("owner", String(256), nullable=False),
    Column("actors", JSON, nullable=False),
    Column("yes", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Float, nullable=False),
)
"""One answer of one person; `person` is the name in the form in which two names are one person."""

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("subject", String(256), nullable=False),
    Column("issuer", String(256), nullable=False),
    Column("owner", String(256), nullable=False),
    Column("actors", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    Column("target", String(128), nullable=False),
    Column("database", String(256), nullable=False),
    Column("login", String(256), nullable=False),
    Column("why", Text, nullable=False),
    Column("duration", Float, nullable=False),
    Column("rule", String(128), nullable=False),
    Column("approvers", JSON, nullable=False),
    Column("people", Integer, nullable=False),
    Column("opened", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("begins", Float, nullable=True),
    Column("ends", Float, nullable=True),
    Column("settled", Float, nullable=True),
    Column("settled_by", String(256), nullable=False),
    Column("settled_reason", Text, nullable=False),
    Column("votes", JSON, nullable=False),
    Index("ix_access_requests_state", "state", "subject"),
)
"""What was asked for and given; `votes` is a list, which `version` guards as it does the rest."""

spending = Table(
    "spending",
    metadata,
    Column("subject", String(256), primary_key=True),
    Column("target", String(128), primary_key=True),
    Column("quota", String(64), primary_key=True),
    Column("slot", Integer, primary_key=True),
    Column("amount", Integer, nullable=False),
)
"""What was used of each quota in each slot of its window, so that a restart resets nothing."""
