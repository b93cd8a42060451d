"""Composes random sessions over the worlds' schema: reads, writes, and every way to say them.

Most statements are valid, so that the server gets to run what the gateway lets through: expressions
are texts, and every FROM item tells its columns with a cast to text where they are none.
"""

from __future__ import annotations

import random
from typing import Final

from tests.masking.oracle import Step
from tests.masking.ways import WAYS

RELATIONS: Final[dict[str, tuple[str, ...]]] = {
    "customers": ("id", "name", "ssn", "email", "city", "salary", "born", "profile", "tags",
                  "active", "visits", "ssn_tail", "ssn_size"),
    "public.customers": ("id", "ssn", "email", "picture"),
    "payments": ("id", "customer_id", "card_number", "amount", "card_kind"),
    "orders": ("id", "customer_id", "product", "total", "note"),
    "scratch": ("id", "body", "n"),
    "badges": ("id", "ssn", "level"),
    "api_keys": ("id", "owner", "key", "rights"),
    "events": ("id", "kind", "token"),
    "events_2024": ("id", "token"),
    "base": ("id", "pin"),
    "grandheir": ("id", "pin", "extra"),
    "crm.customers": ("id", "ssn"),
    "typed": ("id", "who", "code", "host", "token", "n", "d", "doc"),
    "contacts": ("id", "name", "email"),
    "everybody": ("id", "ssn", "email", "salary"),
    "renamed": ("a", "b", "c"),
    "computed": ("id", "loud", "twice"),
    "nested": ("z",),
    "filtered": ("id", "name"),
    "ranked": ("id", "place"),
    "windowed": ("id", "place"),
    "judged": ("id", "kind"),
    "through_cte": ("id",),
    "matched": ("id", "level"),
    "either": ("id",),
    "grouped": ("first", "n"),
    "paired": ("id", "card"),
    "unioned": ("v",),
    "barrier": ("id", "name", "ssn"),
    "kept": ("id", "kept", "low", "name"),
}  # fmt: skip
_TEXTS: Final = ("'x'", "'5'", "'8'", "null", "'523-84-1907'", "''", "'Oslo'", "'1'")
_CALLS: Final = (
    "upper({v})", "reverse({v})", "md5({v})", "left({v}, 2)", "length({v})::text", "{v} || ''",
    "coalesce({v}, 'x')", "nullif({v}, 'x')", "greatest({v}, '5')", "split_part({v}, '-', 1)",
    "to_json({v})::text", "quote_literal({v})", "case when {v} > '5' then 'a' else 'b' end",
    "translate({v}, '0123', 'abcd')", "encode({v}::bytea, 'hex')", "({v} > '6')::text",
    "format('%s', {v})", "array[{v}]::text", "row({v})::text", "({v})::varchar(3)", "peek(1)",
    "json_build_object('k', {v})::text", "regexp_replace({v}, '1', '2')", "ascii({v})::text",
)  # fmt: skip
_AGGREGATES: Final = (
    "count(*)", "max({v})", "min({v})", "count({v})", "count(distinct {v})", "array_agg({v})::text",
    "string_agg({v}, ',')", "bool_or({v} > '5')", "json_agg({v})::text", "any_value({v})",
)  # fmt: skip
_WRITES: Final = (
    "update scratch set body = {t} where id = 1",
    "update scratch s set body = {v} from {f} where s.id = 1",
    "update customers set city = 'X' where {c}",
    "update customers set {p} = {p} where id = 1",
    "delete from api_keys where {c}",
    "delete from scratch s using {f} where s.id = 1 and {v} > '5'",
    "insert into scratch (id, body) select 100 + row_number() over (), {v} from {f}",
    "insert into scratch (id, body) values (50, {t}) on conflict (id) do update set body = {t}",
    "insert into customers (id, name, ssn) values (70, 'x', '523-84-1907') on conflict do nothing",
    "insert into badges (id, ssn) values (70, '207-75-9912')",
    "merge into scratch s using (select {v} as v from {f}) q on s.body = q.v when matched then delete",
)
_RETURNING: Final = ("", "", " returning *", " returning id", " returning 1")
_TARGETS: Final = {
    "update customers": "customers", "into customers": "customers", "from api_keys": "api_keys",
    "into badges": "badges", "scratch": "scratch",
}  # fmt: skip
_VERSIONS: Final = ("", "", "", "old.", "new.")
_SETTINGS: Final = (
    "set search_path = crm, public", "set enable_seqscan = off", "set bytea_output = 'escape'",
    "set local work_mem = '64kB'", "set row_security = off", "reset all", "set datestyle = 'SQL'",
)  # fmt: skip


class Composer:
    """Makes one session after the other from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._aliases = 0

    def session(self) -> list[Step]:
        """Return the steps of one session; whatever it writes is rolled back."""
        steps: list[Step] = ["begin"]
        for _ in range(self._random.choice((1, 1, 1, 1, 2, 3))):
            kind = self._random.random()
            if kind < 0.06:
                steps.append(self._random.choice(_SETTINGS))
            elif kind < 0.26:
                steps += self._said(self._write(), ("simple", "extended", "binary", "prepared"))
            elif kind < 0.32:
                name = self._fresh("t")
                steps += [f"create temp table {name} as {self.query(2)}", f"select * from {name}"]
            else:
                steps += self._said(self.query(3), tuple(WAYS))
        if len(steps) > 2:
            steps.insert(2, "savepoint s")
        return [*steps, "rollback"]

    def query(self, depth: int) -> str:
        """Return one query."""
        head = ""
        if depth > 1 and self._random.random() < 0.2:
            name = self._random.choice(("customers", "orders", self._fresh("q")))
            head = f"with {name} (id, v) as (select id, {self._text(1, [])} from orders) "
            if self._random.random() < 0.6:
                head = f"with {name} as ({self._select(depth - 1)}) "
        body = self._select(depth)
        if self._random.random() < 0.08:
            operator = self._random.choice(("union", "union all", "except", "intersect"))
            item, columns = self._item(1)
            chosen = self._random.choice(columns)
            body = f"select {chosen} from {item} {operator} select {self._text(0, [])}"
        return head + body

    def _said(self, text: str, able: tuple[str, ...]) -> list[Step]:
        way = self._random.choice(able)
        return [s for s in WAYS[way](text, []) if s not in ("begin", "commit")]

    def _fresh(self, prefix: str) -> str:
        self._aliases += 1
        return f"{prefix}{self._aliases % 50}"

    def _select(self, depth: int) -> str:
        items, columns = self._item(depth)
        for _ in range(self._random.choice((0, 0, 0, 1))):
            other, more = self._item(1)
            join = self._random.choice((" cross join {o}", ", {o}", " left join {o} on {c}"))
            columns = columns + more
            items += join.replace("{o}", other).replace("{c}", self._condition(columns))
        grouped = self._random.random() < 0.15
        text = f"select {self._targets(depth, columns, grouped=grouped)} from {items}"
        if self._random.random() < 0.25:
            text += f" where {self._condition(columns)}"
        if grouped:
            return text + self._random.choice(("", f" group by {self._random.choice(columns)}"))
        tail = self._random.random()
        if tail < 0.15:
            text += f" order by {self._random.choice(columns)}"
        elif tail < 0.2:
            text += f" order by 1 limit {self._random.randint(1, 3)}"
        elif tail < 0.25:
            text = text.replace("select ", "select distinct ", 1)
        return text

    def _targets(self, depth: int, columns: list[str], *, grouped: bool) -> str:
        if grouped:
            value = self._text(1, columns)
            return self._random.choice(_AGGREGATES).replace("{v}", value)
        if self._random.random() < 0.12:
            return "*"
        made = []
        for _ in range(self._random.randint(1, 3)):
            plain = self._random.random() < 0.7
            value = self._random.choice(columns) if plain else self._text(depth, columns)
            named = self._random.random() < 0.3
            made.append(f"{value} as {self._fresh('c')}" if named else value)
        return ", ".join(made)

    def _item(self, depth: int) -> tuple[str, list[str]]:
        alias = self._fresh("a")
        if depth > 1 and self._random.random() < 0.2:
            return f"({self._select(depth - 1)}) {alias}", [f"{alias}::text", "'k'"]
        name, columns = self._random.choice(list(RELATIONS.items()))
        only = "only " if self._random.random() < 0.04 else ""
        if self._random.random() < 0.06:
            listed = ", ".join(f"x{place}" for place in range(len(columns)))
            return f"{name} {alias} ({listed})", [f"{alias}.x{p}" for p in range(len(columns))]
        return f"{only}{name} {alias}", [f"{alias}.{column}" for column in columns]

    def _condition(self, columns: list[str]) -> str:
        value = self._text(1, columns)
        form = self._random.choice(("{v} > {t}", "{v} = {t}", "{v} like '5%'", "{v} is not null",
                                    "exists (select 1 from customers where ssn > {t})",
                                    "{v} in (select ssn from badges)", "true"))  # fmt: skip
        return form.replace("{v}", value).replace("{t}", self._random.choice(_TEXTS))

    def _text(self, depth: int, columns: list[str]) -> str:
        if not columns or self._random.random() < 0.2:
            value = self._random.choice(_TEXTS)
        else:
            value = f"{self._random.choice(columns)}::text"
        if depth > 1 and self._random.random() < 0.1:
            item, inner = self._item(1)
            value = f"(select {self._random.choice(inner)}::text from {item} limit 1)"
        if depth > 0 and self._random.random() < 0.6:
            value = self._random.choice(_CALLS).replace("{v}", value)
        return value

    def _write(self) -> str:
        item, columns = self._item(1)
        own = ["id", "owner", "key"]
        filled = {
            "{f}": item,
            "{v}": f"{self._random.choice(columns)}::text",
            "{t}": self._text(2, []),
            "{c}": self._random.choice(("id = 1", "id < 3", self._condition(["id", *own[:1]]))),
            "{p}": self._random.choice(("city", "ssn", "visits")),
        }
        text = self._random.choice(_WRITES)
        for place, value in filled.items():
            text = text.replace(place, value)
        return text + self._returning(text)

    def _returning(self, write: str) -> str:
        """Return what a write gives back: nothing, all, or expressions over its target's columns."""
        if self._random.random() < 0.4:
            return self._random.choice(_RETURNING)
        target = next(target for start, target in _TARGETS.items() if start in write)
        columns = [f"{self._random.choice(_VERSIONS)}{name}" for name in RELATIONS[target]]
        return f" returning {', '.join(self._text(2, columns) for _ in range(2))}"
