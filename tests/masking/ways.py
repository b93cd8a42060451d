"""One statement in the ways that a client can say it, and cases read from their files.

A case file has `cases` by their names: a text is its `sql`, a list its `steps`, a mapping says all of
it. `sql` (with `args`) is taken in several ways: always as a simple query (or Parse, Bind, Execute
where there are parameters), and in two more, which the case's name chooses, or in those that `ways`
names.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from tests.masking.oracle import Step

CASES: Final = Path(__file__).parent / "cases"
_KEYS: Final = {
    "name", "sql", "args", "types", "steps", "ways", "expect", "leaks_directly", "known_leak",
    "startup", "commits", "undo", "setup",
}  # fmt: skip
_WRITE: Final = re.compile(r"\s*(with\b.*\b)?(insert|update|delete|merge)\b", re.I | re.S)
_QUERY: Final = re.compile(r"\s*(select|with|values|table|\()", re.I)

Case = dict[str, Any]
Way = Callable[[str, list[Any]], list[Step]]


def _quoted(value: Any) -> str:
    if value is None:
        return "null"
    return "'" + str(value).replace("'", "''") + "'"


def _executed(sql: str, args: list[Any]) -> list[Step]:
    given = f"({', '.join(map(_quoted, args))})" if args else ""
    return [f"prepare way as {sql}", f"execute way{given}", f"execute way{given}", "deallocate way"]


def _cursor(sql: str, args: list[Any]) -> list[Step]:
    first: Step = f"declare way scroll cursor for {sql}"
    if args:
        first = {"sql": first, "args": args, "describe": "none"}
    return ["begin", first, "fetch 2 from way", "fetch all from way", "fetch prior from way",
            {"sql": "fetch absolute 1 from way", "bin": True}, "close way", "commit"]  # fmt: skip


WAYS: Final[dict[str, Way]] = {
    "simple": lambda sql, args: [{"sql": sql, "args": args} if args else sql],
    "extended": lambda sql, args: [{"sql": sql, "args": args, "describe": "S"}],
    "binary": lambda sql, args: [{"sql": sql, "args": args, "bin": True}],
    "portal": lambda sql, args: [
        "begin",
        {"sql": sql, "args": args, "statement": "s", "portal": "p", "rows": 1, "times": 3},
        "commit",
    ],
    "prepared": _executed,
    "cursor": _cursor,
    "copy": lambda sql, _: [f"copy ({sql}) to stdout (format csv, header)"],
    "copy-binary": lambda sql, _: [f"copy ({sql}) to stdout (format binary)"],
    "explained": lambda sql, _: [f"explain (verbose, costs off) {sql}"],
    "analyzed": lambda sql, _: [
        f"explain (analyze, costs off, timing off, summary off, buffers off) {sql}"
    ],
    "nested": lambda sql, _: [f"select * from ({sql}) as inner_query"],
    "whole": lambda sql, _: [f"select to_json(q)::text, q::text from ({sql}) as q"],
    "counted": lambda sql, _: [f"select count(*) from ({sql}) as q"],
}
"""Ways for queries. Those that put the text inside another take no parameters."""
_WITH_ARGUMENTS: Final = ("simple", "extended", "binary", "portal", "prepared", "cursor")
_CHANGING: Final = ("whole", "counted", "explained", "analyzed")
"""Ways that use columns for more than to show them."""
_FOR_WRITES: Final = ("simple", "extended", "binary", "prepared", "explained", "analyzed")


ANSWERED: Final = ("same", "runs")
"""What is expected of cases that may not be refused; `runs` shows more than plain columns."""


def sessions(case: Case) -> dict[str, list[Step]]:
    """Return the case's sessions by their way."""
    if "steps" in case:
        return {"steps": [*case["steps"]]}
    sql, args = case["sql"], case.get("args", [])
    if _WRITE.match(sql):
        able: tuple[str, ...] = _FOR_WRITES
    elif args:
        able = _WITH_ARGUMENTS
    else:
        able = tuple(WAYS) if _QUERY.match(sql) else ("simple", "extended", "binary")
    if case["expect"] in ANSWERED:
        able = tuple(way for way in able if way not in _CHANGING)
    chosen = case.get("ways") or _some(case["name"], able)
    made = {way: WAYS[way](sql, args) for way in chosen}
    if _WRITE.match(sql):
        made = {way: ["begin", *steps, "rollback"] for way, steps in made.items()}
    return {way: [*case.get("setup", []), *steps] for way, steps in made.items()}


def _some(name: str, able: tuple[str, ...]) -> list[str]:
    """The first way and two more, not the same for every case, and always the same for this."""
    rest = able[1:]
    start = zlib.crc32(name.encode())
    return list(dict.fromkeys([able[0], rest[start % len(rest)], rest[(start // 97) % len(rest)]]))


def load(file: Path) -> list[Case]:
    """Return the cases of one file, with the file's defaults in each. Raises: ValueError."""
    document = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    defaults = {name: document[name] for name in ("expect", "leaks_directly") if name in document}
    cases: list[Case] = []
    for name, given in document["cases"].items():
        said = given
        if isinstance(given, str | list):
            said = {"sql" if isinstance(given, str) else "steps": given}
        case = {
            "expect": "refused-or-same",
            "leaks_directly": True,
            **defaults,
            "name": name,
            **said,
        }
        unknown = set(case) - _KEYS
        if unknown or case["expect"] not in ("refused-or-same", *ANSWERED):
            raise ValueError(f"{file.name}: `{name}` is no case: {unknown}")
        cases.append(case)
    return cases
