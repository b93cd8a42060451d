"""What the codec's tests share: a small classifier, messages that compare, and a session."""

from __future__ import annotations

import re
import struct

from sallyport.core.operation import Effect, Resource
from sallyport.protocols.base import Side
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.codec import Limits, PostgresCodec
from sallyport.protocols.postgres.replies import Field
from sallyport.sql.catalogue import Catalogue, CatalogueSnapshot, Column, Relation
from sallyport.sql.column_types import ColumnType
from sallyport.sql.session import SessionState
from sallyport.sql.statement import (
    Change,
    Classified,
    CopyColumn,
    CopyOptions,
    Setting,
    Statement,
)
from sallyport.testing.dialogue import Dialogue

READS = {"select", "show", "fetch", "begin", "commit", "rollback", "savepoint", "execute", "values"}
DATABASE = Resource("database", "shop", Effect.READ)


TEXT = ColumnType("base", "text", "pg_catalog.text")


def snapshot(epoch: str = "1") -> CatalogueSnapshot:
    """A catalogue with one table `public.customers` of oid 100: id, email."""
    columns = (
        Column("id", 1, "int4"),
        Column("email", 2, "text", shape=TEXT),
    )
    customers = Relation(100, "public", "customers", "table", columns)
    return CatalogueSnapshot(
        Catalogue(
            version=18,
            epoch=epoch,
            relations=(customers,),
            functions=(),
            schemas=frozenset({"public"}),
            types=frozenset(),
            operators={},
            casts=(),
            unusable=frozenset(),
            judged=frozenset(),
        )
    )


class Words:
    """Tells statements by their first word: enough to drive the codec, and no more."""

    def __init__(self) -> None:
        self.needs: dict[str, str] = {}
        self.asked: list[tuple[str, SessionState]] = []
        self._known: dict[str, Statement] = {}

    def classify(
        self, text: str, state: SessionState, catalogue: CatalogueSnapshot | None
    ) -> Classified:
        self.asked.append((text, state))
        if "syntax error" in text:
            return Classified((self._statement(text, "unknown"),), error="syntax error")
        parts = [part for part in re.split(r";\s*", text) if part.strip()] or [""]
        needs = self.needs.get(text, "")
        return Classified(tuple(self._statement(part, None) for part in parts), needs=needs)

    def prepare(self, text: str) -> None:
        self.needs.pop(text, None)

    def _statement(self, text: str, verb: str | None) -> Statement:
        known = self._known.get(text)
        if known is None:
            known = self._known[text] = statement(text, verb)
        return known


def statement(text: str, verb: str | None = None) -> Statement:
    words = text.lower().split() or ["empty"]
    verb = verb or words[0]
    effect = Effect.READ if verb in READS | {"empty"} else Effect.WRITE
    if verb == "unknown":
        effect = Effect.UNKNOWN
    copy = ""
    columns: tuple[CopyColumn, ...] | None = None
    if verb == "copy":
        copy = "in" if "stdin" in words else "out"
        if "known" in words:
            origin = frozenset({("public", "customers", "email")})
            columns = (CopyColumn("id", "int4", frozenset()), CopyColumn("email", "text", origin))
    return Statement(
        text=text,
        verb=verb,
        effect=effect,
        resources=(DATABASE,),
        facts=frozenset(),
        fingerprint=text.encode(),
        change=change_of(text, verb, words),
        copy=copy,
        copy_columns=columns,
        copy_options=CopyOptions() if columns is not None else None,
        returns_rows=verb in ("select", "fetch", "show", "execute"),
        touches_catalogue=verb in ("create", "drop", "alter"),
        stands_on=((100, ""),) if "customers" in text else (),
    )


def change_of(text: str, verb: str, words: list[str]) -> Change | None:
    if verb in ("begin", "commit", "rollback"):
        return Change(verb)
    if verb == "savepoint":
        return Change(verb, name=words[1])
    if verb == "set":
        return Change("set", settings=(Setting("search_path", (words[3],)),))
    if verb in ("prepare", "deallocate", "declare"):
        return Change(verb, name=words[1], text=text)
    return None


class Session:
    """What surrounds a codec: a clock that is turned by hand, a revision, a catalogue."""

    def __init__(
        self, *, limits: Limits | None = None, write: bool = True, real: bool = False
    ) -> None:
        self.now = 100.0
        self.revision = "r1"
        self.catalogue: CatalogueSnapshot | None = snapshot()
        self.overdue = False
        self.seen = True
        self.classifier = Words()
        self.codec = PostgresCodec(
            session="s-1",
            target="shop",
            classifier=Classifier() if real else self.classifier,  # type: ignore[arg-type]
            clock=lambda: self.now,
            limits=limits or Limits(),
            revision=lambda: self.revision,
            state=SessionState.start("shop", "app"),
            catalogue=lambda: self.catalogue,
            overdue=lambda: self.overdue,
            seen=lambda: self.seen,
            write=write,
            mask_key=b"k" * 32,
        )

    def dialogue(self, chunk: int | None = None) -> Dialogue[Shape]:
        return Dialogue(self.codec, read, chunk)


def converse(
    *, limits: Limits | None = None, write: bool = True, chunk: int | None = None
) -> Dialogue[Shape]:
    return Session(limits=limits, write=write).dialogue(chunk)


class Shape:
    """A message as a test names it: a type, and of an error its code, of others all bytes."""

    def __init__(self, raw: bytes, code: str | None = None) -> None:
        self.raw = raw
        self.code = code

    @property
    def fields(self) -> dict[str, str]:
        return replies.parse_fields(self.raw[5:])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Shape):
            return NotImplemented
        if self.raw[:1] != other.raw[:1]:
            return False
        if self.code is not None or other.code is not None:
            return self._code() == other._code()
        return self.raw == other.raw

    def _code(self) -> str:
        return self.code if self.code is not None else self.fields["C"]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.raw[:1] in b"EN" and (self.code is not None or len(self.raw) > 20):
            return f"<{self.raw[:1].decode()} {self._code()}>" if self.code else f"<{self.raw!r}>"
        return f"<{self.raw!r}>"


def read(side: Side, data: bytes) -> list[Shape]:
    shapes = []
    position = 0
    while position < len(data):
        length = struct.unpack_from(">i", data, position + 1)[0]
        shapes.append(Shape(data[position : position + 1 + length]))
        position += 1 + length
    assert position == len(data), "bytes that are no whole message"
    return shapes


def of(*raw: bytes) -> list[Shape]:
    return [Shape(each) for each in raw]


def error(code: str) -> Shape:
    return Shape(b"E", code)


def notice(code: str = "00000") -> Shape:
    return Shape(b"N", code)


query, parse, bind = messages.query, messages.parse, messages.bind
describe, execute, close = messages.describe, messages.execute, messages.close
SYNC, FLUSH, TERMINATE = messages.SYNC, messages.FLUSH, messages.TERMINATE
ready, tag = replies.ready, replies.command_complete
PARSED, BOUND, CLOSED = replies.PARSE_COMPLETE, replies.BIND_COMPLETE, replies.CLOSE_COMPLETE
NO_DATA = replies.NO_DATA


def failed(code: str = "22P02", text: str = "server error") -> bytes:
    return replies.error(code, text)


def columns(*names: str, table: int = 0, format: int = 0) -> bytes:
    """Columns of type text; with a table, `id` is its first attribute, any other its second."""
    return replies.row_description(
        [
            Field(name, table, (1 if name == "id" else 2) if table else 0, 25, -1, -1, format)
            for name in names
        ]
    )


def row(*cells: bytes | None) -> bytes:
    return replies.data_row(cells)
