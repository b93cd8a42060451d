"""Ports: what the data path asks of the adapters, as interfaces."""

from __future__ import annotations

from typing import Protocol

from sallyport.core.event import RecordedEvent
from sallyport.core.messages import Reply, Request


class Recorder(Protocol):
    """A worker's journal, as sessions see it."""

    @property
    def full(self) -> bool:
        """Whether to stop reading from targets until a commit has caught up."""

    def refusal(self, subject: str) -> str | None:
        """Why no new operation of `subject` may be recorded (disk full, quota), or None."""

    def record(self, event: RecordedEvent) -> None:
        """Take an event in order. Raises: RecorderLost."""

    def flush(self) -> None:
        """Write all that was taken to the file (one write). Raises: RecorderLost."""

    async def commit(self) -> None:
        """Return when all that was taken so far is durable. Raises: RecorderLost."""


class ControlLink(Protocol):
    """A worker's way to control."""

    @property
    def alive(self) -> bool:
        """Whether control was heard within the last second."""

    async def ask(self, request: Request) -> Reply:
        """Send a request and return its reply. Raises: ControlLost."""

    def tell(self, request: Request) -> None:
        """Send a request whose reply does not matter."""
