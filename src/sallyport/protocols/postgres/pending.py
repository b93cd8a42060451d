"""Pending: a client's message that waits for its decision, and what to do with it then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from sallyport.core.decision import Allow
from sallyport.core.operation import Operation, Parameter
from sallyport.protocols.postgres.ledger import QUERY
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement

CLASSIFYING: Final = 0
"""It waits for a catalogue, or for a text to be parsed elsewhere."""
DECIDING: Final = 1
"""Its operation at `index` is undecided."""


@final
class Pending:
    """One message, held back whole. `kind` is the ledger's; `send` lets it go.

    A Query has as many operations as statements, decided one after the other; every other message
    has one. `precheck`: it only prepares. `counted`: how many results its text has is known.
    `revision`: of the policy, when it was issued. `rewritten`: what is sent in the place of a
    statement, by its number. `dead`: its batch has failed, so it will not
    run, whatever is decided. `was_rewritten`: the rewritten text that its portal is of.
    """

    __slots__ = (
        "allows",
        "catalogue",
        "counted",
        "dead",
        "declared",
        "kind",
        "operations",
        "parameters",
        "precheck",
        "revision",
        "rewritten",
        "send",
        "state",
        "statements",
        "text",
        "waited",
        "was_rewritten",
    )

    def __init__(
        self, kind: int, text: str, state: SessionState, send: Callable[[Pending], None]
    ) -> None:
        self.kind = kind
        self.text = text
        self.state = state
        self.send = send
        self.catalogue: CatalogueSnapshot | None = None
        self.revision = ""
        self.statements: tuple[Statement, ...] = ()
        self.parameters: tuple[Parameter, ...] = ()
        self.declared: tuple[Parameter, ...] = ()
        self.operations: list[Operation] = []
        self.allows: list[Allow] = []
        self.rewritten: dict[int, str] = {}
        self.waited: set[str] = set()
        self.counted = True
        self.precheck = False
        self.was_rewritten = ""
        self.dead = False

    @property
    def which(self) -> str:
        """Which of several statements is undecided, for the client; empty where there is one."""
        count = len(self.statements)
        if self.kind != QUERY or count < 2:
            return ""
        return f"statement {len(self.operations)} of {count}"

    @property
    def complete(self) -> bool:
        """Whether every operation of it was allowed."""
        return len(self.allows) == len(self.statements)
