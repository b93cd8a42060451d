"""A statement that differs in its constants alone is understood as itself, cached or not."""

from __future__ import annotations

import re

import pytest

from sallyport.protocols.postgres.classify import Classifier
from sallyport.sql.statement import Classified
from tests.unit.sql.conftest import Reader
from tests.unit.sql.statements import READS, WRITES
from tests.unit.sql.test_attacks import EFFECTS, EXPOSING
from tests.unit.sql.test_conditions import EVERYTHING, SOME

TEXTS = [
    *READS,
    *WRITES,
    *EXPOSING,
    *(text for text, _, _ in EFFECTS),
    *(f"delete from orders o where {condition}" for condition in [*EVERYTHING, *SOME]),
    *(
        f"update orders o set note = 'a' where {c} and {d}"
        for c in SOME[:6]
        for d in EVERYTHING[:9]
    ),
    'select id from customers where name = \'"A_Const":{"ival":{"ival":1}}\'',
    'select id from customers where name = \'","location":5\'',
    "select E'\\\\\"', 'x' from customers",
    "select 'a', 1, 1.5, b'1', x'1', true, null, -1, 0, '' from customers",
]


def variants(text: str) -> list[str]:
    """Return the text with other numbers and other strings: mostly valid SQL again."""
    swapped = {"1": "2", "2": "1", "3": "7", "0": "1"}
    return [
        re.sub(r"\b[0-3]\b", lambda m: swapped[m[0]], text),
        re.sub(r"\b\d+\b", "0", text),
        re.sub(r"'[^']*'", "'x'", text),
        re.sub(r"'[^']*'", "'%'", text),
        re.sub(r"'[^']*'", "''", text),
        re.sub(r"'[^']*'", "'orders_id_seq'", text),
        re.sub(r"'[^']*'", "'it''s \"{,}\\'", text),
        re.sub(r"\b\d+\b", "'t'", text),
        re.sub(r"\b\d+\b", "null", text),
        re.sub(r"\btrue\b", "false", text),
    ]


@pytest.mark.parametrize("text", TEXTS)
def test_cached_and_fresh_agree(text: str, read: Reader) -> None:
    cached = Classifier()

    def both(each: str) -> tuple[Classified, Classified]:
        fresh = Classifier().classify(each, read.state, read.catalogue)
        return cached.classify(each, read.state, read.catalogue), fresh

    for each in [text, *variants(text), text]:
        found, fresh = both(each)
        assert found == fresh, each


def test_fresh_literals_share_a_shape(read: Reader) -> None:
    classifier = read.classifier
    for number in range(50):
        for text in (
            f"select * from customers where id = {number} and name = 'n{number}'",
            f"update orders set note = 'n{number}' where id = {number}",
            f"insert into orders (id, note) values ({number}, 'n{number}')",
        ):
            statement = read.one(text)
            assert statement.text == text
    assert len(classifier._shapes) == 3


def test_a_type_is_part_of_the_shape(read: Reader) -> None:
    read.one("select 1 from orders")
    read.one("select 'x' from orders")
    read.one("select 1.5 from orders")
    assert len(read.classifier._shapes) == 3
