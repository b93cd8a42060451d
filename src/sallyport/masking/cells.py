"""Cells: one column's cells through its mask, by type and format.

A cell is either replaced whole (the column is masked) or searched (detectors look inside). The
answer is the same object when nothing changed, None for NULL, else a valid value of the column's
type in the column's format.
"""

from __future__ import annotations

import struct
from typing import final

from sallyport.core.errors import MaskingFailed
from sallyport.masking import walk
from sallyport.masking.content import Content
from sallyport.masking.findings import Tally
from sallyport.masking.numbers import float_text
from sallyport.masking.transforms import Transform
from sallyport.masking.types import BY_OID, UNKNOWN, Kind, PgType
from sallyport.masking.values import bytea_bytes, neutral, number_text, replace

_DEPTH = 16
_NUMBERS = (Kind.INTEGER, Kind.FLOAT, Kind.NUMERIC)
_NEVER = (Kind.BLIND, Kind.UUID, Kind.DATE, Kind.TIMESTAMP)
_ESCAPING = (Kind.JSON, Kind.JSONB, Kind.ARRAY, Kind.RECORD, Kind.UNKNOWN)
_BOX = 603


@final
class CellMask:
    """What happens to the cells of one column.

    `whole`: replaced by this transform. `content`: searched. One of them, never both.
    """

    __slots__ = ("_key", "binary", "content", "type", "whole")

    def __init__(
        self,
        type: PgType,
        binary: bool,
        whole: Transform | None,
        content: Content | None,
        key: bytes,
    ) -> None:
        self.type = type
        self.binary = binary
        self.whole = whole
        self.content = content
        self._key = key

    @property
    def constant(self) -> bool:
        """Whether every value becomes the same, so that none needs to be looked at."""
        return self.whole is Transform.NULL or (
            self.whole is Transform.REDACT and self.type.kind is not Kind.ARRAY
        )

    @property
    def hidden(self) -> bool:
        """Whether a match may stand in a cell without its bytes on the wire: look at every one."""
        if self.content is None or self.type.kind in _NEVER:
            return False
        if self.type.kind is Kind.BYTEA:
            return not self.binary
        if self.type.kind in _NUMBERS and any(rule.hinted for rule in self.content.rules):
            return True  # a number without its leading zeros is no match on the wire
        if not self.binary or not self.content.finds_numbers:
            return False
        if self.type.kind is Kind.ARRAY:
            element = BY_OID.get(self.type.element, UNKNOWN).kind
            return element is not Kind.TEXT and element not in _NEVER
        return self.type.kind in _NUMBERS or self.type.kind in (Kind.RECORD, Kind.RANGE)

    @property
    def escaping(self) -> bool:
        """Whether a backslash or a doubled quote in a cell may hide a match from the wire."""
        return self.content is not None and self.type.kind in _ESCAPING

    def mask(self, raw: bytes, seen: list[str] | None = None) -> bytes | None:
        """Return what leaves in the place of a cell that is not NULL.

        `seen` gets the detector's name of each match that is hidden in a cell that is searched.
        FAILS CLOSED. Raises: MaskingFailed, which ends the result; its text holds nothing of `raw`.
        """
        try:
            if self.whole is not None:
                return self._replace(self.type, raw, self.whole)
            if self.content is not None:
                masked = self._search(self.type, raw, self.content, 0, seen)
                if seen and masked is raw:
                    seen.clear()
                return masked
        except Exception as error:
            raise MaskingFailed(
                f"a cell of type `{self.type.name}` cannot be masked ({type(error).__name__})"
            ) from None
        return raw

    def mask_many(
        self, raws: list[bytes], tally: Tally | None = None, column: int = 0
    ) -> list[bytes | None]:
        """Return what `mask` returns for each, in less time where there are many.

        What is found is counted in `tally` as the column's. FAILS CLOSED. Raises: MaskingFailed.
        """
        if self.whole is None and self.content is not None and self.type.kind is Kind.TEXT:
            try:
                return self.content.mask_many(raws, tally, column)
            except Exception as error:
                raise MaskingFailed(
                    f"cells of type `{self.type.name}` cannot be masked ({type(error).__name__})"
                ) from None
        if tally is None:
            return [self.mask(raw) for raw in raws]
        out: list[bytes | None] = []
        for raw in raws:
            out.append(self.mask(raw, tally.seen))
            if tally.seen:
                tally.settle(column)
        return out

    def _replace(self, kind: PgType, raw: bytes, transform: Transform) -> bytes | None:
        if kind.kind is not Kind.ARRAY or transform is Transform.NULL:
            return replace(kind, self.binary, raw, transform, self._key)
        if transform is Transform.REDACT:
            # The element's own oid, since an array of a domain or an extension's type has another.
            return bytes(8) + raw[8:12] if self.binary and len(raw) >= 12 else neutral(kind, False)
        element = BY_OID.get(kind.element, UNKNOWN)
        try:
            if self.binary:
                return walk.array_binary(
                    raw, lambda oid, value: self._replace(element, value, transform)
                )
            return walk.array_text(
                raw, lambda value: self._replace(element, value, transform), _delimiter(kind)
            )
        except (ValueError, struct.error):
            return neutral(kind, self.binary)

    def _search(
        self, kind: PgType, raw: bytes, content: Content, depth: int, seen: list[str] | None
    ) -> bytes | None:
        if depth > _DEPTH:
            raise ValueError("values nest too deep")
        what = kind.kind
        if what in _NEVER:
            return raw
        if what is Kind.TEXT:
            return content.mask(raw, seen=seen)
        if what is Kind.XML:
            return content.mask(raw, word=True, seen=seen)
        if what in _NUMBERS:
            return self._number(kind, raw, content, seen)
        if what is Kind.JSON or what is Kind.JSONB:
            return self._json(kind, raw, content, seen)
        if what is Kind.BYTEA:
            return self._bytea(raw, content, seen)
        if what is Kind.ARRAY:
            return self._array(kind, raw, content, depth, seen)
        if what is Kind.RECORD:
            return self._record(raw, content, depth, seen)
        if what is Kind.RANGE and self.binary:
            return self._range(kind, raw, content, seen)
        verdict = content.verdict(raw, seen)
        if verdict is None and what is Kind.UNKNOWN:
            verdict = content.verdict(walk.unescaped(raw), seen)
        return raw if verdict is None else _stronger(kind, self.binary, verdict)

    def _number(
        self, kind: PgType, raw: bytes, content: Content, seen: list[str] | None
    ) -> bytes | None:
        text = number_text(kind, self.binary, raw)
        if len(text) < content.shortest:
            return raw
        verdict = content.number_verdict(text.encode(), b"", seen)
        return raw if verdict is None else replace(kind, self.binary, raw, verdict, self._key)

    def _json(
        self, kind: PgType, raw: bytes, content: Content, seen: list[str] | None
    ) -> bytes | None:
        head = b""
        if self.binary and kind.kind is Kind.JSONB:
            head = raw[:1]
            if head != b"\x01":
                raise ValueError("jsonb has another version")
        body = raw[len(head) :]
        masked = walk.json_text(
            body,
            lambda value, name: content.mask(value, name=name, seen=seen),
            lambda token, name: self._json_number(token, name, content, seen),
        )
        if masked is None or masked is body:
            return raw if masked is body else None
        return head + masked

    def _json_number(
        self, token: bytes, name: bytes, content: Content, seen: list[str] | None
    ) -> bytes | None:
        text = token
        if b"e" in token or b"E" in token:
            text = float_text(float(token)).encode()
        long_enough = len(token) >= content.shortest
        verdict = content.number_verdict(text, name, seen) if long_enough else None
        if verdict is None:
            return token
        return replace(BY_OID[1700], False, token, verdict, self._key)

    def _bytea(self, raw: bytes, content: Content, seen: list[str] | None) -> bytes | None:
        if self.binary:
            return content.mask(raw, seen=seen)
        value = bytea_bytes(raw)
        masked = content.mask(value, seen=seen)
        if masked is value:
            return raw
        return None if masked is None else b"\\x" + masked.hex().encode()

    def _array(
        self, kind: PgType, raw: bytes, content: Content, depth: int, seen: list[str] | None
    ) -> bytes:
        if self.binary:
            return walk.array_binary(
                raw,
                lambda oid, value: self._search(
                    BY_OID.get(oid, UNKNOWN), value, content, depth + 1, seen
                ),
            )
        element = BY_OID.get(kind.element, UNKNOWN)
        return walk.array_text(
            raw,
            lambda value: self._search(element, value, content, depth + 1, seen),
            _delimiter(kind),
        )

    def _record(self, raw: bytes, content: Content, depth: int, seen: list[str] | None) -> bytes:
        if self.binary:
            return walk.record_binary(
                raw,
                lambda oid, value: self._search(
                    BY_OID.get(oid, UNKNOWN), value, content, depth + 1, seen
                ),
            )
        return walk.record_text(raw, lambda value: self._field(value, content, depth + 1, seen))

    def _field(
        self, value: bytes, content: Content, depth: int, seen: list[str] | None
    ) -> bytes | None:
        """Search a field whose type is not known: as text, and inside what it may be."""
        if content.verdict(value, seen) is not None:
            return None
        if depth < _DEPTH and value[:1] == b"(" and value[-1:] == b")":
            try:
                return walk.record_text(value, lambda v: self._field(v, content, depth + 1, seen))
            except ValueError:
                return value
        if b"\\" in value and value[:1] in b'{["':
            return self._escaped(value, content, seen)
        return value

    def _escaped(self, value: bytes, content: Content, seen: list[str] | None) -> bytes | None:
        try:
            return walk.json_text(
                value,
                lambda text, name: content.mask(text, name=name, seen=seen),
                lambda token, name: token,
            )
        except ValueError:
            return value if content.verdict(walk.unescaped(value), seen) is None else None

    def _range(
        self, kind: PgType, raw: bytes, content: Content, seen: list[str] | None
    ) -> bytes | None:
        element = BY_OID.get(kind.element, UNKNOWN)
        if element.kind is Kind.RANGE:
            parts = walk.multirange_parts(raw)
            clean = all(self._range(element, part, content, seen) is part for part in parts)
        else:
            bounds = walk.range_bounds(raw)
            clean = all(self._search(element, bound, content, 1, seen) is bound for bound in bounds)
        return raw if clean else neutral(kind, True)


def _stronger(kind: PgType, binary: bool, verdict: Transform) -> bytes | None:
    """Return what stands for a cell that can only be replaced whole."""
    return None if verdict is Transform.NULL else neutral(kind, binary)


def _delimiter(kind: PgType) -> bytes:
    return b";" if kind.element == _BOX else b","
