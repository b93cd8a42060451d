"""Rewriting: what is masked is masked where it is read, so that nothing ever sees its values.

Theory of operation. Every reference to a relation with masked columns becomes a subselect under
the same name, which has every column in its place, the masked ones as mask expressions:

    customers c  ->  (SELECT id, <mask of email> AS email FROM public.customers) c

Predicates, orders, joins, aggregates, functions and errors then work on masked values, and the
raw ones never leave the database. Names, types and their order stay. The tree is the server's own
(protobuf, which alone can be written down as text again); names are resolved as the server does,
with WITH queries first.

INVARIANT: in the text that leaves, a masked relation stands only inside our own subselects: the
text is read again, has to be what was meant, node for node, and its relations are counted.
FAILS CLOSED: whatever cannot be followed is `Unfollowed`, and nothing is sent.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sallyport.sql.names import Names
from sallyport.sql.rewriting import copied, parse_tree, returning
from sallyport.sql.rewriting.parse_tree import Message, forget_places
from sallyport.sql.rewriting.walk import Hidden, SourceMasks, Unfollowed, Walk, parsed
from sallyport.sql.statement import Name

__all__ = ["Hidden", "Rewritten", "SourceMasks", "Unfollowed", "rewrite"]

MAX_BYTES: Final = 4096
"""Longest text that is rewritten: its tree is walked, written and read again on the loop."""

_HOLDERS: Final = frozenset({"prepare_stmt", "declare_cursor_stmt", "copy_stmt"})


class Rewritten(NamedTuple):
    """What is sent in a statement's place, and the masked relations in it, with these columns."""

    text: str
    relations: tuple[tuple[Name, tuple[str, ...]], ...]


def rewrite(text: str, names: Names, hidden: Hidden) -> Rewritten:
    """Return `text` with every masked column masked at its source.

    It is one SELECT, one that PREPARE, DECLARE or COPY TO STDOUT hold, or COPY of a table; or a
    write in one of these places, whose RETURNING list is masked: INVARIANT: nothing else in it
    uses masked columns, which the caller has seen to. Raises: Unfollowed.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise Unfollowed(f"a statement of more than {MAX_BYTES} bytes is not rewritten")
    tree = parsed(text)
    if len(tree.stmts) != 1:
        raise Unfollowed("only a statement by itself is rewritten")
    query = _query(tree.stmts[0].stmt, names)
    forget_places(tree)
    walk = Walk(names, hidden, tree)
    if query.WhichOneof("node") == "select_stmt":
        walk.node(query, frozenset())
    else:
        returning.mask(query, names, walk)
    written = _deparse(tree)
    _check(tree, parsed(written), walk)
    relations = {one.name: one.columns for one in walk.placed}
    return Rewritten(written, tuple(relations.items()))


def _query(node: Message, names: Names) -> Message:
    """Return the SELECT or write that a statement is, or holds. Raises: Unfollowed."""
    kind = node.WhichOneof("node")
    if kind == "copy_stmt" and (node.copy_stmt.is_from or node.copy_stmt.filename):
        raise Unfollowed("COPY goes to STDOUT where columns are masked", "COPY (...) TO STDOUT")
    if kind == "copy_stmt" and node.copy_stmt.HasField("relation"):
        try:
            copied.as_query(node.copy_stmt, names)
        except ValueError as error:
            raise Unfollowed(str(error), "COPY (SELECT ...) TO STDOUT") from None
    if kind in _HOLDERS:
        node = getattr(node, kind).query
    if node.WhichOneof("node") not in ("select_stmt", *returning.WRITES):
        raise Unfollowed("only a SELECT is rewritten, and what writes gives back")
    return node


def _deparse(tree: Message) -> str:
    try:
        return parse_tree.deparse(tree)
    except ValueError as error:
        raise Unfollowed("it cannot be written down again") from error


def _check(meant: Message, written: Message, walk: Walk) -> None:
    """See that the text says what was meant, and where masked relations stand in it."""
    standing = forget_places(written)
    if meant.stmts != written.stmts:
        raise Unfollowed("it cannot be written down again exactly")
    masked = {one.name for one in walk.placed}
    if sum(name in masked for name in standing) != len(walk.placed) or any(
        name in walk.inlined for name in standing
    ):
        raise Unfollowed("a masked relation would stand outside of its mask")
