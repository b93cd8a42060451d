"""Effort: how much work one statement may ask of whoever reads it.

A short text can ask for a lot: `SELECT x.*, y.* FROM a x, a y` doubles its columns with each WITH
query that stands on the one before, and a name is looked for in every item of every query around.
The loop that reads it serves all other sessions too.
FAILS CLOSED: what takes more is not understood.
"""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 400_000
"""Nodes read (constants are free), outputs looked at, nodes compared: less than half a second."""
MAX_OUTPUTS: Final = 1664
"""Columns that a query may have. The server's own limit, so that nothing valid is lost."""


class TooDeep(Exception):
    """The statement nests deeper than is followed, or takes more effort than it may."""


class Effort:
    """What is left for one statement."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take `steps` off. Raises: TooDeep when nothing is left."""
        self._left -= steps
        if self._left < 0:
            raise TooDeep
