"""COPY out: CopyData messages through a mask plan.

The server sends one row in each CopyData, and nothing here relies on it: what arrives is a stream
of rows, cut anywhere. Rows that are whole leave in the message that ended them; the beginning of
one waits, up to `HELD_LIMIT`. See sql-copy.html, "File Formats", for the three formats.

Theory of operation. A chunk of text or CSV whose messages are whole rows goes the quick way, as
DataRows do (`rows`): masked columns are replaced in every row, then one automaton searches all of
the chunk. Every other chunk is fed row by row, and each cell is looked at; the rows that come out
are the same.
"""

from __future__ import annotations

import struct
from typing import final

from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.masking.cells import CellMask
from sallyport.masking.expressions import Span
from sallyport.masking.findings import Tally
from sallyport.masking.locate import Locator, locator
from sallyport.masking.plan import ResultPlan
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat, Fields
from sallyport.protocols.postgres.masks.rows import (
    Batch,
    malformed,
    prefixed,
    rewritten,
    spans_of,
    targets_of,
)

HELD_LIMIT = 16 << 20
"""Longest row that may be split over messages, in bytes."""

_COPY_DATA = 0x64
_HEADER = struct.Struct(">Bi")
_HEADER_SIZE = 5
_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">h")
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_PREAMBLE = len(_SIGNATURE) + 8


@final
class CopyMasker:
    """Rewrites the rows of one COPY ... TO STDOUT; `tally` counts what detectors find in them."""

    __slots__ = (
        "_cells",
        "_cut",
        "_fields",
        "_format",
        "_header_due",
        "_held",
        "_locator",
        "_mark",
        "_null_text",
        "_preamble_due",
        "_quick",
        "_searched",
        "_targets",
        "_trailed",
        "tally",
    )

    def __init__(self, plan: ResultPlan, format: CopyFormat) -> None:
        self.tally = Tally()
        self._format = format
        self._fields = Fields(format)
        self._cells = plan.cells
        self._searched = plan.searched
        self._targets: list[tuple[int, bytes | None, CellMask]] = []
        for target in targets_of(plan):
            cell = target.cell
            constant = self._fields.write(cell.mask(b"")) if cell.constant else None
            self._targets.append((target.index, constant, cell))
        self._cut = self._targets[-1][0] + 1 if self._targets else 0
        self._mark = format.delimiter
        self._null_text = format.null
        self._locator: Locator | None = None
        if plan.locator is not None:
            extra = {"text": (r"\\[^N]",), "csv": ('""', r"\\"), "binary": ()}[format.name]
            self._locator = locator(plan.patterns + extra)
        self._held = b""
        self._header_due = format.header and format.name != "binary"
        self._preamble_due = format.name == "binary"
        self._trailed = False
        self._quick = format.name == "text" or (
            format.name == "csv" and format.quote == format.escape
        )
        self._quick = self._quick and format.harmless

    def mask(self, chunk: bytes) -> bytes:
        """Return whole CopyData messages, masked; the same object when nothing is hidden in them.

        FAILS CLOSED. Raises: MaskingFailed; ProtocolViolation for what is no COPY data.
        """
        if self._quick and not self._held and not self._header_due:
            quick = self._replace(chunk) if self._targets else self._aligned(chunk)
            if quick is not None:
                if self._locator is None:
                    return quick
                hits = spans_of(self._locator, quick)
                return self._search(quick, hits) if hits else quick
        return self._rewrite(chunk)

    def finish(self) -> bytes:
        """Return what was held when the stream ended (CopyDone), as CopyData messages."""
        rest, self._held = self._held, b""
        if self._format.name == "binary":
            if rest or not self._trailed:
                raise malformed("copy ends within a row")
            return b""
        if not rest:
            return b""
        masked = self._line(rest)
        return _HEADER.pack(_COPY_DATA, len(masked) + 4) + masked

    def _aligned(self, chunk: bytes) -> bytes | None:
        """Return `chunk` if every message of it holds whole rows; None if not."""
        header = _HEADER.unpack_from
        kind: int
        length: int
        quote = self._format.quote if self._format.name == "csv" else b""
        position = 0
        size = len(chunk)
        while position < size:
            if position + _HEADER_SIZE >= size:
                return None
            kind, length = header(chunk, position)
            end = position + 1 + length
            if kind != _COPY_DATA or length < _HEADER_SIZE or end > size or chunk[end - 1] != 10:
                return None
            if quote and chunk.count(quote, position + _HEADER_SIZE, end) & 1:
                return None
            position = end
        return chunk

    def _replace(self, chunk: bytes) -> bytes | None:
        """Replace the cells of the columns that are masked in every row.

        None, and nothing done, if there is a message that is not one row on one line.
        """
        header = _HEADER.unpack_from
        kind: int
        length: int
        quote = self._format.quote if self._format.name == "csv" else b""
        out: list[bytes] = []
        position = kept = 0
        size = len(chunk)
        while position < size:
            if position + _HEADER_SIZE >= size:
                return None
            kind, length = header(chunk, position)
            start = position + _HEADER_SIZE
            end = position + 1 + length
            if kind != _COPY_DATA or length < _HEADER_SIZE or end > size:
                return None
            if chunk.find(b"\n", start, end) != end - 1:
                return None
            line = chunk[start : end - 1]
            if quote and line.count(quote) & 1:
                return None
            masked = self._replaced(line)
            if masked is not line:
                out.append(chunk[kept:position])
                out.append(_HEADER.pack(_COPY_DATA, len(masked) + _HEADER_SIZE))
                out.append(masked)
                kept = end - 1
            position = end
        if not out:
            return chunk
        out.append(chunk[kept:])
        return b"".join(out)

    def _replaced(self, line: bytes) -> bytes:
        """Return a row with the cells replaced of the columns that are masked in every row."""
        hard = self._fields.hard
        if hard and hard in line:
            cells = self._fields.split(line)
            count = len(cells)
        else:
            # The row is cut up to the last of these columns; behind it the cells are counted.
            cells = line.split(self._mark, self._cut)
            count = len(cells)
            if count > self._cut:
                count += cells[self._cut].count(self._mark)
        if count != len(self._cells):
            raise self._miscounted(count)
        changed = False
        for index, constant, cell in self._targets:
            field = cells[index]
            new = constant
            if new is None or field == self._null_text:
                new = self._field(field, cell, index)
            if new is not field:
                cells[index] = new
                changed = True
        return self._mark.join(cells) if changed else line

    def _miscounted(self, count: int) -> ProtocolViolation:
        return malformed(f"row has {count} fields where {len(self._cells)} were described")

    def _search(self, chunk: bytes, hits: list[Span]) -> bytes:
        """Mask the cells under `hits` in messages that hold whole rows."""
        batch = Batch(self._searched, self.tally)
        position = first = 0
        while position < len(chunk) and first < len(hits):
            at, end = _body(chunk, position)
            while at < end and first < len(hits) and hits[first][0] < end:
                stop = self._fields.line_end(chunk, at)
                if stop < 0 or stop > end:
                    raise malformed("copied row does not end with its message")
                if hits[first][0] < stop:
                    first = self._gather(chunk, position, at, stop, hits, first, batch)
                at = stop
            position = end
        if not batch.places:
            return chunk
        return rewritten(chunk, batch.places, batch.masked(self._fields.write))

    def _gather(
        self,
        chunk: bytes,
        message: int,
        begin: int,
        end: int,
        hits: list[Span],
        first: int,
        batch: Batch,
    ) -> int:
        """Gather the cells of one row under `hits`, the first of which is not behind it.

        Returns the first hit that reaches beyond the row.
        """
        fields = self._fields.split(chunk[begin : end - 1])
        if len(fields) != len(self._cells):
            raise self._miscounted(len(fields))
        count = len(hits)
        for index, field in enumerate(fields):
            after = begin + len(field)
            while first < count and hits[first][1] <= begin:
                first += 1
            if first < count and hits[first][0] < after and self._searched[index] is not None:
                value = self._fields.read(field)
                if value is not None:
                    batch.add(index, value, (message, begin, after))
            begin = after + 1
        while first < count and hits[first][1] <= end:
            first += 1
        return first

    def _rewrite(self, chunk: bytes) -> bytes:
        """Mask a chunk of messages that may hold anything."""
        out: list[bytes] = []
        position = kept = 0
        while position < len(chunk):
            start, end = _body(chunk, position)
            body = chunk[start:end]
            masked = self.feed(body)
            if masked != body:
                out.append(chunk[kept:position])
                if masked:
                    out.append(_HEADER.pack(_COPY_DATA, len(masked) + 4))
                    out.append(masked)
                kept = end
            position = end
        out.append(chunk[kept:])
        return b"".join(out) if len(out) > 1 else chunk

    def feed(self, body: bytes) -> bytes:
        """Return the rows that `body` completes, masked, as COPY data without messages around it.

        Raises: MaskingFailed; ProtocolViolation.
        """
        data = self._held + body if self._held else body
        if self._format.name == "binary":
            return self._binary(data)
        out: list[bytes] = []
        position = 0
        while True:
            end = self._fields.line_end(data, position) if b"\n" in body else -1
            if end < 0:
                break
            out.append(self._line(data[position : end - 1]) + b"\n")
            position = end
        self._hold(data[position:])
        return b"".join(out)

    def _hold(self, rest: bytes) -> None:
        if len(rest) > HELD_LIMIT:
            raise MaskingFailed(f"a copied row is split and longer than {HELD_LIMIT} bytes")
        self._held = rest

    def _line(self, line: bytes) -> bytes:
        """Mask one row in text or CSV, without its line end."""
        if self._header_due:
            self._header_due = False
            return line
        hits: list[Span] | None = None
        if self._locator is not None and self._format.harmless and not self._targets:
            hits = spans_of(self._locator, line)
            if not hits:
                return line
        fields = self._fields.split(line)
        if len(fields) != len(self._cells):
            raise self._miscounted(len(fields))
        changed = False
        begin = 0
        for index, field in enumerate(fields):
            cell = self._cells[index]
            end = begin + len(field)
            if cell is not None and (
                hits is None or any(hit[0] < end and hit[1] > begin for hit in hits)
            ):
                fields[index] = self._field(field, cell, index)
                changed = changed or fields[index] is not field
            begin = end + 1
        return self._format.delimiter.join(fields) if changed else line

    def _field(self, field: bytes, cell: CellMask, index: int) -> bytes:
        value = self._fields.read(field)
        if value is None:
            return field
        masked = self._masked(value, cell, index)
        return field if masked is value else self._fields.write(masked)

    def _masked(self, value: bytes, cell: CellMask, index: int) -> bytes | None:
        masked = cell.mask(value, self.tally.seen)
        if self.tally.seen:
            self.tally.settle(index)
        return masked

    def _prefilter_hits(self, row: bytes) -> bool:
        return self._locator is not None and bool(spans_of(self._locator, row))

    def _binary(self, data: bytes) -> bytes:
        out: list[bytes] = []
        position = 0
        if self._preamble_due:
            size = self._preamble(data)
            if size < 0:
                self._hold(data)
                return b""
            self._preamble_due = False
            out.append(data[:size])
            position = size
        while position < len(data):
            if self._trailed:
                raise malformed("copy goes on after its end")
            end = self._tuple_end(data, position)
            if end < 0:
                break
            out.append(self._tuple(data, position, end))
            position = end
        self._hold(data[position:])
        return b"".join(out)

    def _preamble(self, data: bytes) -> int:
        if not data.startswith(_SIGNATURE[: len(data)]):
            raise malformed("copy has a bad signature")
        if len(data) < _PREAMBLE:
            return -1
        flags, extension = struct.unpack_from(">Ii", data, len(_SIGNATURE))
        if flags & 0xFFFF0000 or extension < 0:
            raise malformed("copy has flags that are not known")
        size = _PREAMBLE + int(extension)
        return size if size <= len(data) else -1

    def _tuple_end(self, data: bytes, position: int) -> int:
        """Return where the row at `position` ends; -1 when it is not all there."""
        if position + 2 > len(data):
            return -1
        (count,) = _COUNT.unpack_from(data, position)
        position += 2
        if count == -1:
            self._trailed = True
            return position
        if count != len(self._cells):
            raise malformed(f"row has {count} fields where {len(self._cells)} were described")
        for _ in range(count):
            if position + 4 > len(data):
                return -1
            (length,) = _LENGTH.unpack_from(data, position)
            if length < -1:
                raise malformed("field has a negative length")
            position += 4 + max(length, 0)
        return position if position <= len(data) else -1

    def _tuple(self, data: bytes, start: int, end: int) -> bytes:
        row = data[start:end]
        if len(row) == 2 or not (self._targets or self._prefilter_hits(row)):
            return row
        parts = [row[:2]]
        position = 2
        for index, cell in enumerate(self._cells):
            (length,) = _LENGTH.unpack_from(row, position)
            position += 4
            if length < 0:
                parts.append(prefixed(None))
                continue
            value = row[position : position + length]
            masked = value if cell is None else self._masked(value, cell, index)
            parts.append(prefixed(masked))
            position += length
        return b"".join(parts)


def _body(chunk: bytes, position: int) -> tuple[int, int]:
    """Return where the body of the CopyData at `position` begins and ends."""
    if position + 5 > len(chunk) or chunk[position] != _COPY_DATA:
        raise ProtocolViolation("target", "message among copied rows is no CopyData")
    length: int = _LENGTH.unpack_from(chunk, position + 1)[0]
    end = position + 1 + length
    if length < 4 or end > len(chunk):
        raise ProtocolViolation("target", "CopyData has a bad length")
    return position + 5, end
