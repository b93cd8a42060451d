"""Masks on named keys inside a document: all the rest of it stays.

A path goes from key to key; an array on the way is entered, and each object in it followed.
FAILS CLOSED: an array that stands in an array on a path is redacted whole, since it could hold the
key at any depth; so is a json document whose escapes the server could not turn into text.
A JSON null stays, as NULL does. What is no object has no keys: a string that holds a document
written out is a string. json is written anew: spaces between pairs may differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from sallyport.sql.rewriting.mask_shapes import (
    NEUTRAL,
    SourceMask,
    bucket,
    hash_text,
    partial_text,
    within,
)
from sallyport.sql.rewriting.pieces import (
    NUMERIC,
    TEXT,
    CannotMask,
    call,
    cast,
    constant,
    literal,
    operate,
)

MAX_DEPTH: Final = 8
MAX_KEYS: Final = 64

Tree = dict[str, "Tree | None"]
"""By key: what is below it; None where the key itself is masked."""


def documents(value: str, name: str, mask: SourceMask, key: str, prefix: str) -> str:
    """Return a json or jsonb value with its keys masked. Raises: CannotMask.

    Whatever is named inside begins with `prefix`, and nothing in `value` does.
    """
    walk = _Walk(name, mask, key, prefix)
    masked = walk.level(value, _tree(mask.keys))
    if name == "jsonb":
        return masked
    # json keeps texts that no function can read: \u0000, halves of surrogate pairs; and in
    # another encoding than UTF8, characters that it does not have.
    text = call("textin", call("json_out", value))
    utf8 = operate(call("getdatabaseencoding"), "=", constant("UTF8", "pg_catalog.name"))
    bad = operate(text, "~", literal("\\\\u(0000|[dD][89a-fA-F])"))
    escape = operate(call("strpos", text, literal("\\u")), ">", "0")
    doubtful = f"CASE WHEN {utf8} THEN {bad} ELSE {escape} END"
    return f"CASE WHEN {doubtful} THEN {constant(NEUTRAL[name], walk.type)} ELSE {masked} END"


def _tree(paths: tuple[tuple[str, ...], ...]) -> Tree:
    if len(paths) > MAX_KEYS:
        raise CannotMask(f"a mask names more than {MAX_KEYS} keys of a document")
    tree: Tree = {}
    for path in sorted(paths, key=len):
        if not 0 < len(path) <= MAX_DEPTH:
            raise CannotMask(f"a path of keys has between 1 and {MAX_DEPTH} of them")
        _plant(tree, path)
    return tree


def _plant(tree: Tree, path: tuple[str, ...]) -> None:
    """Add a path, unless a shorter one masks all of what it leads to."""
    for name in path[:-1]:
        below = tree.setdefault(name, {})
        if below is None:
            return
        tree = below
    tree[path[-1]] = None


class _Walk:
    """Writes the expression for one column. Every level has names of its own."""

    def __init__(self, name: str, mask: SourceMask, key: str, prefix: str) -> None:
        self._prefix = prefix
        self.type = f"pg_catalog.{name}"
        self._name = name
        self._mask = mask
        self._key = key
        self._numbers: Iterator[int] = itertools.count(1)

    def level(self, value: str, tree: Tree) -> str:
        """Return `value`, an object or an array of such, with what `tree` names masked.

        Children stand in FROM: nested in calls they would soon be too deep for a parser.
        """
        rows, masked = self._name_rows(), self._name_rows()
        item = f"{rows}.{self._prefix}v"
        made = f"{masked}.{self._prefix}v"
        is_array = self._is(value, "array")
        several = f"CASE WHEN {is_array} THEN {value} ELSE {self._call('build_array', value)} END"
        inside = (
            f"CASE WHEN {made} IS NOT NULL THEN {made}"
            f" WHEN {self._is(item, 'array')} THEN {self._redacted()}"
            f" ELSE {item} END"
        )
        gathered = f"pg_catalog.{self._name}_agg({inside} ORDER BY {rows}.{self._prefix}n)"
        return (
            f"(SELECT CASE WHEN {is_array} THEN COALESCE({gathered}, {constant('[]', self.type)})"
            f" ELSE {operate(gathered, '->', '0')} END"
            f" FROM {self._call('array_elements', several)} WITH ORDINALITY AS {rows}"
            f" ({self._prefix}v, {self._prefix}n)"
            f" LEFT JOIN LATERAL ({self._object(item, tree)}) AS {masked}"
            f" ({self._prefix}v) ON true)"
        )

    def _object(self, value: str, tree: Tree) -> str:
        """Return the query for a masked object: its value is NULL for all but an object with keys.

        Such an object has been made anew, pair by pair.
        """
        rows = self._name_rows()
        name_, found = f"{rows}.{self._prefix}k", f"{rows}.{self._prefix}v"
        cases = " ".join(
            f"WHEN {operate(name_, '=', constant(name, TEXT))}"
            f" THEN {self._leaf(found) if below is None else self.level(found, below)}"
            for name, below in tree.items()
        )
        pairs = f"{name_}, CASE {cases} ELSE {found} END ORDER BY {rows}.{self._prefix}n"
        object_ = f"CASE WHEN {self._is(value, 'object')} THEN {value} END"
        return (
            f"SELECT pg_catalog.{self._name}_object_agg({pairs})"
            f" FROM {self._call('each', object_)} WITH ORDINALITY AS {rows}"
            f" ({self._prefix}k, {self._prefix}v, {self._prefix}n)"
        )

    def _leaf(self, value: str) -> str:
        shown = self._shown(value)
        null = constant("null", self.type)
        if self._mask.transform == "null":
            return null
        if self._mask.transform == "constant" and self._mask.fill_null:
            return shown
        return f"CASE WHEN {self._is(value, 'null')} THEN {null} ELSE {shown} END"

    def _shown(self, value: str) -> str:
        mask = self._mask
        text = operate(value, "#>>", constant("{}", "pg_catalog.text[]"))
        string, number = self._is(value, "string"), self._is(value, "number")
        if mask.transform == "hash":
            return self._made(hash_text(text, self._key))
        if mask.transform == "constant":
            return self._made(constant(mask.constant, TEXT))
        if mask.transform in ("partial", "kept"):
            emails = mask.transform == "partial"
            shown = self._made(partial_text(text, mask.start, mask.end, emails))
            return f"CASE WHEN {string} OR {number} THEN {shown} ELSE {self._redacted()} END"
        if mask.transform == "generalise":
            cases = f"WHEN {string} THEN {self._made(partial_text(text, 1, 0))}"
            if self._name == "jsonb":  # json holds numbers that numeric cannot
                exact = cast(value, NUMERIC)
                lower = self._made(bucket(exact, mask.bucket))
                cases += (
                    f" WHEN {number} THEN CASE WHEN {within(exact, '1e36', NUMERIC)}"
                    f" THEN {lower} ELSE {self._redacted()} END"
                )
            return f"CASE {cases} ELSE {self._redacted()} END"
        return self._redacted()

    def _name_rows(self) -> str:
        return f"{self._prefix}{next(self._numbers)}"

    def _is(self, value: str, type_: str) -> str:
        return operate(self._call("typeof", value), "=", constant(type_, TEXT))

    def _call(self, function: str, *arguments: str) -> str:
        return call(f"{self._name}_{function}", *arguments)

    def _made(self, value: str) -> str:
        return call(f"to_{self._name}", value)

    def _redacted(self) -> str:
        return constant(NEUTRAL[self._name], self.type)
