"""Findings: what detectors found in columns that no mask names, counted; never a value.

Plans and their cells are shared by all sessions, so nothing is counted in them: each result has a
`Tally` of its own, and each session the `Keys` that bound how many names it can bring up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from sallyport.core.event import OTHER_COLUMNS, FindingCount

MOST: Final = 200
"""Pairs of column and detector that one session is counted under; the rest are `OTHER_COLUMNS`."""


@final
class Tally:
    """Matches, and cells with a match, by the number of their column and the detector's name.

    `seen` gathers the detectors of the cell that is looked at, a name for each match; `settle`
    counts them in. It stays empty, and costs nothing, where nothing is found.
    """

    __slots__ = ("_counts", "seen")

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._counts: dict[tuple[int, str], list[int]] = {}

    def settle(self, column: int) -> None:
        """What was seen is of one cell of this column."""
        self.cell(column, self.seen)
        self.seen.clear()

    def cell(self, column: int, names: list[str]) -> None:
        """The detectors of these names found something in one cell, a name for each match."""
        if len(names) == 1:
            self.one(column, names[0])
            return
        for place, name in enumerate(names):
            self.one(column, name)
            if name in names[:place]:
                self._counts[column, name][1] -= 1

    def one(self, column: int, name: str) -> None:
        """This detector found one match in one cell."""
        count = self._counts.get((column, name))
        if count is None:
            self._counts[column, name] = [1, 1]
        else:
            count[0] += 1
            count[1] += 1

    @property
    def empty(self) -> bool:
        """Whether nothing was found since the last `take`."""
        return not self._counts

    def take(self) -> list[tuple[int, str, int, int]]:
        """Return column, detector, matches and cells of each, and begin anew."""
        counts, self._counts = self._counts, {}
        return [(*key, hits, cells) for key, (hits, cells) in counts.items()]


@final
class Keys:
    """The pairs of column and detector that one session was counted under: `MOST` at most.

    Names of columns can come from whoever may create tables; this many of them reach the records.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] = set()

    def bounded(self, found: Iterable[FindingCount]) -> tuple[FindingCount, ...]:
        """Return the counts, those of one name together, under the names that there is room for."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for one in found:
            key = (one.column, one.detector)
            if key not in self._known:
                if len(self._known) < MOST:
                    self._known.add(key)
                else:
                    key = (OTHER_COLUMNS, one.detector)
            hits, cells = sums.get(key, (0, 0))
            sums[key] = (hits + one.hits, cells + one.cells)
        return tuple(FindingCount(*key, *count) for key, count in sums.items())
