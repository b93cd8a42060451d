"""Composes random statements over the attacked schema: nested, renamed, joined, wrapped, written.

Most of them are valid, so that the server gets to run what the gateway lets through: expressions
are texts, and every FROM item tells which columns of it are texts.
"""

from __future__ import annotations

import random
from typing import Final

Columns = list[str]

RELATIONS: Final[dict[str, Columns]] = {
    "customers": ["name", "ssn", "email", "note"],
    "public.customers": ["name", "ssn", "email"],
    '"customers"': ["name", "ssn"],
    "patients": ["shout", "ssn", "ward"],
    "dropped_column": ["ssn"],
    "orders": ["state", "note"],
    "notes": ["body"],
    "events": ["ssn"],
    "events_2024": ["ssn"],
    "base": ["ssn"],
    "heir": ["ssn", "extra"],
    "customer_names": ["name"],
    "customer_all": ["name", "ssn", "email"],
    "customer_renamed": ["b", "c"],
    "customer_computed": ["part"],
    "customer_nested": ["z"],
    "customer_union": ["u"],
    "customer_kept": ["kept", "low"],
    "vault": ["secret"],
    "vault_view": ["secret"],
    "private.keys": ["key"],
    "sneaky_where": [],
}
TEXTS: Final = ("'x'", "null", "E'\\\\x41'", "U&'\\0061'", "$$a$$", "''", "'orders'", "'1'")
FUNCTIONS: Final = (
    "lower", "upper", "reverse", "md5", "coalesce", "concat", "max", "min", "string_agg1", "bump1",
    "sly1", "run", "set_config1", "query1", "nextval1", "greatest", "to_json1", "peek_vault0",
    "quote_literal", "trim", "ts_stat1", "first_value1", "array1", "encode1",
)  # fmt: skip
WRITES: Final = (
    "delete from orders where id = 1",
    "update orders set note = 'x' where id = 1",
    "insert into notes(body) values ('x')",
    "insert into orders(id) values (1) on conflict (id) do update set note = 'x'",
    "merge into orders o using customers c on o.id = c.id when matched then delete",
    "update customers set name = 'x' where id = 1",
    "delete from vault where id = 1",
)


class Composer:
    """Makes one statement after the other from a seed. `columns` are what its select lists show."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._aliases = 0

    def statement(self) -> str:
        """Return a statement of any kind."""
        query, _ = self._query(3, {})
        kind = self._random.random()
        if kind < 0.62:
            return query
        wrappers = (
            "explain {q}", "explain (analyze, verbose, timing off) {q}", "copy ({q}) to stdout",
            "copy ({q}) to stdout (format csv, header)", "copy ({q}) to stdout (format binary)",
            "create temp table t{n} as {q}", "create table t{n} as {q}", "select * from ({q}) w{n}",
            "insert into notes(body) {q}", "with w{n} as materialized ({q}) table w{n}",
            "create temp view v{n} as {q}", "declare c{n} cursor with hold for {q}",
            "prepare p{n} as {q}", "select exists ({q})", "select array({q})", "values (({q}))",
            "select w{n} from ({q}) w{n}", "select to_jsonb(w{n}) from ({q}) w{n}",
            "begin; {q}; rollback", "select 1; {q}", "{q} for update", "{q} limit 1",
            "({q}) union all ({q})", "({q}) order by 1 limit 2",
        )  # fmt: skip
        if kind < 0.92:
            wrapper = self._random.choice(wrappers)
            return wrapper.replace("{n}", self._fresh("")).replace("{q}", query)
        write = self._random.choice(WRITES)
        forms = ("{w}", "with w as ({w} returning *) {q}", "explain analyze {w}", "{w} returning *")
        return self._random.choice(forms).replace("{w}", write).replace("{q}", query)

    def _fresh(self, prefix: str) -> str:
        self._aliases += 1
        return f"{prefix}{self._aliases % 97}"

    def _query(self, depth: int, queries: dict[str, Columns]) -> tuple[str, Columns]:
        """Return a query and the names of its (text) columns."""
        head = ""
        if depth > 1 and self._random.random() < 0.3:
            name = self._random.choice(["customers", "orders", "vault", self._fresh("q")])
            inner, columns = self._query(depth - 1, queries)
            names = self._renaming(columns)
            listed = f"({', '.join(names)})" if names else ""
            head = f"with {name}{listed} as {self._random.choice(['', 'materialized '])}({inner}) "
            queries = {**queries, name: names or columns}
        body, columns = self._select(depth, queries)
        if depth > 1 and self._random.random() < 0.15:
            other, others = self._select(depth - 1, queries)
            if len(others) == len(columns):
                operator = self._random.choice(["union all", "union", "except", "intersect all"])
                first, second = self._random.sample([body, other], 2)
                body = f"{first} {operator} {second}"
        return head + body, columns

    def _renaming(self, columns: Columns) -> Columns:
        if self._random.random() < 0.6:
            return []
        return [self._random.choice(["name", "ssn", self._fresh("r")]) + str(i) for i, _ in
                enumerate(columns)]  # fmt: skip

    def _select(self, depth: int, queries: dict[str, Columns]) -> tuple[str, Columns]:
        items, visible = self._from(depth, queries)
        chosen = self._random.random()
        if chosen < 0.15 and visible:
            targets, names = "*", [name for _, name in visible]
        else:
            targets, names = self._targets(depth, visible, queries)
        text = f"select {targets} from {items}"
        tail = self._random.random()
        if tail < 0.12:
            text += f" where {self._text(1, visible, queries)} is not null"
        elif tail < 0.17:
            text += f" order by {self._text(1, visible, queries)}"
        elif tail < 0.20:
            text += f" order by {self._random.randint(1, 3)}"
        elif tail < 0.23:
            text = text.replace("select", "select distinct", 1)
        return text, names

    def _targets(
        self, depth: int, visible: list[tuple[str, str]], queries: dict[str, Columns]
    ) -> tuple[str, Columns]:
        targets, names = [], []
        for _ in range(self._random.randint(1, 3)):
            plain = visible and self._random.random() < 0.75
            if plain:
                alias, column = self._random.choice(visible)
                value = f"{alias}.{column}" if self._random.random() < 0.7 else column
            else:
                value, column = self._text(depth, visible, queries), "x"
            name = column
            if not plain or self._random.random() < 0.4:
                name = self._random.choice(["name", "ssn", "id", "harmless"]) + self._fresh("")
                value += f" as {name}"
            targets.append(value)
            names.append(name)
        return ", ".join(targets), names

    def _from(self, depth: int, queries: dict[str, Columns]) -> tuple[str, list[tuple[str, str]]]:
        text, visible = self._item(depth, queries)
        while self._random.random() < 0.25:
            more, columns = self._item(depth, queries)
            join = self._random.choice([" cross join ", ", ", " left join ", " natural join "])
            text += join + more + (" on true" if join == " left join " else "")
            visible = visible + columns
        return text, visible

    def _item(self, depth: int, queries: dict[str, Columns]) -> tuple[str, list[tuple[str, str]]]:
        alias = self._fresh("a")
        kind = self._random.random()
        if depth > 1 and kind < 0.35:
            inner, columns = self._query(depth - 1, queries)
            lateral = self._random.choice(["", "", "lateral "])
            names = self._renaming(columns)
            listed = f"({', '.join(names)})" if names else ""
            return f"{lateral}({inner}) {alias}{listed}", [(alias, c) for c in names or columns]
        if kind < 0.42:
            value = self._text(1, [], queries)
            call = self._random.choice(["unnest(array[{v}])", "string_to_table({v}, '-')",
                                        "regexp_split_to_table({v}, 'x')"])  # fmt: skip
            attribute = self._random.choice([alias, "run", "ts_stat", "upper", "bump"])
            return f"{call.replace('{v}', value)} {alias}", [(alias, attribute)]
        if kind < 0.47:
            return f"(values ({self._text(1, [], queries)})) {alias}(v)", [(alias, "v")]
        known = {**RELATIONS, **queries}
        name = self._random.choice([*queries, *RELATIONS])
        columns = known[name]
        if name in queries or self._random.random() < 0.85:
            return f"{name} {alias}", [(alias, c) for c in columns]
        return f"only {name} {alias}", [(alias, c) for c in columns]

    def _text(self, depth: int, visible: list[tuple[str, str]], queries: dict[str, Columns]) -> str:
        kind = self._random.random()
        if depth <= 0 or kind < 0.25:
            return self._random.choice(TEXTS)
        if visible and kind < 0.5:
            alias, column = self._random.choice(visible)
            return self._random.choice([f"{alias}.{column}", column, f"({alias}.{column})"])
        if visible and kind < 0.56:
            alias, _ = self._random.choice(visible)
            forms = ("{a}::text", "({a}).ssn", "to_json({a})::text", "{a}.peek", "({a}).run",
                     "row({a}.*)::text", "peek({a})")  # fmt: skip
            return self._random.choice(forms).replace("{a}", alias)
        if depth > 1 and kind < 0.66:
            inner, columns = self._query(depth - 1, queries)
            form = self._random.choice(["({q} limit 1)", "array_to_string(array({q}), ',')"])
            return form.replace("{q}", inner) if len(columns) == 1 else "'y'"
        one = self._text(depth - 1, visible, queries)
        if kind < 0.76:
            two = self._text(depth - 1, visible, queries)
            form = self._random.choice(["({a} || {b})", "case when {a} = {b} then {a} end",
                                        "nullif({a}, {b})", "({a} collate \"C\")",
                                        "({a})::varchar::text", "cast({a} as name)::text"])  # fmt: skip
            return form.replace("{a}", one).replace("{b}", two)
        return self._call(self._random.choice(FUNCTIONS), one)

    def _call(self, function: str, argument: str) -> str:
        special = {
            "string_agg1": f"string_agg({argument}, ',')",
            "bump1": f"public.bump({argument})::text",
            "sly1": f"sly(length({argument}))::text",
            "set_config1": f"set_config('search_path', {argument}, true)",
            "query1": f"query_to_xml({argument}, true, true, '')::text",
            "nextval1": "nextval('counter')::text",
            "to_json1": f"to_json({argument})::text",
            "peek_vault0": "peek_vault()",
            "ts_stat1": f"(ts_stat({argument}))::text",
            "first_value1": f"first_value({argument}) over ()",
            "array1": f"(array[{argument}])[1]",
            "encode1": f"encode({argument}::bytea, 'escape')",
        }
        return special.get(function, f"{function}({argument})")
