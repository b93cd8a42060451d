"""Names: the prepared statements and portals of one session, by name, as the server has them.

Theory of operation. A name is taken when its Parse or Bind is sent, before the server has agreed,
so that the rest of the same batch can use it: if the server does not agree, it discards that rest
as well. What a failed message did is undone (`Undo`); across batches the codec waits for the
server's answer before it uses a name whose last change is still on its way.

INVARIANT: where a name is known here and exists on the server, both mean the same statement.
A name that is lost (an undone unnamed statement, a failed DEALLOCATE) is refused, never guessed.
"""

from __future__ import annotations

from typing import Final, NamedTuple, final

from sallyport.core.operation import Operation, Parameter
from sallyport.protocols.postgres.replies import Field
from sallyport.protocols.postgres.results import Run
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import Age, SessionState
from sallyport.sql.statement import Change, Statement
from sallyport.sql.verbs import WRITES


@final
class Prepared:
    """A statement that was parsed under `name`, at `age`. `unit` is the batch that changed it.

    `replaced`: under its name the server has a rewriting of it.
    """

    __slots__ = (
        "age",
        "catalogue",
        "fields",
        "generation",
        "key",
        "name",
        "parameter_types",
        "replaced",
        "statement",
        "text",
        "types",
        "unit",
    )

    def __init__(self, name: str, text: str, types: tuple[int, ...], unit: int) -> None:
        self.name = name
        self.text = text
        self.types = types
        self.unit = unit
        self.age: Age = (0, "")
        self.statement: Statement | None = None
        self.key: tuple[object, ...] | None = None
        self.generation = -1
        self.catalogue: CatalogueSnapshot | None = None
        self.fields: tuple[Field, ...] | None = None
        self.parameter_types: tuple[int, ...] = ()
        self.replaced = False


@final
class Portal:
    """A bound statement, or a cursor that the protocol reads. `revision`: decided under that.

    `state` and `generation`: what names meant when it was bound.
    """

    __slots__ = (
        "catalogue",
        "declared",
        "described",
        "fields",
        "formats",
        "generation",
        "name",
        "prepared",
        "revision",
        "rewritten",
        "run",
        "size",
        "state",
        "unit",
    )

    def __init__(
        self,
        name: str,
        prepared: Prepared | None,
        run: Run,
        formats: tuple[int, ...],
        unit: int,
    ) -> None:
        self.name = name
        self.prepared = prepared
        self.run = run
        self.formats = formats
        self.unit = unit
        self.revision = ""
        self.rewritten = ""
        self.catalogue: CatalogueSnapshot | None = None
        self.fields: tuple[Field, ...] | None = None
        self.described = False
        self.declared: tuple[Parameter, ...] = ()
        self.size = 0
        self.state: SessionState | None = None
        self.generation = -1

    @property
    def operation(self) -> Operation:
        """What was decided for it."""
        return self.run.operation


def planned(statement: Statement) -> bool:
    """Whether a Bind settles for good what this statement works on.

    The server looks up the names of all others (COPY, FETCH, EXECUTE, DDL) when they run, and a
    FETCH or EXECUTE is described as what its name meant when it was bound.
    """
    return statement.verb in _PLANNED


_PLANNED: Final = WRITES | {"select"}


class Undo(NamedTuple):
    """What takes a change of a name back: `before` is what it meant."""

    kind: str
    name: str
    before: Prepared | None


@final
class Names:
    """All statements and portals of a session. `size`: of all texts; `held`: of all parameters.

    `generation` counts what may have given a name of SQL's another meaning.
    """

    __slots__ = ("generation", "held", "portals", "size", "statements")

    def __init__(self) -> None:
        self.generation = 0
        self.statements: dict[str, Prepared] = {}
        self.portals: dict[str, Portal] = {}
        self.size = 0
        self.held = 0

    def put(self, prepared: Prepared) -> Undo:
        """Give a name to a statement."""
        undo = self.drop("S", prepared.name)
        self.statements[prepared.name] = prepared
        self.size += len(prepared.text)
        return undo

    def open(self, portal: Portal) -> Undo:
        """Give a name to a portal."""
        self.drop("P", portal.name)
        self.portals[portal.name] = portal
        self.held += portal.size
        return Undo("P", portal.name, None)

    def drop(self, kind: str, name: str) -> Undo:
        """Take a name away. The unnamed statement is lost for good: the server drops it early."""
        if name:
            self.generation += 1
        if kind == "P":
            portal = self.portals.pop(name, None)
            if portal is not None:
                self.held -= portal.size
            return Undo("P", name, None)
        before = self.statements.pop(name, None)
        if before is not None:
            self.size -= len(before.text)
        return Undo("S", name, before if name else None)

    def undo(self, change: Undo) -> None:
        """Take a change back."""
        self.drop(change.kind, change.name)
        if change.before is not None:
            self.put(change.before)

    def changed(self, change: Change) -> None:
        """Follow SQL that makes or takes away names of the same two spaces."""
        if change.kind in _NAMING:
            self.generation += 1
        if change.kind in ("prepare", "deallocate"):
            self.drop("S", change.name)
        elif change.kind in ("deallocate-all", "discard-all"):
            for name in [name for name in self.statements if name]:
                self.drop("S", name)
            if change.kind == "discard-all":
                self._drop_portals()
        elif change.kind in ("declare", "close"):
            self.drop("P", change.name)
        elif change.kind == "close-all":
            self._drop_portals()

    def _drop_portals(self) -> None:
        self.portals.clear()
        self.held = 0


_NAMING: Final = frozenset(
    "prepare deallocate deallocate-all declare close close-all discard-all".split()
)
