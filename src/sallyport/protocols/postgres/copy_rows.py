"""COPY out: CopyData messages through a mask plan.

The server sends one row in each CopyData, and nothing here relies on it: what arrives is a stream
of rows, cut anywhere. Rows that are whole leave in the message that ended them; the beginning of
one waits, up to `HELD_LIMIT`. See sql-copy.html, "File Formats", for the three formats.
"""

from __future__ import annotations

import re
import struct
from typing import final

from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.masking.cells import CellMask
from sallyport.masking.expressions import Prefilter, Span, prefilter
from sallyport.masking.plan import ResultPlan
from sallyport.protocols.postgres.rows import malformed, prefixed, spans_of, targets_of
from sallyport.sql.statement import CopyOptions

HELD_LIMIT = 16 << 20
"""Longest row that may be split over messages, in bytes."""

_COPY_DATA = 0x64
_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">h")
_SIGNATURE = b"PGCOPY\n\xff\r\n\0"
_PREAMBLE = len(_SIGNATURE) + 8
_HARMLESS = frozenset(b"\t,;|")
"""Delimiters that no pattern holds: another one would be escaped inside a match."""

_UNESCAPED = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
}
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)


@final
class CopyFormat:
    """How the rows of one COPY are written. Each mark is one ASCII character; `null` is any text.

    Raises: ValueError for marks that COPY itself does not take.
    """

    __slots__ = ("delimiter", "escape", "header", "name", "null", "quote")

    def __init__(
        self,
        name: str = "text",
        *,
        delimiter: bytes | None = None,
        null: bytes | None = None,
        quote: bytes = b'"',
        escape: bytes | None = None,
        header: bool = False,
    ) -> None:
        if name not in ("text", "csv", "binary"):
            raise ValueError(f"copy format `{name}` is not known")
        csv = name == "csv"
        self.name = name
        self.delimiter = delimiter or (b"," if csv else b"\t")
        self.null = (b"" if csv else b"\\N") if null is None else null
        self.quote = quote
        self.escape = escape or quote
        self.header = header
        if not len(self.delimiter) == len(self.quote) == len(self.escape) == 1:
            raise ValueError("copy's delimiter, quote and escape are one character each")
        if self.delimiter in b"\r\n" or self.quote in b"\r\n" or (csv and quote == self.delimiter):
            raise ValueError("copy's delimiter and quote are not line ends, and differ")

    @classmethod
    def of(cls, options: CopyOptions) -> CopyFormat:
        """Return the format that a statement asks for. Raises: ValueError for one not read here."""
        if not options.utf8:
            raise ValueError("copy in an encoding other than UTF8")
        return cls(
            options.format,
            delimiter=options.delimiter.encode(),
            null=options.null.encode(),
            quote=options.quote.encode(),
            escape=options.escape.encode(),
            header=options.header,
        )

    @property
    def harmless(self) -> bool:
        """Whether the marks leave every match in one piece on the wire."""
        if self.name == "binary":
            return True
        if self.delimiter[0] not in _HARMLESS:
            return False
        return self.name == "text" or (self.quote == b'"' and self.escape in (b'"', b"\\"))


@final
class CopyMasker:
    """Rewrites the rows of one COPY ... TO STDOUT."""

    __slots__ = (
        "_cells",
        "_field",
        "_format",
        "_header_due",
        "_held",
        "_preamble_due",
        "_prefilter",
        "_quoted",
        "_record",
        "_targets",
        "_trailed",
    )

    def __init__(self, plan: ResultPlan, format: CopyFormat) -> None:
        self._format = format
        self._cells = plan.cells
        self._targets = bool(targets_of(plan))
        self._prefilter: Prefilter | None = None
        if plan.prefilter is not None:
            extra = {"text": (r"\\[^N]",), "csv": ('""', r"\\"), "binary": ()}[format.name]
            self._prefilter = prefilter(plan.patterns + extra)
        self._held = b""
        self._header_due = format.header and format.name != "binary"
        self._preamble_due = format.name == "binary"
        self._trailed = False
        quote, escape = re.escape(format.quote), re.escape(format.escape)
        mark = re.escape(format.delimiter)
        inside = b"[^" + quote + escape + b"]|" + escape + b"[" + quote + escape + b"]"
        if format.quote != format.escape:
            inside += b"|" + escape
        self._quoted = quote + b"(?:" + inside + b")*+" + quote
        self._field = re.compile(b"(?:" + self._quoted + b"|[^\n" + mark + quote + b"])*+", re.S)
        self._record = re.compile(b"(?:" + self._quoted + b"|[^\n" + quote + b"])*+\n", re.S)

    def mask(self, chunk: bytes) -> bytes:
        """Return whole CopyData messages, masked; the same object when nothing is hidden in them.

        FAILS CLOSED. Raises: MaskingFailed; ProtocolViolation for what is no COPY data.
        """
        if self._prefilter is None or not self._aligned(chunk):
            return self._rewrite(chunk, None)
        hits = spans_of(self._prefilter, chunk)
        return self._rewrite(chunk, hits) if hits else chunk

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
        return b"d" + _LENGTH.pack(len(masked) + 4) + masked

    def _aligned(self, chunk: bytes) -> bool:
        """Whether every message of `chunk` holds whole rows, to be looked at only under a hit."""
        if self._held or self._targets or self._header_due or self._format.name == "binary":
            return False
        if not self._format.harmless or self._format.quote != self._format.escape:
            return False
        csv = self._format.name == "csv"
        quote = self._format.quote
        position = 0
        while position < len(chunk):
            start, end = _body(chunk, position)
            if end == start or chunk[end - 1] != 10:
                return False
            if csv and chunk.count(quote, start, end) & 1:
                return False
            position = end
        return True

    def _rewrite(self, chunk: bytes, hits: list[Span] | None) -> bytes:
        """Mask the messages under `hits`; None: all of them."""
        out: list[bytes] = []
        position = kept = first = 0
        while position < len(chunk):
            start, end = _body(chunk, position)
            touched = hits is None
            while hits is not None and first < len(hits) and hits[first][0] < end:
                touched = True
                if hits[first][1] > end:
                    break
                first += 1
            if touched:
                body = chunk[start:end]
                masked = self.feed(body)
                if masked != body:
                    out.append(chunk[kept:position])
                    if masked:
                        out.append(b"d" + _LENGTH.pack(len(masked) + 4))
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
            end = self._line_end(data, position) if b"\n" in body else -1
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

    def _line_end(self, data: bytes, position: int) -> int:
        if self._format.name == "text":
            return data.find(b"\n", position) + 1 or -1
        match = self._record.match(data, position)
        return -1 if match is None else match.end()

    def _line(self, line: bytes) -> bytes:
        """Mask one row in text or CSV, without its line end."""
        if self._header_due:
            self._header_due = False
            return line
        hits: list[Span] | None = None
        if self._prefilter is not None and self._format.harmless and not self._targets:
            hits = spans_of(self._prefilter, line)
            if not hits:
                return line
        csv = self._format.name == "csv"
        fields = self._split(line) if csv else line.split(self._format.delimiter)
        if not csv and self._format.delimiter != b"\t" and b"\\" in line:
            fields = self._split_escaped(line)
        if len(fields) != len(self._cells):
            raise malformed(f"row has {len(fields)} fields where {len(self._cells)} were described")
        changed = False
        begin = 0
        for index, field in enumerate(fields):
            cell = self._cells[index]
            end = begin + len(field)
            if cell is not None and (
                hits is None or any(hit[0] < end and hit[1] > begin for hit in hits)
            ):
                masked = self._csv(field, cell) if csv else self._text(field, cell)
                changed = changed or masked is not field
                fields[index] = masked
            begin = end + 1
        return self._format.delimiter.join(fields) if changed else line

    def _prefilter_hits(self, row: bytes) -> bool:
        return self._prefilter is not None and bool(spans_of(self._prefilter, row))

    def _split_escaped(self, line: bytes) -> list[bytes]:
        mark = re.escape(self._format.delimiter)
        return re.findall(rb"(?:\A|" + mark + rb")((?:[^\\" + mark + rb"]|\\.)*)", line, re.S)

    def _text(self, field: bytes, cell: CellMask) -> bytes:
        if field == self._format.null:
            return field
        value = _ESCAPE.sub(_unescape, field) if b"\\" in field else field
        masked = cell.mask(value)
        if masked is value:
            return field
        if masked is None:
            return self._format.null
        return self._escaped(masked)

    def _escaped(self, value: bytes) -> bytes:
        out = value.replace(b"\\", b"\\\\")
        for letter, char in _UNESCAPED.items():
            out = out.replace(char, b"\\" + letter)
        mark = self._format.delimiter
        if mark != b"\t":
            out = out.replace(mark, b"\\" + mark)
        if out == self._format.null and out:
            # Written as it stands it would read as NULL: its first byte in octal.
            out = b"\\%03o" % out[0] + out[1:]
        return out

    def _split(self, line: bytes) -> list[bytes]:
        fields: list[bytes] = []
        position = 0
        while True:
            match = self._field.match(line, position)
            if match is None:
                raise malformed("csv does not parse")
            fields.append(match.group())
            position = match.end()
            if position == len(line):
                return fields
            if line[position : position + 1] != self._format.delimiter:
                raise malformed("csv does not parse")
            position += 1

    def _csv(self, field: bytes, cell: CellMask) -> bytes:
        quote, escape = self._format.quote, self._format.escape
        quoted = field[:1] == quote
        if not quoted and field == self._format.null:
            return field
        value = field
        if quoted:
            value = field[1:-1].replace(escape + quote, quote)
            if escape != quote:
                value = value.replace(escape + escape, escape)
        masked = cell.mask(value)
        if masked is value:
            return field
        if masked is None:
            return self._format.null
        if escape != quote:
            masked = masked.replace(escape, escape + escape)
        return quote + masked.replace(quote, escape + quote) + quote

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
        for cell in self._cells:
            (length,) = _LENGTH.unpack_from(row, position)
            position += 4
            if length < 0:
                parts.append(prefixed(None))
                continue
            value = row[position : position + length]
            parts.append(prefixed(value if cell is None else cell.mask(value)))
            position += length
        return b"".join(parts)


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code.isdigit() and int(code[:1]) < 8:
        return bytes([int(code, 8) & 255])
    return _UNESCAPED.get(code, code)


def _body(chunk: bytes, position: int) -> tuple[int, int]:
    """Return where the body of the CopyData at `position` begins and ends."""
    if position + 5 > len(chunk) or chunk[position] != _COPY_DATA:
        raise ProtocolViolation("target", "message among copied rows is no CopyData")
    (length,) = _LENGTH.unpack_from(chunk, position + 1)
    end = position + 1 + int(length)
    if length < 4 or end > len(chunk):
        raise ProtocolViolation("target", "CopyData has a bad length")
    return position + 5, end
