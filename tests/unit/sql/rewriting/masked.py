"""A column of any type with any values, and what a mask on it shows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import psycopg
from postgast.native import lib

from sallyport.sql import column_types
from sallyport.sql.column_types import ColumnType
from sallyport.sql.rewriting.masks import SourceMask, expression
from tests.unit.sql.shop import rows_of

Connection = psycopg.Connection[tuple[object, ...]]

KEY = "0123456789abcdef-key"


def written_anew(query: str) -> str:
    """Return a text that the parser read and wrote: the tree never becomes Python's."""
    tree = lib.pg_query_parse_protobuf(query.encode())
    try:
        assert not tree.error, tree.error.contents.message
        written = lib.pg_query_deparse_protobuf(tree.parse_tree)
        try:
            assert not written.error
            return str(written.query.decode())
        finally:
            lib.pg_query_free_deparse_result(written)
    finally:
        lib.pg_query_free_protobuf_parse_result(tree)


class Column:
    """One column of a new table with some values, each given as the text of an expression."""

    _numbers = itertools.count(1)
    _types: dict[str, ColumnType] = {}

    def __init__(
        self, server: Connection, type_: str, values: Sequence[str] = (), name: str = "c"
    ) -> None:
        self.server = server
        self.declared = type_
        self.name = name
        self.quoted = '"' + name.replace('"', '""') + '"'
        self.table = f"masked.t{next(self._numbers)}"
        server.execute(f"create table {self.table} (n serial, {self.quoted} {type_})")
        for value in values:
            server.execute(f"insert into {self.table} ({self.quoted}) values ({value})")

    @property
    def type(self) -> ColumnType:
        """The type, as the catalogue has it."""
        if self.declared not in self._types:
            self._types[self.declared] = self._read()
        return self._types[self.declared]

    def _read(self) -> ColumnType:
        with self.server.transaction():
            self.server.execute("set local search_path = ''")
            types = column_types.read(rows_of(self.server, column_types.COLUMN_TYPES))
            ((oid, modifier),) = self.server.execute(
                "select atttypid::bigint, atttypmod from pg_catalog.pg_attribute"
                " where attrelid = %s::regclass and attname = %s",
                (self.table, self.name),
            ).fetchall()
        assert isinstance(oid, int)
        assert isinstance(modifier, int)
        return types[oid, modifier]

    def source(self, mask: SourceMask, key: str = KEY) -> str:
        """Return the subselect that stands in the table's place, written anew by the parser."""
        masked = expression(self.name, self.type, mask, key)
        query = f"select (s).* from (select n, {masked} as {self.quoted} from {self.table}) s"
        return written_anew(query)

    def masked(self, mask: SourceMask, key: str = KEY) -> list[str | None]:
        """Return the masked values in the order in which they were given, as texts."""
        return list(self._texts(self.source(mask, key)))

    def raw(self) -> list[str | None]:
        return list(self._texts(f"select n, {self.quoted} from {self.table}"))

    def described(self, query: str) -> tuple[bytes | None, int, int]:
        """Return name, type and modifier of the second column that the server describes."""
        result = self.server.execute(query).pgresult  # type: ignore[arg-type]
        assert result is not None
        return result.fname(1), result.ftype(1), result.fmod(1)

    def plain(self) -> tuple[bytes | None, int, int]:
        return self.described(f"select n, {self.quoted} from {self.table}")

    def _texts(self, query: str) -> Iterator[str | None]:
        result = self.server.execute(f"select * from ({query}) q order by n").pgresult  # type: ignore[arg-type]
        assert result is not None
        for row in range(result.ntuples):
            value = result.get_value(row, 1)
            yield None if value is None else value.decode()
