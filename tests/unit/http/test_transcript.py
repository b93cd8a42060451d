"""How recorded bodies read: as text where they are, else as size and type."""

from __future__ import annotations

import gzip
import zlib

import pytest

from sallyport.protocols.http.transcript import LIMIT, render_rows

PNG = b"\x89PNG\r\n\x1a\n" + bytes(92)


@pytest.mark.parametrize(
    ("data", "types", "says"),
    [
        (b'{"a": 1}', ("application/json",), ['{"a": 1}']),
        (b"a\r\nb\n", (), ["a", "b"]),
        (b"caf\xc3\xa9", ("text/plain",), ["café"]),
        (b"caf\xe9", ("text/plain; charset=ISO-8859-1",), ["café"]),
        (b"caf\xe9", ("text/plain",), [r"caf\xe9"]),
        (b"caf\xc3", ("application/octet-stream",), [r"caf\xc3"]),
        (b"a\x1b[2Jb", ("text/html",), ["a\x1b[2Jb"]),
        (b"a\x1b[2Jb", (), ["<6 bytes>"]),
        (b"\xff", ("application/x-thing",), ["<1 byte of application/x-thing>"]),
        (PNG, ("image/png",), ["<100 bytes of image/png>"]),
        (b"<svg/>", ("image/svg+xml",), ["<svg/>"]),
        (gzip.compress(b"plain", mtime=0), ("text/plain", "gzip"), ["plain"]),
        (zlib.compress(b"plain"), ("text/plain", "Deflate"), ["plain"]),
        (gzip.compress(b"plain" * 9, mtime=0)[:-9], ("text/plain", "gzip"), ["plain" * 9]),
        (b"plain", ("text/plain", "identity"), ["plain"]),
        (b"\x1b\x02", ("text/plain", "br"), ["<2 bytes of text/plain, br>"]),
        (b"no gzip", ("text/plain", "gzip"), ["<7 bytes of text/plain, gzip>"]),
    ],
)
def test_a_body_reads_as_what_it_is(data: bytes, types: tuple[str, ...], says: list[str]) -> None:
    rows = render_rows("http/body", data, (), types)
    assert [row[0] for row in rows] == says


def test_what_unpacks_to_very_much_is_cut() -> None:
    (row,) = render_rows("http/body", gzip.compress(b"a" * 9 * LIMIT), (), ("text/plain", "gzip"))
    assert row == ["a" * LIMIT]


def test_trailers_are_lines_and_a_message_is_one_row() -> None:
    assert render_rows("http/trailers", b"a: b\r\nc: \xe9\r\n", (), ()) == [["a: b"], ["c: é"]]
    assert render_rows("http/message", b"a\nb", (), ()) == [["a\nb"]]
    assert render_rows("http/message", PNG, (), ()) == [["<100 bytes>"]]
    with pytest.raises(ValueError, match="not known"):
        render_rows("postgres/rows", b"", (), ())
