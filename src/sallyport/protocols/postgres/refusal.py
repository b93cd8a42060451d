"""Refusals: what a client is told in place of an answer, and how the server is made to agree.

Where something of a batch or a transaction was released already, merely dropping the refused
command would keep what came before it. So a statement that always fails takes its place: the
server itself aborts and discards, exactly as for any error of its own, and the gateway's error
stands where the server's would.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.decision import Deny
from sallyport.protocols.postgres import messages, replies

REFUSED: Final = "42501"
"""insufficient_privilege: what a refusal is to a client."""
ABORTED: Final = "25P02"
"""in_failed_sql_transaction: an already aborted transaction says this of every command."""
LIMIT: Final = "54000"
"""program_limit_exceeded: a result that outgrew its limit."""
CANCELLED: Final = "57014"

_FAILING: Final = "select 'refused by the gateway'::pg_catalog.int4"
# analysed, this is an input error of a type that no schema can shadow; it never gets to run

FAILING_QUERY: Final = messages.query(_FAILING)
"""A Query that always fails."""
FAILING_PARSE: Final = messages.parse("refused by the gateway", _FAILING)
"""A Parse that always fails. It is named, so that the client's unnamed statement survives it."""


def error(deny: Deny, which: str = "", *, severity: str = "ERROR", code: str = REFUSED) -> bytes:
    """Return the ErrorResponse for `deny`.

    `which` names the statement where a message holds several ("statement 2 of 3"). A deny with a
    code of its own is no refusal by a rule: its reason is the message.
    """
    if deny.code:
        return replies.error(deny.code, deny.reason, severity=severity, hint=deny.hint)
    rule = deny.rules[0] if deny.rules else "default-deny"
    text = f"{which} refused by rule `{rule}`".lstrip()
    return replies.error(code, text, severity=severity, detail=deny.reason, hint=deny.hint)


def missing(kind: str, name: str) -> Deny:
    """Return the server's own complaint about a missing statement (`S`) or portal (`P`)."""
    if kind == "P":
        return Deny((), f'portal "{name}" does not exist', "", code="34000")
    if not name:
        return Deny((), "unnamed prepared statement does not exist", "", code="26000")
    return Deny((), f'prepared statement "{name}" does not exist', "", code="26000")


def outdated(name: str) -> Deny:
    """Return the refusal to run a portal whose names mean something else than when it was bound."""
    reason = f'names in portal "{name}" have changed their meaning since it was bound'
    return Deny((), reason, "bind it again", code="55000")


def too_many(what: str, limit: int) -> Deny:
    """Return the refusal of one more `what` than a session may keep."""
    return Deny((), f"a session may keep {limit} {what}", "close what is not needed", code=LIMIT)
