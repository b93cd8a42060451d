"""DataRow and COPY rows through a plan: only what must change changes, and nothing slips by."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import pq

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.demo.server import EmbeddedPostgres
from sallyport.masking.plan import Column, ResultPlan, plan
from sallyport.protocols.postgres.masks.copy_fields import CopyFormat
from sallyport.protocols.postgres.masks.copy_rows import HELD_LIMIT, CopyMasker
from sallyport.protocols.postgres.masks.rows import RowMasker
from sallyport.sql.statement import CopyOptions

KEY = b"0123456789abcdef" * 2
Cells = list[bytes | None]


def row(*cells: bytes | None) -> bytes:
    body = struct.pack(">h", len(cells))
    for cell in cells:
        body += b"\xff\xff\xff\xff" if cell is None else struct.pack(">i", len(cell)) + cell
    return b"D" + struct.pack(">i", len(body) + 4) + body


def rows(chunk: bytes) -> list[Cells]:
    out: list[Cells] = []
    position = 0
    while position < len(chunk):
        kind, length, count = struct.unpack_from(">cih", chunk, position)
        assert kind == b"D"
        end = position + 1 + length
        position += 7
        cells: Cells = []
        for _ in range(count):
            (size,) = struct.unpack_from(">i", chunk, position)
            position += 4
            cells.append(None if size < 0 else chunk[position : position + size])
            position += max(size, 0)
        assert position == end
        out.append(cells)
    return out


def described(*masks: Mask, names: str = "id email note", types: str = "23 25 25") -> ResultPlan:
    columns = [
        Column(name, frozenset({("public", "customers", name)}), oid, False)
        for name, oid in zip(names.split(), types.split(), strict=True)
    ]
    made = plan(masks, columns, KEY)
    assert made is not None
    return made


DETECT = Mask("d", "redact", (), ("email", "card"))
NAMED = Mask("n", "redact", ("*.*.email",))


def test_clean_rows_are_the_same_object() -> None:
    chunk = row(b"1", b"nobody", b"nothing") + row(b"2", None, b"")
    assert RowMasker(described(DETECT)).mask(chunk) is chunk


def test_a_hit_changes_its_cell_alone() -> None:
    chunk = row(b"1", b"x", b"clean") + row(b"2", None, b"to a@b.com!") + row(b"3", b"y", None)
    assert rows(RowMasker(described(DETECT)).mask(chunk)) == [
        [b"1", b"x", b"clean"],
        [b"2", None, b"to [redacted:email]!"],
        [b"3", b"y", None],
    ]


def test_a_column_is_masked_in_every_row_but_null_stays_null() -> None:
    chunk = row(b"1", b"a@b.com", b"x") + row(b"2", None, b"y") + row(b"3", b"", b"z")
    assert rows(RowMasker(described(NAMED)).mask(chunk)) == [
        [b"1", b"[redacted]", b"x"],
        [b"2", None, b"y"],
        [b"3", b"[redacted]", b"z"],
    ]


def test_null_transform_makes_null() -> None:
    made = described(Mask("n", "null", ("*.*.{email,id}",)))
    assert rows(RowMasker(made).mask(row(b"1", b"x", b"y"))) == [[None, None, b"y"]]


def test_columns_and_detectors_together() -> None:
    chunk = row(b"1", b"a@b.com", b"call c@d.org") + row(b"2", b"e@f.net", b"")
    assert rows(RowMasker(described(NAMED, DETECT)).mask(chunk)) == [
        [b"1", b"[redacted]", b"call [redacted:email]"],
        [b"2", b"[redacted]", b""],
    ]


def test_a_row_without_columns_passes() -> None:
    chunk = row(b"1", b"x", b"y")
    assert RowMasker(described(DETECT)).mask(b"") == b""
    assert RowMasker(described(NAMED)).mask(chunk) != chunk


@pytest.mark.parametrize("size", [32, 45, 48, 52, 57, 64, 65, 95, 97, 122, 0x3030, 0x3434])
def test_a_length_byte_that_is_a_letter_or_digit_hides_nothing(size: int) -> None:
    """The cell before ends where the secret begins, and the length reads like part of it."""
    secret = b"4111111111111111"
    padded = secret + b" " * (size - len(secret))
    chunk = row(b"4", padded, b"4" * 7) + row(b"1" * 11, secret, b"1111")
    got = rows(RowMasker(described(DETECT)).mask(chunk))
    assert got[0][1] == b"[redacted:card]" + b" " * (size - len(secret))
    assert got[1] == [b"1" * 11, b"[redacted:card]", b"1111"]


def test_a_match_is_not_made_of_two_cells() -> None:
    chunk = row(b"41111111", b"11111111", b"alice@") + row(b"0", b"example.com", b"x")
    assert RowMasker(described(DETECT)).mask(chunk) == chunk


def test_an_escape_in_json_hides_nothing() -> None:
    made = described(DETECT, names="doc", types="114")
    chunk = row(b'{"m": "alice\\u0040example.com"}')
    assert rows(RowMasker(made).mask(chunk)) == [[b'{"m": "[redacted:email]"}']]


def test_a_doubled_quote_in_a_record_hides_nothing() -> None:
    made = described(Mask("d", "redact", (), ("url-password",)), names="r", types="2249")
    chunk = row(b'(1,"password=""hunter2""")')
    assert rows(RowMasker(made).mask(chunk)) == [[b"(1,)"]]


def test_a_float_with_an_exponent_hides_nothing() -> None:
    made = described(DETECT, names="f", types="701")
    assert rows(RowMasker(made).mask(row(b"4.111111111111111e+15"))) == [[b"0"]]


def test_a_json_key_speaks_for_its_value() -> None:
    mask = Mask("d", "redact", (), ("phone", "ssn"))
    made = described(mask, names="doc", types="3802")
    chunk = row(b'{"phone": "0301234567", "x": ["0301234567"], "ssn": 123456789, "id": 123456789}')
    assert rows(RowMasker(made).mask(chunk)) == [
        [b'{"phone": "[redacted:phone]", "x": ["0301234567"], "ssn": 0, "id": 123456789}']
    ]


def test_a_number_that_lost_its_zeros_is_found_where_the_name_tells() -> None:
    made = described(Mask("d", "redact", (), ("ssn",)), names="ssn id", types="23 23")
    chunk = row(b"78051120", b"78051120")
    assert rows(RowMasker(made).mask(chunk)) == [[b"0", b"78051120"]]


def test_a_json_number_with_an_exponent_hides_nothing() -> None:
    made = described(DETECT, names="doc", types="114")
    assert rows(RowMasker(made).mask(row(b"[4.111111111111111E15]"))) == [[b"[0]"]]


GOOD = row(b"1", b"a@b.com", b"x")


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xfe", b"\x80\0\0\0"])
@pytest.mark.parametrize("mask", [NAMED, DETECT, Mask("all", "redact", ("*",))])
def test_a_negative_length_is_a_violation(mask: Mask, length: bytes) -> None:
    chunk = GOOD[:12] + length + GOOD[16:]
    with pytest.raises(ProtocolViolation):
        RowMasker(described(mask)).mask(chunk)


@pytest.mark.parametrize("mask", [NAMED, DETECT, Mask("all", "redact", ("*",))])
@pytest.mark.parametrize(
    "chunk",
    [
        row(b"1", b"a@b.com"),
        row(b"1", b"a@b.com", b"x", b"y"),
        row(),
        GOOD[:-1],
        GOOD + GOOD[:5],
        GOOD[:1] + b"\0\0\0\3" + GOOD[5:],
        GOOD[:1] + b"\xff\xff\xff\xff" + GOOD[5:],
        GOOD[:1] + b"\x7f\xff\xff\xff" + GOOD[5:],
        GOOD[:7] + b"\0\0\0\x7f" + GOOD[11:],
        GOOD[:7] + b"\x7f\xff\xff\xff" + GOOD[11:],
        b"T" + GOOD[1:],
        GOOD + b"C\0\0\0\4",
    ],
)
def test_malformed_rows_are_a_violation_by_the_target(mask: Mask, chunk: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        RowMasker(described(mask)).mask(chunk + b"D\0\0\0\x10\0\3a@b.com")
    assert caught.value.side == "target"


def test_a_cell_that_cannot_be_masked_ends_the_result() -> None:
    made = described(DETECT, names="doc", types="114")
    with pytest.raises(MaskingFailed):
        RowMasker(made).mask(row(b'{"m": a@b.com}'))


# --- COPY


def data(*bodies: bytes) -> bytes:
    return b"".join(b"d" + struct.pack(">i", len(body) + 4) + body for body in bodies)


def bodies(chunk: bytes) -> list[bytes]:
    out = []
    position = 0
    while position < len(chunk):
        assert chunk[position] == 0x64
        (length,) = struct.unpack_from(">i", chunk, position + 1)
        out.append(chunk[position + 5 : position + 1 + length])
        position += 1 + length
    return out


def copied(made: ResultPlan, format: CopyFormat, *parts: bytes) -> bytes:
    masker = CopyMasker(made, format)
    out = b"".join(b"".join(bodies(masker.mask(data(part)))) for part in parts)
    return out + b"".join(bodies(masker.finish()))


TEXT = b"1\ta@b.com\tx\\ty\\\\z\n2\t\\N\tplain\n3\tn\tcard 4111 1111 1111 1111\n"


def test_clean_copy_is_the_same_object() -> None:
    chunk = data(b"1\tx\ty\n", b"2\t\\N\tz\n")
    assert CopyMasker(described(DETECT), CopyFormat()).mask(chunk) is chunk


@pytest.mark.parametrize("cut", range(1, len(TEXT)))
def test_copy_may_be_cut_anywhere(cut: int) -> None:
    assert copied(described(DETECT), CopyFormat(), TEXT[:cut], TEXT[cut:]) == (
        b"1\t[redacted:email]\tx\\ty\\\\z\n2\t\\N\tplain\n3\tn\tcard [redacted:card]\n"
    )


def test_copy_keeps_a_message_a_row() -> None:
    masker = CopyMasker(described(NAMED), CopyFormat())
    assert bodies(masker.mask(data(b"1\tx\ty\n", b"2\tx\ty\n"))) == [
        b"1\t[redacted]\ty\n",
        b"2\t[redacted]\ty\n",
    ]


def test_a_last_row_without_a_line_end_is_masked_too() -> None:
    assert copied(described(NAMED), CopyFormat(), b"1\tx\ty\n2\ta@", b"b.com\tz") == (
        b"1\t[redacted]\ty\n2\t[redacted]\tz"
    )


@pytest.mark.parametrize("mark", [b"@", b" ", b"-", b"A", b"+", b"/", b":", b"="])
def test_a_delimiter_inside_a_match_hides_nothing(mark: bytes) -> None:
    secret = b"A4111-1111 1111-1111 +x/y:z=a@b.com"
    escaped = secret.replace(mark, b"\\" + mark)
    line = mark.join((b"1", escaped, b"3")) + b"\n"
    got = copied(described(DETECT), CopyFormat(delimiter=mark), line)
    assert b"4111" not in got
    assert b"b.com" not in got
    assert b"".join(bodies(data(got))).endswith(mark + b"3\n")


@pytest.mark.parametrize("quote", [b"@", b"1", b"-", b'"', b"'"])
@pytest.mark.parametrize("escape", [None, b"\\", b"."])
def test_a_quote_inside_a_match_hides_nothing(quote: bytes, escape: bytes | None) -> None:
    written = CopyFormat("csv", quote=quote, escape=escape)
    mark = escape or quote
    secret = b"4111-1111-1111-1111,a@b.com"
    inner = secret if mark == quote else secret.replace(mark, mark + mark)
    inner = inner.replace(quote, mark + quote)
    line = b"7," + quote + inner + quote + b",8\n"
    got = copied(described(DETECT), written, line)
    assert b"4111" not in got.replace(mark, b"")
    assert b"b" + b".com" not in got.replace(mark + mark, mark)


def test_an_escape_of_the_format_hides_nothing() -> None:
    made = described(Mask("d", "redact", (), ("url-password",)))
    got = copied(made, CopyFormat("csv"), b'1,x,"password=""hunter2"""\n')
    assert got == b'1,x,"password=""[redacted:url-password]"""\n'


def test_csv_rows_may_hold_line_ends() -> None:
    line = b'1,"a\n""b"",c@d.org\n","\n"\n2,,""\n'
    want = b'1,"a\n""b"",[redacted:email]\n","\n"\n2,,""\n'
    for cut in range(1, len(line)):
        assert copied(described(DETECT), CopyFormat("csv"), line[:cut], line[cut:]) == want


def test_csv_keeps_null_and_empty_apart() -> None:
    made = described(NAMED)
    assert copied(made, CopyFormat("csv"), b'1,,x\n2,"",y\n') == b'1,,x\n2,"[redacted]",y\n'
    made = described(Mask("n", "null", ("*.*.email",)))
    assert copied(made, CopyFormat("csv", null=b"NIL"), b'1,"NIL",x\n2,NIL,y\n') == (
        b"1,NIL,x\n2,NIL,y\n"
    )


def test_a_header_line_is_no_row() -> None:
    got = copied(described(NAMED), CopyFormat("csv", header=True), b"id,email,note\n1,x,y\n")
    assert got == b'id,email,note\n1,"[redacted]",y\n'


def test_a_masked_value_that_reads_as_null_is_escaped() -> None:
    made = described(NAMED)
    got = copied(made, CopyFormat(null=b"[redacted]"), b"1\tx\ty\n2\t[redacted]\ty\n")
    assert got == b"1\t\\133redacted]\ty\n2\t[redacted]\ty\n"


@pytest.mark.parametrize(
    ("format", "body"),
    [
        (CopyFormat(), b"1\ta@b.com\n"),
        (CopyFormat(), b"1\t2\t3\ta@b.com\n"),
        (CopyFormat("csv"), b'1,"a@b.com"x"y,3\n'),
        (CopyFormat("binary"), b"not the signature a@b.com"),
        (CopyFormat("binary"), b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\2"),
        (CopyFormat("binary"), b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\3\x80\0\0\0"),
        (CopyFormat("binary"), b"PGCOPY\n\xff\r\n\0\0\1\0\0" + bytes(4)),
        (CopyFormat("binary"), b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\xff\xff\0\3"),
    ],
)
def test_malformed_copy_is_a_violation_by_the_target(format: CopyFormat, body: bytes) -> None:
    masker = CopyMasker(described(DETECT), format)
    with pytest.raises(ProtocolViolation):
        masker.mask(data(body))
        masker.finish()


@pytest.mark.parametrize("chunk", [b"d\0\0\0\3", b"d\0\0\0\x7fx", b"D\0\0\0\4", b"d\0\0"])
def test_malformed_copy_messages_are_a_violation(chunk: bytes) -> None:
    for mask in (NAMED, DETECT):
        with pytest.raises(ProtocolViolation):
            CopyMasker(described(mask), CopyFormat()).mask(chunk)


def test_a_row_that_never_ends_is_bounded() -> None:
    masker = CopyMasker(described(DETECT), CopyFormat())
    part = data(b"x" * (1 << 20))
    with pytest.raises(MaskingFailed):
        for _ in range(HELD_LIMIT // (1 << 20) + 1):
            assert masker.mask(part) == b""


def test_another_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="UTF8"):
        CopyFormat.of(CopyOptions(utf8=False))


@pytest.mark.parametrize(
    "options",
    [{"delimiter": b"ab"}, {"delimiter": b"\n"}, {"name": "xml"}, {"name": "csv", "quote": b","}],
)
def test_marks_that_copy_does_not_take(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="copy"):
        CopyFormat(**options)  # type: ignore[arg-type]


# --- against the server


@pytest.fixture(scope="module")
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        connection.execute(
            """CREATE TEMP TABLE people (id int8, email text, note text, doc jsonb, tags text[],
               card int8, born date, raw bytea);
            INSERT INTO people SELECT g, 'user' || g || '@example.com',
              E'tab\\t nl\\n bs\\\\ quote" , ; | @ naïve ' || CASE WHEN g % 3 = 0
                THEN 'pay 4111 1111 1111 1111' ELSE 'x' END,
              jsonb_build_object('m', 'user' || g || '@example.com', 'q', 'a"b\\c'),
              ARRAY['t' || g, 'x@y.example', NULL, 'a,b'], 4111111111111111, '1985-07-23',
              'bytes z@y.example'::bytea FROM generate_series(1, 40) g;
            INSERT INTO people (id, email, note) VALUES (41, '', ''), (42, NULL, NULL),
              (43, '\\N', 'NULL')"""
        )
        yield connection


FORMATS = [
    ("", CopyFormat()),
    ("DELIMITER '@'", CopyFormat(delimiter=b"@")),
    ("DELIMITER ' ', NULL 'nil'", CopyFormat(delimiter=b" ", null=b"nil")),
    ("NULL '[redacted]'", CopyFormat(null=b"[redacted]")),
    ("FORMAT csv", CopyFormat("csv")),
    ("FORMAT csv, HEADER, FORCE_QUOTE *", CopyFormat("csv", header=True)),
    ("FORMAT csv, QUOTE '@', DELIMITER ';'", CopyFormat("csv", quote=b"@", delimiter=b";")),
    ("FORMAT csv, ESCAPE '\\'", CopyFormat("csv", escape=b"\\")),
    (
        "FORMAT csv, QUOTE '.', ESCAPE '1', NULL 'x'",
        CopyFormat("csv", quote=b".", escape=b"1", null=b"x"),
    ),
    ("FORMAT binary", CopyFormat("binary")),
]


@pytest.mark.parametrize(
    ("options", "format"), FORMATS, ids=[name or "text" for name, _ in FORMATS]
)
@pytest.mark.parametrize("chunked", [True, False])
def test_masked_copy_loads_again_and_hides_everything(
    server: psycopg.Connection, options: str, format: CopyFormat, chunked: bool
) -> None:
    names = "id email note doc tags card born raw".split()
    types = "20 25 25 3802 1009 20 1082 17".split()
    columns = [
        Column(name, frozenset({("public", "people", name)}), oid, format.name == "binary")
        for name, oid in zip(names, types, strict=True)
    ]
    masks = (
        Mask("a", "redact", ("*.people.email",), ("email", "card")),
        Mask("b", "partial", ("*.people.born",)),
    )
    made = plan(masks, columns, KEY)
    assert made is not None
    clause = f" WITH ({options})" if options else ""
    server.execute("SET bytea_output = hex")
    with server.cursor().copy(f"COPY people TO STDOUT{clause}") as copy:
        parts = [bytes(part) for part in copy]
    if chunked:
        stream = b"".join(parts)
        parts = [stream[at : at + 37] for at in range(0, len(stream), 37)]
    masked = copied(made, format, *parts)
    for secret in (b"@example.com", b"4111", b"y.example"):
        assert secret not in masked.replace(b"@@", b"@").replace(b"\\@", b"@")
    server.execute("DROP TABLE IF EXISTS again; CREATE TEMP TABLE again (LIKE people)")
    clause = clause.replace(", FORCE_QUOTE *", "")
    with server.cursor().copy(f"COPY again FROM STDIN{clause}") as copy:
        copy.write(masked)
    got = server.execute("SELECT count(*), min(born)::text, max(card) FROM again").fetchone()
    assert got == (43, "1985-01-01", 0)
    different = server.execute(
        "SELECT a.id, a.email, a.note FROM again a JOIN people p USING (id) WHERE NOT (a.email IS"
        " NOT DISTINCT FROM CASE WHEN p.email IS NULL THEN NULL ELSE '[redacted]' END AND a.note IS"
        " NOT DISTINCT FROM replace(p.note, '4111 1111 1111 1111', '[redacted:card]'))"
    ).fetchall()
    assert different == []
    inside = server.execute("SELECT doc, tags, raw FROM again WHERE id = 1").fetchone()
    assert inside == (
        {"m": "[redacted:email]", "q": 'a"b\\c'},
        ["t1", "[redacted:email]", None, "a,b"],
        b"bytes [redacted:email]",
    )


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_rows_of_the_server(server: psycopg.Connection, binary: bool) -> None:
    result = server.pgconn.exec_params(
        b"SELECT * FROM people ORDER BY id", [], result_format=int(binary)
    )
    assert result.status == pq.ExecStatus.TUPLES_OK
    columns = [
        Column((result.fname(i) or b"").decode(), None, str(result.ftype(i)), binary)
        for i in range(result.nfields)
    ]
    made = plan((DETECT,), columns, KEY)
    assert made is not None
    cells = [[result.get_value(r, i) for i in range(result.nfields)] for r in range(result.ntuples)]
    chunk = b"".join(row(*each) for each in cells)
    masked = RowMasker(made).mask(chunk)
    for secret in (b"@example.com", b"4111", b"y.example", b"y.example".hex().encode()):
        assert secret in chunk or secret.isalnum()
        assert secret not in masked
    assert (4111111111111111).to_bytes(8, "big") not in masked
    for before, after in zip(cells, rows(masked), strict=True):
        assert before[0] == after[0]
        assert before[6] == after[6]
        assert [cell is None for cell in before] == [cell is None for cell in after]
