"""Rows: DataRow messages through a mask plan.

Theory of operation. A chunk of whole DataRow messages passes in two steps. First the columns that
are masked by their origin, and those whose cells may hide a match from the wire (numbers in
binary), are cut out of every row and replaced. Then the chunk that came of it is searched by one
automaton at once; only rows where that hits are cut, and only the cells under a hit are looked at.
A chunk that needs neither is returned as it is, the same object.
"""

from __future__ import annotations

import struct
from typing import final

from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.masking.cells import CellMask
from sallyport.masking.expressions import Prefilter, Span
from sallyport.masking.plan import ResultPlan

_NULL = b"\xff\xff\xff\xff"
_HEADER = struct.Struct(">ciH")
_COUNT = struct.Struct(">H")
_LENGTH = struct.Struct(">i")
_DATA_ROW = 0x44
_HEADER_SIZE = 7


def malformed(what: str) -> ProtocolViolation:
    """Return the error for rows that are not as the protocol says."""
    return ProtocolViolation("target", what)


def prefixed(value: bytes | None) -> bytes:
    """Return a cell as it stands in a row: its length and its bytes; None is NULL."""
    return _NULL if value is None else _LENGTH.pack(len(value)) + value


@final
class Target:
    """One column that is looked at in every row, and what every value becomes, if that is one."""

    __slots__ = ("cell", "constant", "index")

    def __init__(self, index: int, cell: CellMask) -> None:
        self.index = index
        self.cell = cell
        self.constant: bytes | None = prefixed(cell.mask(b"")) if cell.constant else None


def targets_of(plan: ResultPlan) -> list[Target]:
    """Return the columns that every row is cut for."""
    return [
        Target(index, cell)
        for index, cell in enumerate(plan.cells)
        if cell is not None and (cell.whole is not None or cell.hidden)
    ]


def spans_of(prefilter: Prefilter, chunk: bytes) -> list[Span]:
    """Return where something may stand in `chunk`. Raises: MaskingFailed."""
    try:
        return prefilter.spans(chunk)
    except Exception as error:
        raise MaskingFailed(f"a result cannot be searched ({type(error).__name__})") from None


@final
class RowMasker:
    """Rewrites the rows of one result."""

    __slots__ = ("_cells", "_count", "_head", "_prefilter", "_skips")

    def __init__(self, plan: ResultPlan) -> None:
        self._cells = plan.cells
        self._count = len(plan.cells)
        self._prefilter = plan.prefilter
        self._head = _COUNT.pack(self._count)
        self._skips: list[tuple[range, bytes | None, CellMask]] = []
        last = -1
        for target in targets_of(plan):
            skip = range(target.index - last - 1)
            self._skips.append((skip, target.constant, target.cell))
            last = target.index

    def mask_rows(self, chunk: bytes) -> bytes:
        """Return whole DataRow messages, masked; the same object when nothing is hidden in them.

        FAILS CLOSED. Raises: MaskingFailed; ProtocolViolation for rows that are malformed where
        they had to be cut.
        """
        if self._skips:
            chunk = self._replace(chunk)
        if self._prefilter is None:
            return chunk
        hits = spans_of(self._prefilter, chunk)
        return self._search(chunk, hits) if hits else chunk

    def _replace(self, chunk: bytes) -> bytes:
        head = self._head
        out: list[bytes] = []
        position = kept = 0
        size = len(chunk)
        while position < size:
            # A quick look first: this is where a masked bulk result spends its time.
            if chunk[position] != _DATA_ROW or chunk[position + 5 : position + 7] != head:
                self._row_end(chunk, position)
            end = position + 1 + _LENGTH.unpack_from(chunk, position + 1)[0]
            if end < position + _HEADER_SIZE or end > size:
                raise malformed("row has a bad length")
            pieces = self._replace_row(chunk, position + _HEADER_SIZE, end)
            if pieces:
                body = b"".join(pieces)
                out.append(chunk[kept:position])
                out.append(_HEADER.pack(b"D", len(body) + 6, self._count))
                out.append(body)
                kept = end
            position = end
        if not out:
            return chunk
        out.append(chunk[kept:])
        return b"".join(out)

    def _replace_row(self, chunk: bytes, at: int, end: int) -> list[bytes]:
        """Return the cells of one row in pieces; none when no cell changed."""
        unpack = _LENGTH.unpack_from
        pieces: list[bytes] = []
        begin = at
        for skip, constant, cell in self._skips:
            for _ in skip:
                if at > end - 4:
                    raise malformed("row is cut off")
                length = unpack(chunk, at)[0]
                at += length + 4 if length > 0 else 4
            if at > end - 4:
                raise malformed("row is cut off")
            length = unpack(chunk, at)[0]
            start = at + 4
            if length < 0:
                if length != -1:
                    raise malformed("cell has a negative length")
                at = start
                continue
            at = start + length
            if at > end:
                raise malformed("cell reaches beyond its row")
            new = constant
            if new is None:
                raw = chunk[start:at]
                masked = cell.mask(raw)
                if masked is raw:
                    continue
                new = prefixed(masked)
            pieces.append(chunk[begin : start - 4])
            pieces.append(new)
            begin = at
        if pieces:
            pieces.append(chunk[begin:end])
        return pieces

    def _row_end(self, chunk: bytes, position: int) -> int:
        try:
            _, length, count = _HEADER.unpack_from(chunk, position)
        except struct.error:
            raise malformed("row is cut off") from None
        if chunk[position] != _DATA_ROW:
            raise malformed("message among rows is no row")
        end = position + 1 + int(length)
        if length < 6 or end > len(chunk):
            raise malformed("row has a bad length")
        if count != self._count:
            raise malformed(f"row has {count} cells where {self._count} were described")
        return end

    def _search(self, chunk: bytes, hits: list[Span]) -> bytes:
        out: list[bytes] = []
        position = kept = first = 0
        size = len(chunk)
        while position < size and first < len(hits):
            end = self._row_end(chunk, position)
            last = first
            while last < len(hits) and hits[last][0] < end:
                last += 1
            if last > first:
                row = self._search_row(chunk, position, end, hits[first:last])
                if row is not None:
                    out.append(chunk[kept:position])
                    out.append(row)
                    kept = end
                first = last - 1 if hits[last - 1][1] > end else last
            position = end
        if not out:
            return chunk
        out.append(chunk[kept:])
        return b"".join(out)

    def _search_row(self, chunk: bytes, start: int, end: int, hits: list[Span]) -> bytes | None:
        """Return one row with the cells under `hits` masked; None when nothing changed."""
        parts: list[bytes] = []
        position = kept = start + _HEADER_SIZE
        for cell in self._cells:
            if position + 4 > end:
                raise malformed("row is cut off")
            length = _LENGTH.unpack_from(chunk, position)[0]
            begin = position + 4
            if length < -1:
                raise malformed("cell has a negative length")
            position = begin + max(length, 0)
            if position > end:
                raise malformed("cell reaches beyond its row")
            if cell is None or cell.content is None or length < 1:
                continue
            if not any(hit[0] < position and hit[1] > begin for hit in hits):
                continue
            raw = chunk[begin:position]
            masked = cell.mask(raw)
            if masked is not raw:
                parts.append(chunk[kept : begin - 4])
                parts.append(prefixed(masked))
                kept = position
        if position != end:
            raise malformed("row has bytes left over")
        if not parts:
            return None
        parts.append(chunk[kept:end])
        body = b"".join(parts)
        return _HEADER.pack(b"D", len(body) + 6, self._count) + body
