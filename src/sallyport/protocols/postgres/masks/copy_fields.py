"""COPY in text and CSV: how fields are cut, read and written (sql-copy.html, "File Formats")."""

from __future__ import annotations

import re
from typing import final

from sallyport.protocols.postgres.masks.rows import malformed
from sallyport.sql.statement import CopyOptions

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
class Fields:
    """The fields of rows in text or CSV. `hard`: without it in a row, the delimiter alone cuts it;
    empty when it always does.
    """

    __slots__ = (
        "_absent",
        "_csv",
        "_escape",
        "_escaped",
        "_field",
        "_mark",
        "_quote",
        "_record",
        "hard",
    )

    def __init__(self, format: CopyFormat) -> None:
        self._csv = format.name == "csv"
        self._absent = format.null
        self._mark = format.delimiter
        self._quote = format.quote
        self._escape = format.escape
        self.hard = b"" if format.delimiter == b"\t" else b"\\"
        if self._csv:
            self.hard = format.quote
        quote, escape = re.escape(format.quote), re.escape(format.escape)
        mark = re.escape(format.delimiter)
        inside = b"[^" + quote + escape + b"]|" + escape + b"[" + quote + escape + b"]"
        if format.quote != format.escape:
            inside += b"|" + escape
        quoted = quote + b"(?:" + inside + b")*+" + quote
        self._field = re.compile(b"(?:" + quoted + b"|[^\n" + mark + quote + b"])*+", re.S)
        self._record = re.compile(b"(?:" + quoted + b"|[^\n" + quote + b"])*+\n", re.S)
        self._escaped = re.compile(rb"(?:\A|" + mark + rb")((?:[^\\" + mark + rb"]|\\.)*)", re.S)

    def line_end(self, data: bytes, position: int) -> int:
        """Return where the row that begins at `position` ends; -1 when it does not."""
        if not self._csv:
            return data.find(b"\n", position) + 1 or -1
        match = self._record.match(data, position)
        return -1 if match is None else match.end()

    def split(self, line: bytes) -> list[bytes]:
        """Return a row's fields, as they are written. Raises: ProtocolViolation."""
        if self.hard and self.hard in line:
            return self._split_csv(line) if self._csv else self._escaped.findall(line)
        return line.split(self._mark)

    def _split_csv(self, line: bytes) -> list[bytes]:
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
            if line[position : position + 1] != self._mark:
                raise malformed("csv does not parse")
            position += 1

    def read(self, field: bytes) -> bytes | None:
        """Return what a field stands for; None is NULL."""
        if not self._csv:
            if field == self._absent:
                return None
            return _ESCAPE.sub(_unescape, field) if b"\\" in field else field
        quote, escape = self._quote, self._escape
        if field[:1] != quote:
            return None if field == self._absent else field
        value = field[1:-1].replace(escape + quote, quote)
        return value if escape == quote else value.replace(escape + escape, escape)

    def write(self, value: bytes | None) -> bytes:
        """Return `value` as a field."""
        if value is None:
            return self._absent
        if self._csv:
            quote, escape = self._quote, self._escape
            if escape != quote:
                value = value.replace(escape, escape + escape)
            return quote + value.replace(quote, escape + quote) + quote
        out = value.replace(b"\\", b"\\\\")
        for letter, char in _UNESCAPED.items():
            out = out.replace(char, b"\\" + letter)
        if self._mark != b"\t":
            out = out.replace(self._mark, b"\\" + self._mark)
        if out == self._absent and out:
            # Written as it stands it would read as NULL: its first byte in octal.
            out = b"\\%03o" % out[0] + out[1:]
        return out


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    if code[:1] == b"x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code.isdigit() and int(code[:1]) < 8:
        return bytes([int(code, 8) & 255])
    return _UNESCAPED.get(code, code)
