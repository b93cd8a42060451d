"""What is shown of columns whose masks only the database can carry out, and where it is redacted."""

from __future__ import annotations

import json

import pytest

from tests.bypass.postgres import wire
from tests.masking.oracle import Step, bytes_of
from tests.masking.worlds import Worlds

COLUMNS = "born, income, host, nick, phone, contact, info, seen, score, pins"
ROW = f"select {COLUMNS} from only folk where id = 1"
SHOWN = [
    "1961-01-01", "4100", "10.93.8.0/24", "somebody", "***71",
    {"email": "[redacted]", "plan": "pro", "contact": {"phone": "[redacted]", "city": "Oslo"}},
    {"email": "[redacted]", "n": 1}, "2019-01-01 00:00:00+00", "800.00", "{}",
]  # fmt: skip
NEUTRAL = [
    "1970-01-01", "0", "0.0.0.0", "[redacted]", "[redacted]", "[redacted]", "[redacted]",
    "1970-01-01 00:00:00+00", "0", "{}",
]  # fmt: skip


def rows(worlds: Worlds, *steps: Step) -> list[list[object]]:
    """The rows of a masked subject's session: json read, blanks of char(n) left out."""
    session = worlds.connect(0, direct=False)
    found = []
    try:
        for step in ("set timezone = 'UTC'", *steps):
            data, ready = bytes_of(step)
            session.send(data)
            found += [answer.cells for answer in session.until_ready(ready) if answer.kind == "D"]
    finally:
        session.close()
    return [[None if cell is None else read(cell.decode()) for cell in row] for row in found]


def read(text: str) -> object:
    return json.loads(text) if text.startswith(('{"', '{ "', '"[')) else text.rstrip()


@pytest.mark.parametrize(
    "step",
    [
        ROW,
        {"sql": ROW},
        {"sql": ROW.replace("= 1", "= $1"), "args": ["1"], "statement": "s", "describe": "S"},
        f"select {COLUMNS} from (select * from only folk) q where id = 1 and nick = 'somebody'",
        f"select {COLUMNS} from only folk where id = 1 and income = 4100 and born < '1961-01-02'",
    ],
)
def test_a_column_that_is_only_shown_is_masked_at_the_source(worlds: Worlds, step: Step) -> None:
    assert rows(worlds, step) == [SHOWN]


def test_null_stays_null(worlds: Worlds) -> None:
    assert rows(worlds, ROW.replace("= 1", "= 3")) == [["1999-01-01", *[None] * 9]]


def test_heirs_and_views_show_the_same(worlds: Worlds) -> None:
    assert rows(worlds, "select income, nick from elders") == [["0", "somebody"]]
    assert rows(worlds, "select pay, nick from folk_view where id = 1") == [["4100", "somebody"]]
    assert rows(worlds, "select more, loud from folk_shout where id = 1") == [[None, None]]
    assert rows(worlds, "select twice from only folk where id = 1") == [[None]]
    assert rows(worlds, "select sender, receiver from parcels where id = 1") == [
        ["somebody", "Kim"]
    ]


@pytest.mark.parametrize(
    "steps",
    [
        ["begin", f"declare c cursor for {ROW}", "fetch all from c", "rollback"],
        [f"prepare p as {ROW}", "execute p"],
    ],
)
def test_so_is_what_a_cursor_reads_or_sql_prepares(worlds: Worlds, steps: list[Step]) -> None:
    assert rows(worlds, *steps) == [SHOWN]


WRITE = f"update only folk set name = name where id = 1 returning {COLUMNS}"


@pytest.mark.parametrize(
    "write",
    [
        WRITE,
        {"sql": WRITE},
        {"sql": WRITE.replace("= 1", "= $1"), "args": ["1"], "statement": "s", "describe": "S"},
        f"delete from only folk where id = 1 returning {COLUMNS}",
        WRITE.replace("born", "old.born").replace("nick", "new.nick"),
    ],
)
def test_so_is_what_a_write_gives_back(worlds: Worlds, write: Step) -> None:
    assert rows(worlds, "begin", write, "rollback") == [SHOWN]


def copied(worlds: Worlds, text: str) -> str:
    session = worlds.connect(0, direct=False)
    session.send(wire.query(text))
    out = b"".join(answer.body for answer in session.until_ready(1) if answer.kind == "d").decode()
    session.close()
    return out


def test_so_is_what_copy_selects(worlds: Worlds) -> None:
    text = "copy (select income, nick from folk where id = 1) to stdout"
    assert copied(worlds, text) == "4100\tsomebody\n"


@pytest.mark.parametrize(
    "steps",
    [
        [f"{ROW} for key share"],
        [f"{ROW} and name <> '{'x' * 5000}'"],
    ],
)
def test_what_is_not_rewritten_is_redacted_whole(worlds: Worlds, steps: list[Step]) -> None:
    assert rows(worlds, *steps) == [NEUTRAL]


def test_copies_are_redacted_whole(worlds: Worlds) -> None:
    out = copied(worlds, "copy folk (id, income, nick, contact) to stdout (format csv)")
    assert out.splitlines()[0] == '1,,"[redacted]","""[redacted]"""'
    assert "Oslo" not in out and "pro" not in out


def test_names_types_and_modifiers_stay(worlds: Worlds) -> None:
    described = []
    for direct in (False, True):
        session = worlds.connect(0, direct=direct)
        session.send(bytes_of({"sql": "select * from folk"})[0])
        (body,) = [a.body for a in session.until_ready(1) if a.kind == "T"]
        session.close()
        described.append(without_origins(body))
    assert described[0] == described[1]


def without_origins(body: bytes) -> list[tuple[bytes, bytes]]:
    """Name, and type with size and modifier, of each column of a RowDescription."""
    found, position = [], 2
    for _ in range(int.from_bytes(body[:2])):
        end = body.index(b"\0", position)
        found.append((body[position:end], body[end + 7 : end + 19]))
        position = end + 19
    return found
