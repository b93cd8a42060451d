"""The names that a query's expressions can see: FROM items, their columns, and WITH queries.

Where the server would find a name ambiguous, or a name could mean columns of several items, all of
them count: the account may name too much, never too little.
"""

from __future__ import annotations

from collections.abc import Sequence

from sallyport.sql.account import Account, Output, Source, Touch

_NONE: frozenset[Source] = frozenset()

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


class Item:
    """One FROM item. `loose`: it has columns whose names are not followed; none shows a relation.

    `touch` is set for a relation itself; `vague` where its columns are not known, so that every
    name may be one of them.
    """

    __slots__ = ("_named", "alias", "hidden", "loose", "outputs", "schema", "touch", "vague")

    def __init__(
        self,
        alias: str,
        outputs: Sequence[Output],
        *,
        touch: Touch | None = None,
        schema: str = "",
        loose: bool = False,
        vague: bool = False,
    ) -> None:
        self.alias = alias
        self.outputs = list(outputs)
        self.touch = touch
        self.schema = schema
        self.loose = loose or not all(output.named for output in outputs)
        self.vague = vague
        self.hidden = False
        self._named: dict[str, list[Output]] | None = None

    def find(self, name: str) -> list[Output]:
        """Return the columns of this name."""
        if self._named is None:
            self._named = {}
            for output in self.outputs:
                self._named.setdefault(output.name, []).append(output)
        found = list(self._named.get(name, ()))
        if not found and self.vague and self.touch is not None:
            found.append(Output(name, frozenset({(self.touch, "*")}), plain=True))
        return found

    def has(self, name: str) -> bool:
        """Whether one of its columns is surely called so."""
        if name in SYSTEM_COLUMNS and self.touch is not None:
            return True
        return any(output.named for output in self.find(name))

    def everything(self) -> list[Output]:
        """Return what `*` gives."""
        if self.vague and self.touch is not None:
            return [Output("*", frozenset({(self.touch, "*")}), plain=True, named=False)]
        return self.outputs


class Scope:
    """One level of a query. `parent` is the query around it, whose columns it sees too."""

    __slots__ = ("account", "items", "parent", "queries")

    def __init__(self, account: Account, parent: Scope | None = None) -> None:
        self.account = account
        self.parent = parent
        self.items: list[Item] = []
        self.queries: dict[str, list[Output]] = {}

    def query(self, name: str) -> list[Output] | None:
        """Return the columns of a WITH query in sight."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.queries:
                return scope.queries[name]
            scope = scope.parent
        return None

    def column(self, name: str) -> list[Output] | None:
        """Return what an unqualified name means; None: nothing. Whole rows come as all columns."""
        scope: Scope | None = self
        loose = False
        while scope is not None:
            self.account.effort.spend(2 * len(scope.items) + 1)
            shown = [item for item in scope.items if not item.hidden]
            found = [output for item in shown for output in item.find(name)]
            if found:
                return found
            if name in SYSTEM_COLUMNS and any(item.touch for item in shown):
                return []
            rows = [item for item in scope.items if item.alias == name]
            if rows:
                return [_used(output) for item in rows for output in item.everything()]
            loose = loose or any(item.loose for item in shown)
            scope = scope.parent
        return [] if loose else None

    def qualified(self, schema: str, alias: str, name: str) -> list[Output] | None:
        """Return what `alias.name` means; None: nothing."""
        items = self.aliased(schema, alias)
        if items is None:
            return None
        found = [output for item in items for output in item.find(name)]
        if found or name in SYSTEM_COLUMNS or any(item.loose for item in items):
            return found
        return None

    def aliased(self, schema: str, alias: str) -> list[Item] | None:
        """Return the items of this name in the innermost query that has one."""
        scope: Scope | None = self
        while scope is not None:
            self.account.effort.spend(len(scope.items) + 1)
            items = [
                i for i in scope.items if i.alias == alias and (not schema or i.schema == schema)
            ]
            if items:
                return items
            scope = scope.parent
        return None

    def everything(self) -> list[Output]:
        """Return what `*` gives: the columns of this level's items."""
        self.account.effort.spend(sum(1 + len(item.outputs) for item in self.items))
        return [output for item in self.items if not item.hidden for output in item.everything()]

    def record(self, outputs: Sequence[Output]) -> None:
        """Note that columns are read."""
        for output in outputs:
            self.account.effort.spend(1 + len(output.sources))
            for touch, name in output.sources:
                self.account.column(touch, name, exposed=False)

    def expose(self, outputs: Sequence[Output]) -> None:
        """Note that columns are read, and used for more than to be shown."""
        self.record(outputs)
        for output in outputs:
            self.account.expose(output.sources)


def _used(output: Output) -> Output:
    return Output(output.name, output.sources, plain=False, named=output.named)


def renamed(outputs: Sequence[Output], names: Sequence[str]) -> list[Output]:
    """Return the columns with a column alias list applied."""
    given = [
        Output(name, output.sources, output.plain)
        for name, output in zip(names, outputs, strict=False)
    ]
    return [*given, *outputs[len(given) :]]
