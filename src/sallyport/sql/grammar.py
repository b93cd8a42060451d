"""PostgreSQL's own grammar, behind a small interface: text in, statements as plain trees out.

The tree is libpg_query's JSON form (the server's raw parse tree, before any name is looked up).
FAILS CLOSED: a text that is too large, too deep, holds NUL or is no UTF-8, and any error of the
library, is a `ParseFailed`; there is no other way to read it.

Hazards: the library recurses on the C stack without a limit, so only short texts are parsed on
the loop's thread; longer ones go to a thread with a deep stack (`parse_deeply`). Offsets in the
tree are bytes.
"""

from __future__ import annotations

import hashlib
import re
import sys
from typing import Final

import msgspec
from msgspec import Struct
from postgast.native import lib

from sallyport.sql.tree import Node

MAX_BYTES = 1 << 20
"""Longest text that is parsed at all."""
SHALLOW_BYTES = 4096
"""Longest text that is parsed on a thread with an ordinary stack."""
MAX_TREE_BYTES = 24 << 20
"""Largest tree that is decoded."""
MAX_STATEMENTS = 1000
_DEEP_RECURSION = 9000


class ParseFailed(Exception):
    """The text is not understood. `too_large`: it may be, on a deeper stack."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.too_large = too_large


class Parsed(Struct, frozen=True):
    """One statement of a text: its node (one key: the node's type) and its own slice."""

    node: Node
    text: str


class Tree(Struct, frozen=True):
    """A text's tree as the library wrote it."""

    raw: bytes
    encoded: bytes

    def statements(self) -> tuple[Parsed, ...]:
        """Return the statements. Raises: ParseFailed."""
        return _statements(self.raw, self.encoded)

    def shape(self) -> tuple[bytes, str] | None:
        """Return what texts have in common that differ in their constants alone, and the text.

        The text is the single statement's slice; None: the tree holds several. A constant's type
        stays in the shape; that a value is a constant can only be told by the grammar, so the
        tree is what is cut, never the text. Quotes inside a JSON string are escaped, so no value
        can look like a key.
        """
        last = self.encoded.rfind(b"}", 0, -3)
        place = _PLACE.fullmatch(self.encoded, last + 1, len(self.encoded) - 3)
        if place is None or self.encoded.count(b'{"stmt":{') != 1:
            return None
        start, length = int(place[1] or 0), int(place[2] or 0)
        text = self.raw[start : start + length if length else None].decode("utf-8", "replace")
        shape = _CONSTANT.sub(rb'"A_Const":"\1"', self.encoded[:last])
        return _LOCATION.sub(b"", shape), text.strip()


_CONSTANT: Final = re.compile(
    rb'"A_Const":\{"(ival|fval|sval|bsval)":'
    rb'\{(?:"\1":(?:-?[0-9]+|"(?:[^"\\]|\\.)*"))?\}(?:,"location":-?[0-9]+)?\}'
)
_LOCATION: Final = re.compile(rb'"location":-?[0-9]+')
_PLACE: Final = re.compile(rb'(?:,"stmt_location":([0-9]+))?(?:,"stmt_len":([0-9]+))?')


class _RawStatement(Struct):
    stmt: dict[str, dict[str, object]] = {}
    stmt_location: int = 0
    stmt_len: int = 0


class _ParseTree(Struct):
    version: int
    stmts: list[_RawStatement] = []


_decode = msgspec.json.Decoder(_ParseTree).decode


def parse(text: str, limit: int = SHALLOW_BYTES) -> tuple[Parsed, ...]:
    """Return the statements of a text of at most `limit` bytes. Raises: ParseFailed."""
    return read(text, limit).statements()


def read(text: str, limit: int = SHALLOW_BYTES) -> Tree:
    """Return the undecoded tree of a text of at most `limit` bytes. Raises: ParseFailed."""
    if len(text) > limit:
        raise ParseFailed("the statement is too long for this thread", too_large=True)
    raw = _encode(text)
    if len(raw) > limit:
        raise ParseFailed("the statement is too long for this thread", too_large=True)
    return Tree(raw, _tree(raw))


def parse_deeply(text: str) -> tuple[Parsed, ...]:
    """Return the statements of any text, on a stack of 512 MiB. Raises: ParseFailed."""
    if len(text) > MAX_BYTES:
        raise ParseFailed(f"the statement is longer than {MAX_BYTES} bytes")
    raw = _encode(text)
    if len(raw) > MAX_BYTES:
        raise ParseFailed(f"the statement is longer than {MAX_BYTES} bytes")
    if sys.getrecursionlimit() < _DEEP_RECURSION:
        # Python 3.11 counts the decoder's C frames too; this thread has the stack for them.
        sys.setrecursionlimit(_DEEP_RECURSION)
    try:
        return _statements(raw, _tree(raw))
    except ParseFailed as failed:
        raise ParseFailed(failed.message) from None


def fingerprint(text: str) -> bytes:
    """Return the identity of a text without its literals. It grants nothing: it is a short hash."""
    try:
        result = lib.pg_query_fingerprint(_encode(text))
    except ParseFailed:
        return b""
    try:
        return b"" if result.error else int(result.fingerprint).to_bytes(8, "big")
    finally:
        lib.pg_query_free_fingerprint_result(result)


def _encode(text: str) -> bytes:
    if "\x00" in text:
        raise ParseFailed("the statement holds a NUL character")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ParseFailed("the statement is not valid UTF-8") from None


def _statements(raw: bytes, encoded: bytes) -> tuple[Parsed, ...]:
    if encoded.count(b'{"stmt":{') > MAX_STATEMENTS:
        raise ParseFailed(f"the text holds more than {MAX_STATEMENTS} statements")
    try:
        tree = _decode(encoded)
    except RecursionError:
        raise ParseFailed("the statement is nested too deeply", too_large=True) from None
    except msgspec.MsgspecError:
        raise ParseFailed("the statement's tree is not readable") from None
    if len(tree.stmts) > MAX_STATEMENTS:
        raise ParseFailed(f"the text holds more than {MAX_STATEMENTS} statements")
    return tuple(_slice(raw, statement) for statement in tree.stmts)


def _tree(raw: bytes) -> bytes:
    result = lib.pg_query_parse(raw)
    try:
        if result.error:
            message = result.error.contents.message or b"syntax error"
            raise ParseFailed(message.decode("utf-8", "replace"))
        tree: bytes = result.parse_tree or b""
    finally:
        lib.pg_query_free_parse_result(result)
    if len(tree) > MAX_TREE_BYTES:
        raise ParseFailed("the statement's tree is too large")
    return tree


def _slice(raw: bytes, statement: _RawStatement) -> Parsed:
    start = statement.stmt_location
    end = start + statement.stmt_len if statement.stmt_len else len(raw)
    if len(statement.stmt) != 1:
        raise ParseFailed("the statement has no kind")
    return Parsed(node=statement.stmt, text=raw[start:end].decode("utf-8", "replace").strip())


def digest(text: str) -> bytes:
    """Return a short hash of a text that has no fingerprint."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
