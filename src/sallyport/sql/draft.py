"""A statement while it is being understood."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from sallyport.core.operation import Effect, Resource, worst
from sallyport.sql import tree
from sallyport.sql.account import Account, Output
from sallyport.sql.expression import Expressions
from sallyport.sql.grammar import Parsed
from sallyport.sql.names import Names
from sallyport.sql.query import Queries
from sallyport.sql.scope import Scope
from sallyport.sql.statement import Change, CopyColumn, CopyOptions, Statement
from sallyport.sql.tree import Fields, Node
from sallyport.sql.verbs import WRITES
from sallyport.sql.writes import Writes

Parse = Callable[[str], tuple[Parsed, ...]]
"""Parses a text that the session sent before (a PREPARE, a DECLARE)."""


_SHARED = WRITES | {"select"}


class Draft:
    """What is known of one statement so far. Handlers fill it; `finish` makes it final."""

    def __init__(
        self, text: str, names: Names, parse: Parse, nested: Callable[[Draft, Node], None]
    ) -> None:
        self._nested = nested
        self.text = text
        self.names = names
        self.parse = parse
        self.account = Account(names)
        self.queries = Queries(self.account)
        self.writes = Writes(self.queries)
        self.verb = "unknown"
        self.change: Change | None = None
        self.copy = ""
        self.copy_columns: tuple[CopyColumn, ...] | None = None
        self.copy_options: CopyOptions | None = None
        self.returns_rows = False
        self.touches_catalogue = False
        self.doubtful = False
        self.nested = 0
        self.reads = self.runs = ""
        self.whole = False

    @property
    def expressions(self) -> Expressions:
        """The walker of expressions."""
        return self.queries.expressions

    def scope(self) -> Scope:
        """Return a scope without any names."""
        return Scope(self.account)

    def add(self, kind: str, name: str, effect: Effect, *facts: str) -> None:
        """Note a resource that is no relation."""
        self.account.add(kind, name, effect, *facts)

    def facts(self, *facts: str) -> None:
        """Note facts."""
        self.account.facts.update(facts)

    def query(self, node: Node) -> list[Output]:
        """Walk the statement's own query and return its columns."""
        outputs = self.queries.query(node, None)
        self.returns_rows = bool(outputs) or tree.tag(node) == "SelectStmt"
        return outputs

    def expose_all(self) -> None:
        """Note that every column so far is used for more than to be shown."""
        for touch in self.account.touched.values():
            self.account.expose(frozenset((touch, name) for name in touch.columns))

    def nested_statement(self, node: Node) -> None:
        """Take in a whole statement that this one holds."""
        self._nested(self, node)

    def relation(self, fields: Fields, effect: Effect) -> tuple[str, str] | None:
        """Note a relation that the statement works on as a whole, and return its name."""
        found = self.queries.find(fields)
        if found is None:
            return None
        touch = self.account.touch(found, effect)
        self.account.column(touch, "*", exposed=True)
        return found.name

    def finish(self, fingerprint: bytes) -> Statement:
        """Return the statement. INVARIANT: what did not resolve makes the effect UNKNOWN."""
        apart = self.account.resources() if self.account.returns else None
        self.account.add_returned()
        resources: tuple[Resource, ...] = self.account.resources()
        effect = worst(resource.effect for resource in resources)
        unresolved = tuple(self.account.unresolved)
        change = self.change
        if self.account.opaque and (change is None or change.kind != "prepare"):
            change = structs.replace(change or Change("opaque"), opaque=True)
        return Statement(
            text=self.text,
            verb=self.verb,
            inner=tuple(sorted(self.account.verbs - {self.verb})),
            effect=effect,
            resources=resources,
            apart=apart,
            facts=frozenset(self.account.facts),
            fingerprint=fingerprint,
            change=change,
            reads=self.reads,
            runs=self.runs,
            assigned=frozenset(self.account.assigned),
            whole=self.whole and self.verb in ("select", "copy-out"),
            own=not unresolved and self.account.reads_own(),
            positioned=self.account.positioned,
            copy=self.copy,
            copy_columns=self.copy_columns,
            copy_options=self.copy_options,
            returns_rows=self.returns_rows,
            unresolved=unresolved,
            touches_catalogue=self.touches_catalogue,
            doubtful=self.doubtful,
            stands_on=self.account.stands_on(),
            calls=self.account.calls(),
            hides=self.account.hides,
            shared=self.verb in _SHARED and change is None and not self.account.reads_literals,
        )
