"""Errors: how a command that cannot go on says so, and the exit codes."""

from __future__ import annotations

OK, REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: done, refused or failed, wrong usage, the API does not answer, Ctrl-C."""


class CommandError(Exception):
    """A command that cannot go on: what happened, what to do next, and the exit code."""

    def __init__(self, message: str, *, hint: str = "", code: int = REFUSED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class NotThereYet(CommandError):
    """What a gateway that is starting will have soon: its admin token, its API."""
