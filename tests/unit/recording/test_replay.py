"""Replay: timing, rows, and that no recorded byte acts on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sallyport.cli.transcript import one_line
from sallyport.core.event import (
    FindingCount,
    FindingsCounted,
    HoldOpened,
    HoldSettled,
    Noticed,
    OperationReleased,
    RecordedEvent,
    ResultDescribed,
    ResultEnded,
    ResultRows,
)
from sallyport.recording.export import export_event
from sallyport.recording.replay import Player, plan
from sallyport.recording.visible import visible
from tests.support.recordings import T0, closed, decided, ended, opened, rows


def render(
    encoding: str, data: bytes, formats: tuple[int, ...], types: tuple[str, ...]
) -> list[list[str | None]]:
    """Rows apart by newlines, cells by commas; `-` is NULL."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return [[None if cell == "-" else cell for cell in line.split(",")] for line in lines]


def text_of(events: list[RecordedEvent], **more: object) -> str:
    return "\n".join(line.text for _, line in plan(events, render=render, **more))  # type: ignore[arg-type]


def test_a_session_reads_like_a_conversation() -> None:
    events: list[RecordedEvent] = [
        opened("s-1"),
        structs.replace(decided("s-1", 1, T0 + 1), masks=("mask-pii",)),
        ResultDescribed("s-1", T0 + 1.1, 1, ("id", "name"), ("23", "25")),
        ResultRows("s-1", T0 + 1.1, 1, "postgres/rows", b"1,ann\n2,-", 2),
        ended("s-1", 1, T0 + 1.2),
        structs.replace(
            decided("s-1", 2, T0 + 2, "DROP TABLE users", "deny", rules=("no-drops",)),
            masks=("mask-pii",),  # of its text: nothing else was there to mask
        ),
        decided("s-1", 3, T0 + 3, "UPDATE orders\n\tSET x = 1", "hold", rules=("updates-wait",)),
        HoldOpened("s-1", T0 + 3, 3, "apr-1", ("dba",), 1, 300.0, False),
        HoldSettled("s-1", T0 + 60, 3, "apr-1", "approved", ("dana",), "fine"),
        OperationReleased("s-1", T0 + 60, 3, "UPDATE\x1b[2J"),
        Noticed("s-1", T0 + 61, "NOTICE", "00000", "careful"),
        ResultEnded("s-1", T0 + 62, 3, "", 0, 0, b"", False, 0.1, "23505", "duplicate key"),
        closed("s-1", T0 + 63),
    ]
    assert [(line.kind, line.text) for _, line in plan(events, render=render)] == [
        (
            "session",
            "2026-09-21 14:13:20Z agent-1 (agents) at shop/shop as app, from 127.0.0.1 with psql",
        ),
        ("statement", "[00:01.0] SELECT id FROM customers"),
        ("allow", "allow by agents-read; masked by mask-pii"),
        ("columns", "id | name"),
        ("row", "1 | ann"),
        ("row", "2 | NULL"),
        ("end", "SELECT 3 (3 rows, 30 bytes, 250.0 ms)"),
        ("statement", "[00:02.0] DROP TABLE users"),
        ("deny", "deny by no-drops"),
        ("statement", "[00:03.0] UPDATE orders"),
        ("statement", "            SET x = 1"),
        ("hold", "hold by updates-wait"),
        ("hold", "waits for 1 of dba (apr-1, 300 s)"),
        ("hold", "approved by dana (apr-1): fine"),
        ("notice", "sent as: UPDATE\u241b[2J"),
        ("notice", "NOTICE 00000: careful"),
        ("error", "error 23505: duplicate key"),
        ("session", "2026-09-21 14:14:23Z closed: client left; 1 operation, 3 rows"),
    ]


def test_a_replay_says_who_acted_and_what_for() -> None:
    event = structs.replace(
        opened("s-1"), actors=("report-bot", "planner"), task='a", purpose "b', purpose="mend"
    )
    assert text_of([event]) == (
        "2026-09-21 14:13:20Z agent-1 (agents) by report-bot, planner at shop/shop as app, "
        'from 127.0.0.1 with psql, task "a\\", purpose \\"b", purpose "mend"'
    )


def test_findings_read_as_counts_and_no_name_acts() -> None:
    counts = (
        FindingCount("public.t.\x1b[2J", "email", 312, 300),
        FindingCount("", "card", 1, 1),
    )
    event = FindingsCounted("s-1", T0, 1, counts)
    says = "hidden by detectors: 312 email in public.t.\u241b[2J, 1 card in a computed value"
    assert [(line.kind, line.text) for _, line in plan([event])] == [("notice", says)]
    line = one_line(export_event(event, None))
    assert line is not None
    assert "312 email in public.t." in line.plain and "\x1b" not in line.plain
    assert line.plain.endswith("1 card in a computed value")


@pytest.mark.parametrize(
    ("rows_", "size", "says"),
    [(0, 0, "UPDATE 1 (250.0 ms)"), (1, 12, "UPDATE 1 (1 row, 12 bytes, 250.0 ms)")],
)
def test_the_end_of_a_result_counts_what_came_back(rows_: int, size: int, says: str) -> None:
    end = ResultEnded("s-1", T0, 1, "UPDATE 1", rows_, size, b"", False, 0.25, "", "")
    assert text_of([end]) == says
    line = one_line(export_event(end, None))
    assert line is not None
    assert says.replace(", 250.0 ms", "").replace(" (250.0 ms)", "") == line.plain[13:]


def test_waits_are_as_they_were_scaled_and_capped() -> None:
    events: list[RecordedEvent] = [
        opened("s-1", T0),
        decided("s-1", 1, T0 + 1),
        closed("s-1", T0 + 500),
    ]
    waits = [delay for delay, _ in plan(events) if delay]
    assert waits == [1.0, 2.0]
    waits = [delay for delay, _ in plan(events, speed=4, idle=60) if delay]
    assert waits == [0.25, 60.0]
    assert [delay for delay, _ in plan(events, speed=0) if delay] == []


def test_a_clock_that_went_back_is_no_negative_wait() -> None:
    events: list[RecordedEvent] = [
        opened("s-1", T0),
        decided("s-1", 1, T0 - 50),
        closed("s-1", float("nan")),
    ]
    assert {delay for delay, _ in plan(events)} == {0.0}


@pytest.mark.parametrize("bad", [{"speed": -1.0}, {"idle": -1.0}])
def test_negative_speeds_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        Player(**bad)  # type: ignore[arg-type]


def test_long_results_are_shown_in_part_and_say_so() -> None:
    many = ResultRows("s-1", T0, 1, "postgres/rows", b"\n".join([b"x"] * 30), 30)
    found = text_of([many, many, ended("s-1")], rows=40)
    assert found.count("x") == 40
    assert "... 20 more rows were recorded" in found


def test_rows_that_cannot_be_read_are_counted() -> None:
    def broken(*_: object) -> list[list[str | None]]:
        raise ValueError("garbage")

    for reader in (None, broken):
        found = [line.text for _, line in plan([rows("s-1")], render=reader)]
        assert found == ["(1 rows, 1 bytes of postgres/rows)"]


ESCAPES = [
    "\x1b]0;owned\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "a\rb",
    "\x08\x08",
    "abc\u202edcba",
    "\u2066x\u2069",
    "\u200b\u200d\ufeff",
    "\U000e0041",
    "\u2028\u2029",
    "\x7f",
    "\ue000",
]


@pytest.mark.parametrize("hostile", ESCAPES)
def test_hostile_text_is_shown_wherever_it_stands(hostile: str) -> None:
    events: list[RecordedEvent] = [
        opened("s-1", subject=hostile, target=hostile),
        decided("s-1", text=hostile, rules=(hostile,)),
        ResultDescribed("s-1", T0, 1, (hostile,), ("25",)),
        ResultRows("s-1", T0, 1, "postgres/rows", hostile.encode(), 1),
        ResultEnded("s-1", T0, 1, hostile, 1, 1, b"", True, 0.0),
        Noticed("s-1", T0, hostile, hostile, hostile),
        HoldOpened("s-1", T0, 2, hostile, (hostile,), 1, 1.0, True),
        HoldSettled("s-1", T0, 2, hostile, hostile, (hostile,), hostile),
        ResultEnded("s-1", T0, 2, "", 0, 0, b"", False, 0.0, hostile, hostile),
        closed("s-1", reason=hostile),
    ]
    for _, line in plan(events, render=render):
        assert not [
            c for c in line.text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"
        ]


@given(st.text())
def test_what_is_visible_holds_nothing_that_acts(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn") for c in shown)
    assert visible(shown) == shown


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x2FF)))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_newlines_stay_where_lines_are_wanted() -> None:
    assert visible("a\tb\nc", lines=True) == "a\tb\nc"
    assert visible("a\tb\nc") == "a\u2409b\u240ac"
