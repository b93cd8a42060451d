"""Pieces of SQL text that mean the same in every session.

INVARIANT: no name is left to the search path, and no quote depends on a setting: functions and
operators are those of pg_catalog, a constant with a backslash is an E'' string.
"""

from __future__ import annotations

from typing import Final

TEXT: Final = "pg_catalog.text"
NUMERIC: Final = "pg_catalog.numeric"
FLOAT8: Final = "pg_catalog.float8"
INT8: Final = "pg_catalog.int8"


class CannotMask(ValueError):
    """A mask that cannot be put on a column. The text says why and names no value."""


def identifier(name: str) -> str:
    """Return a name in quotes. Raises: CannotMask for what no name can hold."""
    _check(name, "a name")
    if not name:
        raise CannotMask("a name is empty")
    return quoted(name)


def quoted(name: str) -> str:
    """Return a name in quotes, whatever it holds: only what the server told, or will refuse."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a string constant. Raises: CannotMask for what no text can hold."""
    _check(text, "a constant")
    doubled = text.replace("'", "''")
    if "\\" not in doubled:
        return f"'{doubled}'"
    return "E'" + doubled.replace("\\", "\\\\") + "'"


def _check(text: str, what: str) -> None:
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise CannotMask(f"{what} holds a character that PostgreSQL does not take")


def call(function: str, *arguments: str) -> str:
    """Return a call of a function of the server's own."""
    return f"pg_catalog.{function}({', '.join(arguments)})"


def operate(left: str, operator: str, right: str) -> str:
    """Return an operator of the server's own between two values."""
    return f"({left} OPERATOR(pg_catalog.{operator}) {right})"


def cast(value: str, type_: str) -> str:
    """Return an explicit cast."""
    return f"CAST({value} AS {type_})"


def constant(text: str, type_: str) -> str:
    """Return a constant of a type: its input function reads it, no cast does."""
    return cast(literal(text), type_)


def number(text: str) -> str:
    """Return a constant of numeric."""
    return constant(text, NUMERIC)


def is_null(value: str) -> str:
    """Return the test for NULL itself: a row whose fields are all NULL is not."""
    return f"{value} IS NOT DISTINCT FROM NULL"
