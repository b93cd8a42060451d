"""Rows: DataRow messages through a mask plan.

Theory of operation. A chunk of whole DataRow messages passes in two steps. First the columns that
are masked by their origin, and those whose cells may hide a match from the wire (numbers in
binary), are cut out of every row and replaced. Then the chunk that came of it is searched by one
automaton at once; only rows where that hits are cut, and only the cells under a hit are looked at,
a column's together. A chunk that needs neither is returned as it is, the same object.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import final

from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.masking.cells import CellMask
from sallyport.masking.expressions import Span
from sallyport.masking.findings import Tally
from sallyport.masking.locate import Locator
from sallyport.masking.plan import ResultPlan

_NULL = b"\xff\xff\xff\xff"
_HEADER = struct.Struct(">BiH")
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
        if cell is not None and plan.searched[index] is None
    ]


def changed(cell: CellMask, raw: bytes, seen: list[str] | None = None) -> bytes | None:
    """Return what leaves in the place of a cell, as it stands in a row; None: the cell itself.

    `seen` as in `CellMask.mask`.
    """
    masked = cell.mask(raw, seen)
    return None if masked is raw else prefixed(masked)


def spans_of(locator: Locator, chunk: bytes) -> list[Span]:
    """Return where something may stand in `chunk`. Raises: MaskingFailed."""
    try:
        return locator.spans(chunk)
    except Exception as error:
        raise MaskingFailed(f"a result cannot be searched ({type(error).__name__})") from None


@final
class Batch:
    """The cells of one chunk that are looked at: they gather in the order of the wire, and each
    column's are masked together. A place: where its message, its own first byte and its end are.
    What is found in them is counted in `tally`."""

    __slots__ = ("_cells", "_tally", "_values", "_where", "places")

    def __init__(self, cells: list[CellMask | None], tally: Tally) -> None:
        self._cells = cells
        self._tally = tally
        self._where: list[list[int]] = [[] for _ in cells]
        self._values: list[list[bytes]] = [[] for _ in cells]
        self.places: list[tuple[int, int, int]] = []

    def add(self, column: int, value: bytes, place: tuple[int, int, int]) -> None:
        """Gather a cell that is not NULL, of a column that has a mask."""
        self._where[column].append(len(self.places))
        self._values[column].append(value)
        self.places.append(place)

    def masked(self, write: Callable[[bytes | None], bytes]) -> list[bytes | None]:
        """Return what `write` makes of each new cell; None for a place that stays as it is.

        FAILS CLOSED. Raises: MaskingFailed.
        """
        new: list[bytes | None] = [None] * len(self.places)
        for column, values in enumerate(self._values):
            if not values:
                continue
            cell = self._cells[column]
            if cell is None:
                raise MaskingFailed("a cell is to be looked at that has no mask")
            after = cell.mask_many(values, self._tally, column)
            for index, value, masked in zip(self._where[column], values, after, strict=True):
                if masked is not value:
                    new[index] = write(masked)
        return new


def rewritten(chunk: bytes, places: list[tuple[int, int, int]], new: list[bytes | None]) -> bytes:
    """Return `chunk` with `new` in its places; None leaves one as it is, and only that."""
    out: list[bytes] = []
    kept = head = length = 0
    opened = -1
    for place, value in zip(places, new, strict=True):
        if value is None:
            continue
        message, begin, end = place
        if message != opened:
            if opened >= 0:
                out[head] = _LENGTH.pack(length)
            out.append(chunk[kept : message + 1])
            head = len(out)
            out.append(b"")
            length = _LENGTH.unpack_from(chunk, message + 1)[0]
            kept = message + 5
            opened = message
        out.append(chunk[kept:begin])
        out.append(value)
        length += len(value) + begin - end
        kept = end
    if opened < 0:
        return chunk
    out[head] = _LENGTH.pack(length)
    out.append(chunk[kept:])
    return b"".join(out)


@final
class RowMasker:
    """Rewrites the rows of one result; `tally` counts what detectors find in them."""

    __slots__ = ("_cells", "_count", "_locator", "_skips", "tally")

    def __init__(self, plan: ResultPlan) -> None:
        self._cells = plan.searched
        self._count = len(plan.cells)
        self._locator: Locator | None = None
        if any(cell is not None for cell in self._cells):
            self._locator = plan.locator
        self.tally = Tally()
        self._skips: list[tuple[int, bytes | None, CellMask, int]] = []
        last = -1
        for target in targets_of(plan):
            skip = target.index - last - 1
            self._skips.append((skip, target.constant, target.cell, target.index))
            last = target.index

    def mask(self, chunk: bytes) -> bytes:
        """Return whole DataRow messages, masked; the same object when nothing is hidden in them.

        FAILS CLOSED. Raises: MaskingFailed; ProtocolViolation for rows that are malformed where
        they had to be cut.
        """
        if self._skips:
            try:
                chunk = self._replace(chunk)
            except struct.error:
                raise malformed("row is cut off") from None
        if self._locator is None:
            return chunk
        hits = spans_of(self._locator, chunk)
        return self._search(chunk, hits) if hits else chunk

    def finish(self) -> bytes:
        """Return nothing: rows come whole, and none is held back."""
        return b""

    def _replace(self, chunk: bytes) -> bytes:
        # This is where a masked bulk result spends its time: no call that can be spared.
        header, unpack = _HEADER.unpack_from, _LENGTH.unpack_from
        kind: int
        length: int
        cells: int
        before: int
        count = self._count
        seen = self.tally.seen
        out: list[bytes] = []
        position, kept, size = 0, 0, len(chunk)
        while position < size:
            kind, length, cells = header(chunk, position)
            end = position + 1 + length
            if kind != _DATA_ROW or cells != count or length < 6 or end > size:
                self._row_end(chunk, position)
            at = position + _HEADER_SIZE
            head = -1
            for skip, constant, cell, index in self._skips:
                for _ in range(skip):
                    before = unpack(chunk, at)[0]
                    at += before + 4 if before > 0 else 4
                start = at
                before = unpack(chunk, start)[0]
                at += before + 4 if before > 0 else 4
                if at > end or before < -1:
                    raise malformed("cell has a bad length")
                if before == -1:
                    continue
                new = constant or changed(cell, chunk[start + 4 : at], seen)
                if new is None:
                    continue
                if seen:
                    self.tally.settle(index)
                if head < 0:
                    out.append(chunk[kept:position])
                    head = len(out)
                    out.append(b"")
                    kept = position + _HEADER_SIZE
                out.append(chunk[kept:start])
                out.append(new)
                length += len(new) + start - at
                kept = at
            if head >= 0:
                out[head] = _HEADER.pack(_DATA_ROW, length, count)
            position = end
        if not out:
            return chunk
        out.append(chunk[kept:])
        return b"".join(out)

    def _row_end(self, chunk: bytes, position: int) -> int:
        if position + _HEADER_SIZE > len(chunk):
            raise malformed("row is cut off")
        kind, length, count = _HEADER.unpack_from(chunk, position)
        end = position + 1 + int(length)
        if kind != _DATA_ROW:
            raise malformed("message among rows is no row")
        if length < 6 or end > len(chunk):
            raise malformed("row has a bad length")
        if count != self._count:
            raise malformed(f"row has {count} cells where {self._count} were described")
        return end

    def _search(self, chunk: bytes, hits: list[Span]) -> bytes:
        header = _HEADER.unpack_from
        kind: int
        length: int
        cells: int
        batch = Batch(self._cells, self.tally)
        position = first = 0
        size = len(chunk)
        while position < size and first < len(hits):
            if position + _HEADER_SIZE > size:
                raise malformed("row is cut off")
            kind, length, cells = header(chunk, position)
            end = position + 1 + length
            if kind != _DATA_ROW or cells != self._count or length < 6 or end > size:
                self._row_end(chunk, position)
            if hits[first][0] < end:
                first = self._gather(chunk, position, end, hits, first, batch)
            position = end
        if not batch.places:
            return chunk
        return rewritten(chunk, batch.places, batch.masked(prefixed))

    def _gather(
        self, chunk: bytes, row: int, end: int, hits: list[Span], first: int, batch: Batch
    ) -> int:
        """Gather the cells of one row under `hits`, the first of which is not behind it.

        Returns the first hit that reaches beyond the row.
        """
        unpack = _LENGTH.unpack_from
        position = row + _HEADER_SIZE
        last = len(hits) - 1
        hit, behind = hits[first]
        for index, cell in enumerate(self._cells):
            start = position
            if start > end - 4:
                raise malformed("row is cut off")
            length: int = unpack(chunk, start)[0]
            position += 4
            if length < 1:
                if length < -1:
                    raise malformed("cell has a negative length")
                continue
            begin = position
            position += length
            if position > end:
                raise malformed("cell reaches beyond its row")
            if hit >= position:
                continue
            while behind <= begin and first < last:
                first += 1
                hit, behind = hits[first]
            if hit < position and behind > begin and cell is not None:
                batch.add(index, chunk[begin:position], (row, start, position))
        if position != end:
            raise malformed("row has bytes left over")
        while first <= last and hits[first][1] <= end:
            first += 1
        return first
