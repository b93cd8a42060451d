"""Wording: why an operation is refused, and what to write instead.

Whoever reads it is a program as often as a person, and does what the hint says: so it says what
fits the operation, and never to ask for a right where a name is misspelled.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.operation import Effect, Operation, Resource
from sallyport.core.visible import visible

Told = tuple[str, str]
"""The reason, and the hint."""

_KEEPS: Final = frozenset({"create-table-as", "select-into", "create-materialized-view"})
_WRITES: Final = frozenset({"insert", "update", "delete", "merge"})
_READS: Final = frozenset({"select", "copy-out", "declare", "fetch", "prepare", "execute"})


def masked_use(operation: Operation, column: str) -> Told:
    """Say why a statement that uses a masked column is refused. `column` may end in `.*`."""
    table = column.removesuffix(".*")
    masked = f"`{column}` is masked here" if table == column else f"`{table}` has masked columns"
    verbs = {*operation.verbs}
    if "explain" in verbs:
        return (
            f"{masked}, and a plan tells of the values",
            "write EXPLAIN (COSTS OFF) of a statement that only shows the column, or leave it out",
        )
    if verbs & _KEEPS or "select-into" in operation.facts or verbs & _WRITES == {"insert"}:
        return (
            f"{masked}, and its masks would be kept as data",
            "select it, or leave the column out of the statement",
        )
    if writes := sorted(verbs & _WRITES):
        return (
            f"{masked}, and `{writes[0]}` reads or changes it",
            "set other columns, by conditions on other columns",
        )
    if verbs - _READS:
        return (
            f"{masked}, and `{operation.verb}` uses it",
            "leave the column out, or have somebody do it who sees that column",
        )
    if "lock" in operation.facts:
        return (
            f"{masked}, and is used beside FOR UPDATE or FOR SHARE",
            "leave the lock out, or the column",
        )
    return (
        f"{masked} and used in more than a plain select list",
        f"`{column}`: select the column plainly (it arrives masked), or leave it out of the "
        "statement",
    )


def uncovered(operation: Operation, resource: Resource, effect: Effect) -> Told:
    """Say that no rule allows what an operation does to a resource."""
    if effect is not Effect.UNKNOWN:
        return (
            f"no rule allows `{operation.verb}` to {effect.value} {thing(resource)}",
            "ask the operator for a rule that allows it",
        )
    if resource.kind == "statement" and "unparsed" in operation.facts:
        return (
            "the statement is not understood: a syntax error, or a form that is not known here",
            "check its syntax, or write it in a plainer form",
        )
    if resource.kind == "function":
        return (
            f"what {thing(resource)} does is not known",
            "use the server's own functions, or ask for a rule that names this one and `unknown`",
        )
    if "unresolved" in operation.facts:
        return (
            f"the catalogue knows no {thing(resource)}",
            "check the name, and the schema or table before it",
        )
    if resource.kind in ("body", "media"):
        return (
            f"the {thing(resource)} is not looked into",
            f"ask for a rule that names it: effects [unknown], resources {resource.kind}",
        )
    return (
        f"what `{operation.verb}` does to {thing(resource)} is not known",
        "write it so that its effect can be told, or ask for a rule that names `unknown`",
    )


def thing(resource: Resource) -> str:
    """Return a resource as a refusal shows it."""
    return f"{resource.kind} `{named(resource.name)}`"


def named(name: str) -> str:
    """Return a client's name as a refusal shows it: short, on one line, nothing in it hidden."""
    shown = visible(name).replace("\n", "<U+000A>").replace("\t", "<U+0009>")
    return shown if len(shown) <= 200 else f"{shown[:200]}..."
