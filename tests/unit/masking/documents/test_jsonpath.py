"""JSONPath: what each path names, told step by step, and what is no path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.masking.documents.jsonpath import Paths, Place, parse, problem_of_path

DOCUMENT = {
    "email": 1,
    "user": {"email": 2, "names": ["a", "b"], "user": {"email": 3}},
    "users": [{"email": 4}, {"email": 5, "a b": 6}, [7, {"email": 8}]],
    "": 9,
    "it's": {"x\\y": 10},
    "größe": 11,
}


def chosen(path: str, value: Any = DOCUMENT) -> list[Any]:
    found: list[Any] = []
    several = Paths([path])

    def walk(value: Any, place: Place) -> None:
        if place.chosen:
            found.append(value)
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, several.member(place, key.encode()))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, several.element(place, index))

    walk(value, several.root)
    return found


NAMED = [
    ("$", [DOCUMENT]),
    ("$.email", [1]),
    ("$['email']", [1]),
    ('$["email"]', [1]),
    ("$.user.email", [2]),
    ("$..email", [1, 2, 3, 4, 5, 8]),
    ("$..['email']", [1, 2, 3, 4, 5, 8]),
    ("$.user..email", [2, 3]),
    ("$..user.email", [2, 3]),
    ("$..user..email", [2, 3]),
    ("$.users[*].email", [4, 5]),
    ("$.users.*.email", [4, 5]),
    ("$.users[1].email", [5]),
    ("$.users[2][0]", [7]),
    ("$.users[9]", []),
    ("$..[0]", ["a", {"email": 4}, 7]),
    ("$.user.names[*]", ["a", "b"]),
    ("$.user.names[1]", ["b"]),
    ("$.user[0]", []),
    ("$.users.email", []),
    ("$..['a b']", [6]),
    ("$['']", [9]),
    (r"$['it\'s']['x\\y']", [10]),
    ("$.größe", [11]),
    ("$.nothing..email", []),
]


@pytest.mark.parametrize(("path", "expected"), NAMED)
def test_a_path_names_its_values(path: str, expected: list[Any]) -> None:
    assert chosen(path) == expected


def test_below_everything_is_every_value() -> None:
    document = {"a": [1, {"b": 2}]}
    assert chosen("$..*", document) == [[1, {"b": 2}], 1, {"b": 2}, 2]
    assert chosen("$.*", document) == [[1, {"b": 2}]]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "expected a path such as `$.user.email`"),
        ("email", "expected a path such as `$.user.email`"),
        ("$email", "expected `.name`, `..name` or `[...]` at character 2"),
        ("$.", "at character 3"),
        ("$..", "at character 4"),
        ("$...a", "expected a name or `*`"),
        ("$.a b", "at character 4"),
        ("$.1a", "expected a name or `*` (other names as `['a name']`) at character 3"),
        ("$[", "expected `*`, a quoted name or an index from 0 at character 3"),
        ("$[-1]", "an index from 0"),
        ("$[01]", "expected `]`"),
        ("$[1:2]", "expected `]` (one name or index; no slices, filters, unions) at character 4"),
        ("$['a','b']", "no slices, filters, unions"),
        ("$[?@.a]", "a quoted name or an index"),
        ("$['a]", "a quoted name"),
        (r"$['a\n']", "no escapes but of quotes and backslashes"),
        ("$.a.[0]", "expected a name or `*`"),
        ("$" + ".a" * 33, "32 steps at most"),
        ("$." + "a" * 500, "500 characters at most"),
    ],
)
def test_what_is_no_path_is_told_with_its_place(path: str, message: str) -> None:
    problem = problem_of_path(path)
    assert problem is not None and message in problem


@given(st.text("$.[]*'\"\\a0-:? ", max_size=12))
def test_any_text_is_a_path_or_a_value_error(text: str) -> None:
    problem = problem_of_path("$" + text)
    if problem is None:
        parse("$" + text)


def test_ever_new_names_and_indexes_do_not_pile_up() -> None:
    several = Paths(["$..a[3]", "$.b.c"])
    for number in range(20_000):
        several.member(several.root, b"name%d" % number)
    assert len(several.root.steps) <= 4096
    place = several.member(several.root, b"a")
    for number in range(20_000):
        assert several.element(place, number).chosen == ((0,) if number == 3 else ())
    assert len(place.steps) <= 4096
