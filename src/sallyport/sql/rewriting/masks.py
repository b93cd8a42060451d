"""Masks at the source: the expression that stands in the place of a masked column.

It goes into `(SELECT column, <expression> AS column, ... FROM schema.table) alias`, so that
predicates, functions and errors see masked values alone. INVARIANT: the expression has the
column's type, modifier and collation; NULL stays NULL; it is deterministic; no value makes it raise
an error, as long as what it makes stays under the server's limit of 1 GB; it shows of a value what
its transform declares and nothing else.

| type | redact | partial | hash | generalise |
|---|---|---|---|---|
| text, varchar, char, name, citext | [redacted] | ends (1) | 32 hex digits | first character (1) |
| smallint, integer, bigint, numeric | 0 | last digits (1) | a number (2) | bucket's lower bound |
| real, double precision | 0 | redact | a number (2) | bucket's lower bound (3) |
| date, timestamp, timestamptz | 1970 | year (4) | a day of 1900 to 1999 | year (4) |
| uuid | zeros | ends, to 8 digits | uuid of version 4 | redact |
| inet, cidr | 0.0.0.0 | /24 or /48 | address in fd00::/68 | /24 or /48 |
| macaddr, macaddr8 | zeros | maker | redact | maker |
| json, jsonb | "[redacted]" | redact | 32 hex digits | redact |
| bytea | empty | redact | 16 bytes | redact |
| "char", bool, money, time, timetz, interval | neutral | redact | redact | redact |
| bit, varbit, tsvector, geometric types | neutral | redact | redact | redact |
| ranges, multiranges | empty | redact | redact | redact |
| arrays | empty | each element (5) | each element (5) | each element (5) |
| composites | each field | each field | each field | each field |
| domains (6) | as the base | as the base | as the base | as the base |
| enums, xml, all others | NULL | NULL | NULL | NULL |

(1) If it is at least twice as long as what is kept, else nothing; that shows too. Of an address of
mail: first character and domain. (2) As many bits as there is room for; the same number in
smallint to numeric, as far as the room is the same. (3) Between -1e15 and 1e15, else 0; numeric:
1e36. (4) In UTC; 1970 for infinity and what lies outside the years 1 to 9999. (5) In one dimension;
where elements would be redacted, or are rows or arrays: empty. (6) With a CHECK: NULL; is it NOT
NULL as well, the column cannot be masked.
`ends` is what results keep under a policy's partial: of texts two characters and four at most, with
a `*` for each other one; all else is redacted.
`kept` is partial of texts, numbers and uuids without a rule of its own for addresses of mail; all
else is redacted.
`keys` apply to json and jsonb, also as elements, fields and bases; on other types they are ignored.
"""

from __future__ import annotations

from typing import Final

from sallyport.sql.column_types import ColumnType
from sallyport.sql.rewriting.mask_constants import check
from sallyport.sql.rewriting.mask_documents import documents
from sallyport.sql.rewriting.mask_shapes import NEUTRAL, SHAPES, SHOWN_KEY, SourceMask, check_key
from sallyport.sql.rewriting.pieces import (
    CannotMask,
    call,
    cast,
    constant,
    identifier,
    is_null,
    literal,
)

__all__ = ["SHOWN_KEY", "CannotMask", "SourceMask", "expression"]

TRANSFORMS: Final = ("redact", "partial", "ends", "kept", "hash", "null", "generalise", "constant")
MAX_SIZE: Final = 100_000
"""Longest expression, in characters: a composite of composites with many keys has no end."""


def expression(column: str, type: ColumnType, mask: SourceMask, key: str) -> str:
    """Return what stands in the place of `column`.

    `key` is the target's; with `SHOWN_KEY` the text can be shown.
    FAILS CLOSED. Raises: CannotMask where the mask cannot be put on such a column.
    """
    _check(mask)
    if mask.transform == "hash":
        check_key(key)
    prefix = "q" if column.startswith("p") else "p"
    text = _Writer(mask, key, prefix).value(identifier(column), type)
    if len(text) > MAX_SIZE:
        raise CannotMask(f"the mask of a column of type `{type.spelled}` is too long")
    return text


def _check(mask: SourceMask) -> None:
    if mask.transform not in TRANSFORMS:
        raise CannotMask(f"no transform is called `{mask.transform}`")
    if not (0 <= mask.start <= 1000 and 0 <= mask.end <= 1000):
        raise CannotMask("partial keeps between 0 and 1000 characters at each end")
    width = mask.bucket
    if not (width.is_finite() and 0 < width <= 10**15 and width == round(width, 12)):
        raise CannotMask("the width of a bucket is above 0, up to 1e15, with 12 decimals at most")


class _Writer:
    """Writes the expressions of one mask.

    INVARIANT: what is named inside an expression begins with `prefix`, and the column does not:
    else a column `v` would mean something else inside.
    """

    def __init__(self, mask: SourceMask, key: str, prefix: str) -> None:
        self._prefix = prefix
        self._mask = mask
        self._key = key

    def value(self, value: str, type_: ColumnType) -> str:
        """Return what stands for a value that has its type's modifier, as that has.

        NULL stays the very NULL that it is, so that no domain is asked about it.
        """
        mask = self._mask
        if mask.transform == "constant" and not _document(type_, mask):
            return self._constant(value, type_)
        made = self._made(value, type_)
        if made is None:
            return _null(value, type_)
        return f"CASE WHEN {is_null(value)} THEN {value} ELSE {cast(made, type_.spelled)} END"

    def _made(self, value: str, type_: ColumnType) -> str | None:
        """Return what stands for a value that is not NULL; None: NULL does."""
        if self._mask.transform == "null" and not _document(type_, self._mask):
            return None
        if type_.kind == "domain" and type_.checked:
            return None
        if type_.kind == "domain" and type_.element is not None:
            base = self._made(cast(value, type_.element.spelled), type_.element)
            return None if base is None else cast(base, type_.element.spelled)
        if type_.kind == "composite":
            fields = [self.value(f"({value}).{identifier(n)}", t) for n, t in type_.fields]
            return f"ROW({', '.join(fields)})"
        shape = self._shape(value, type_)
        return _neutral(type_) if shape is None else shape

    def _shape(self, value: str, type_: ColumnType) -> str | None:
        """Return what is kept of a value; None where nothing is."""
        if type_.kind == "array":
            return self._array(value, type_.element)
        if _document(type_, self._mask):
            return documents(value, type_.name, self._mask, self._key, self._prefix)
        name = "text" if type_.kind == "text" else type_.name
        shape = SHAPES.get((name, self._mask.transform))
        if shape is None or type_.kind not in ("base", "text"):
            return None
        return shape(value, type_, self._mask, self._key)

    def _array(self, value: str, element: ColumnType | None) -> str | None:
        # unnest makes columns of rows, and a domain over an array has elements that are arrays.
        if element is None or _hidden(element) or _base(element).kind not in ("base", "text"):
            return None
        base = _base(element)
        rows, v, n = (f"{self._prefix}{name}" for name in ("e", "v", "n"))
        if self._shape(cast(f"{rows}.{v}", base.spelled), base) is None:
            return None
        elements = f"{call('unnest', value)} WITH ORDINALITY AS {rows} ({v}, {n})"
        made = cast(self.value(f"{rows}.{v}", element), element.spelled)
        return f"ARRAY(SELECT {made} FROM {elements} ORDER BY {rows}.{n})"

    def _constant(self, value: str, type_: ColumnType) -> str:
        if _hidden(type_):
            raise CannotMask(f"domain `{type_.spelled}` has a CHECK: it takes no constant")
        check(self._mask.constant, _base(type_))
        base = _base(type_)
        made = cast(constant(self._mask.constant, base.spelled), type_.spelled)
        if self._mask.fill_null:
            return made
        return f"CASE WHEN {is_null(value)} THEN {value} ELSE {made} END"


def _document(type_: ColumnType, mask: SourceMask) -> bool:
    """Whether keys inside a value are what is masked."""
    base = _base(type_)
    while base.kind == "array" and base.element is not None:
        base = _base(base.element)
    return bool(mask.keys) and base.kind == "base" and base.name in ("json", "jsonb")


def _base(type_: ColumnType) -> ColumnType:
    while type_.kind == "domain" and type_.element is not None:
        type_ = type_.element
    return type_


def _hidden(type_: ColumnType) -> bool:
    """Whether a domain, or one that it stands on, has a CHECK."""
    while type_.kind == "domain" and type_.element is not None:
        if type_.checked:
            return True
        type_ = type_.element
    return False


def _neutral(type_: ColumnType) -> str | None:
    texts = {"array": "{}", "range": "empty", "multirange": "{}", "text": NEUTRAL["text"]}
    text = NEUTRAL.get(type_.name) if type_.kind == "base" else texts.get(type_.kind)
    return None if text is None else literal(text)


def _null(value: str, type_: ColumnType) -> str:
    """Return NULL of a type. Raises: CannotMask where a domain forbids it."""
    if type_.kind not in ("domain", "opaque"):
        return cast("NULL", type_.spelled)
    under: ColumnType | None = type_
    while under is not None and under.kind == "domain":
        if under.not_null:
            raise CannotMask(
                f"domain `{type_.spelled}` is NOT NULL, and no masked value is sure to pass it"
            )
        under = under.element
    # Casting to a domain runs its CHECK, which NULL may fail too. No row: a NULL without a cast.
    return f"(SELECT {value} WHERE false)"
