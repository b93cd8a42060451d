"""One parsed statement into a `Statement`: which handler reads which node.

FAILS CLOSED: a node type without a handler, a query nested too deeply, and any error of a handler
is a statement of effect UNKNOWN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sallyport.core.operation import Effect, Resource
from sallyport.sql import administration, ddl, rows, set_config, tree, utility
from sallyport.sql.draft import Draft, Parse
from sallyport.sql.effort import TooDeep
from sallyport.sql.grammar import Parsed, ParseFailed
from sallyport.sql.names import Names
from sallyport.sql.statement import Change, Statement
from sallyport.sql.tree import Fields, Node

Handler = Callable[[Draft, str, Fields], object]

_HANDLERS: Final[dict[str, Handler]] = {
    "SelectStmt": rows.query,
    "InsertStmt": rows.query,
    "UpdateStmt": rows.query,
    "DeleteStmt": rows.query,
    "MergeStmt": rows.query,
    "CreateTableAsStmt": rows.create_table_as,
    "ExplainStmt": rows.explain,
    "CopyStmt": rows.copy,
    "TruncateStmt": rows.truncate,
    "LockStmt": rows.lock,
    "TransactionStmt": utility.transaction,
    "VariableSetStmt": utility.set_,
    "VariableShowStmt": utility.show,
    "DiscardStmt": utility.discard,
    "PrepareStmt": utility.prepare,
    "ExecuteStmt": utility.execute,
    "DeallocateStmt": utility.deallocate,
    "DeclareCursorStmt": utility.declare,
    "FetchStmt": utility.fetch,
    "ClosePortalStmt": utility.close,
    "NotifyStmt": utility.notify,
    "ListenStmt": utility.listen,
    "UnlistenStmt": utility.listen,
    "DoStmt": utility.do,
    "CallStmt": utility.call,
    "ConstraintsSetStmt": utility.constraints,
    "LoadStmt": utility.load,
    "CheckPointStmt": utility.checkpoint,
    **ddl.HANDLERS,
    **administration.HANDLERS,
}
MAX_NESTED: Final = 8
"""Deepest chain of EXPLAIN, PREPARE and EXECUTE that is followed."""


def classify(parsed: Parsed, names: Names, parse: Parse, fingerprint: bytes) -> Statement:
    """Return what a statement does, for the session and catalogue of `names`."""
    draft = Draft(parsed.text, names, parse, nested_statement)
    try:
        nested_statement(draft, parsed.node)
        set_config.settle(draft)
        return draft.finish(fingerprint)
    except TooDeep:
        return unknown(parsed.text, names, fingerprint)
    except (ParseFailed, RecursionError, ValueError, TypeError, LookupError, AttributeError):
        return unknown(parsed.text, names, fingerprint)


def nested_statement(draft: Draft, node: Node) -> None:
    """Fill a draft from a statement, which may stand inside another (EXPLAIN, PREPARE)."""
    draft.nested += 1
    if draft.nested > MAX_NESTED:
        raise TooDeep
    kind = tree.tag(node)
    handler = _HANDLERS.get(kind)
    if handler is None:
        draft.verb = "unknown"
        draft.add("statement", kind or "?", Effect.UNKNOWN, "unparsed")
        draft.change = Change("opaque", opaque=True)
        return
    handler(draft, kind, tree.body(node))
    draft.account.verbs.add(draft.verb)


def unknown(text: str, names: Names, fingerprint: bytes) -> Statement:
    """Return the statement for a text that is not understood."""
    return Statement(
        text=text,
        verb="unknown",
        effect=Effect.UNKNOWN,
        resources=(
            Resource("database", names.state.database, Effect.READ),
            Resource("statement", "?", Effect.UNKNOWN),
        ),
        facts=frozenset({"unparsed"}),
        fingerprint=fingerprint,
        change=Change("opaque", opaque=True),
    )
