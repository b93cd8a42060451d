"""What the operator's tools ask of a protocol: a look at a target, the meaning of a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from msgspec import Struct

from sallyport.core.decision import Obligations
from sallyport.core.grant import Grant
from sallyport.core.operation import Operation, Tags
from sallyport.core.subject import Secret
from sallyport.protocols.base import Carried, Leg


class Finding(Struct, frozen=True):
    """One thing that a look at a target brought up. `state` is ok, warning or failed."""

    state: str
    text: str


class TargetReport(Struct, frozen=True):
    """What a look at a target brought up: `facts` in words, `findings` in order of weight."""

    reachable: bool
    facts: dict[str, str]
    findings: tuple[Finding, ...] = ()


class SideDoor(Protocol):
    """The part of `Services` that looks at a target without any client."""

    async def dial(self, grant: Grant) -> Leg:
        """Reach the target, plain. Raises: TargetUnavailable."""

    async def start_tls(
        self, grant: Grant, leg: Leg, *, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> Leg:
        """Encrypt a dialled leg. Raises: TargetUnavailable."""

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        """Return a grant for the gateway's own side connection. Raises: TargetUnavailable."""


class Interpreted(NamedTuple):
    """One operation of a text, and what an Allow's obligations would make of it. `tags`: what the
    target says of its columns."""

    operation: Operation
    carry: Callable[[Obligations], Carried]
    tags: Tags = ()


@runtime_checkable
class Inspector(Protocol):
    """What the operator's tools ask of a plugin, where it can."""

    async def inspect(self, door: SideDoor, grant: Grant) -> TargetReport:
        """Look at a target as a session would reach it. Changes nothing."""

    async def interpret(
        self, door: SideDoor, target: str, database: str, login: str, text: str
    ) -> tuple[Interpreted, ...]:
        """Return the operations of `text` as a new session's first command. Runs nothing."""

    def close(self) -> None:
        """End what the answers left open at the target: nothing more is asked."""
