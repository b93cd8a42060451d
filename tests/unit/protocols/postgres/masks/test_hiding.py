"""What a masked subject is told when code inside the database speaks."""

from __future__ import annotations

import pytest

from sallyport.core.decision import Mask
from sallyport.core.event import Noticed
from sallyport.protocols.postgres import frames, replies
from tests.unit.protocols.postgres.script import converse, error, notice, of, query, ready

HIDES = Mask("mask", "redact", columns=("*.*.ssn",))
SPOKEN = {
    "S": "ERROR", "V": "ERROR", "C": "P0001", "M": "ada", "D": "ada", "H": "ada", "s": "ada",
    "t": "ada", "c": "ada", "d": "ada", "n": "ada", "F": "pl_exec.c", "R": "exec_stmt_raise",
}  # fmt: skip


@pytest.mark.parametrize(
    "context",
    ["PL/pgSQL function say() line 1 at RAISE", 'SQL function "say" statement 1',
     "COPY t, line 1\nPL/pgSQL function say() line 1 at RAISE", "Funktion say()"],
)  # fmt: skip
def test_what_code_inside_the_database_says_is_hidden_whole(context: str) -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued(), masks=[HIDES])
    fields = {**SPOKEN, "W": context}
    warned = replies.fields_message(frames.NOTICE_RESPONSE, {**fields, "S": "NOTICE"})
    told = replies.fields_message(frames.ERROR_RESPONSE, fields)
    pg.target_sends(warned, told, ready("I"))
    shown = pg.to_client()
    assert shown == [notice("P0001"), error("P0001"), *of(ready("I"))]
    assert b"ada" not in b"".join(shape.raw for shape in shown)
    assert all("ada" not in event.message for event in pg.records(Noticed))


@pytest.mark.parametrize(
    "context", ["", 'COPY t, line 1, column a: "ada"', "JSON data, line 1: ada", "unnamed portal"]
)
def test_what_the_server_says_of_the_clients_own_words_is_shown(context: str) -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued(), masks=[HIDES])
    told = replies.fields_message(frames.ERROR_RESPONSE, {**SPOKEN, "M": "bad", "W": context})
    pg.target_sends(told, ready("I"))
    assert pg.to_client()[0].fields["M"] == "bad"


def test_nothing_is_hidden_where_nothing_is_masked() -> None:
    pg = converse()
    pg.release(pg.client_sends(query("SELECT a")).issued())
    told = replies.fields_message(frames.ERROR_RESPONSE, {**SPOKEN, "W": "PL/pgSQL function"})
    pg.target_sends(told, ready("I"))
    assert pg.to_client()[0].raw == told
