"""The operator's surveys of targets: what should be masked, and what stands round the masks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from sallyport.app.side import SideServices
from sallyport.control.control import Control
from sallyport.control.mask_checks import detectors_at, masks_at, rules_naming
from sallyport.control.state import PolicyPort
from sallyport.core.errors import TargetUnavailable
from sallyport.protocols import registry
from sallyport.protocols.survey import Examination, MasksFor, Page, Surveyor

Json = dict[str, object]


class SurveyDesk:
    """Surveys targets through the side door (`web.services.Surveys`). One page at a time.

    Raises: ValueError in words, where a target cannot be surveyed.
    """

    def __init__(self, control: Control, side: SideServices) -> None:
        self._control = control
        self._side = side
        self._one = asyncio.Lock()

    async def discover(self, target: str, database: str, after: int, rows: int) -> Json:
        """Return a page of what samples and comments show (`protocols.survey.Discovery`)."""
        policy = self._control.state.policy
        async with self._open(target, policy) as (surveyor, masks):
            page = Page(database, after, rows, detectors_at(policy.document))
            return _plain(await surveyor.discover(self._side, target, masks, page))

    async def examine(self, target: str, database: str, after: int) -> Json:
        """Return a page of what stands round the masks (`protocols.survey.Examination`)."""
        policy = self._control.state.policy
        async with self._open(target, policy) as (surveyor, masks):
            page = Page(database, after)
            found = await surveyor.examine(self._side, target, masks, page)
        return {**_plain(found), **await self._count(target, policy, found, after)}

    async def _count(self, target: str, policy: PolicyPort, found: Examination, after: int) -> Json:
        """Leave out what the configuration waives; say whether the whole check is passed now."""
        chosen = self._control.state.targets.offer(target, found.database)
        if chosen is None:
            raise ValueError(f"there is no target `{target}`")
        entry, reached = chosen
        left = [one for one in found.found if not entry.waived.matches(one.name)]
        unread = [name for name in found.unread if not entry.waived.matches(name)]
        clean = not left and not unread
        checks = self._control.mask_checks
        waived = entry.waived.patterns
        passed = await checks.page(reached, waived, policy, after, found.next, clean=clean)
        return {"found": [_plain(one) for one in left], "unread": unread, "passed": passed}

    async def setup(self, target: str, database: str, role: str) -> str:
        """Return the SQL of a login that sees masked views alone."""
        async with self._open(target, self._control.state.policy) as (surveyor, masks):
            return await surveyor.setup(self._side, target, masks, database, role)

    def naming(self, target: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the mask rules in force that name each of a target's columns."""
        chosen = self._control.state.targets.select(target)
        if chosen is None:
            return [() for _ in columns]
        return rules_naming(self._control.state.policy.document, chosen[1], columns)

    @asynccontextmanager
    async def _open(
        self, name: str, policy: PolicyPort
    ) -> AsyncIterator[tuple[Surveyor, MasksFor]]:
        chosen = self._control.state.targets.select(name)
        if chosen is None:
            raise ValueError(f"there is no target `{name}`")
        target = chosen[1]
        plugin = registry.load([target.protocol])[target.protocol]
        if not isinstance(plugin, Surveyor):
            raise ValueError(f"targets of protocol `{target.protocol}` cannot be surveyed")
        masks = partial(masks_at, policy.document, target)
        async with self._one:
            try:
                yield plugin, masks
            except TargetUnavailable as error:
                raise ValueError(error.message) from error
            finally:
                plugin.close()


def _plain(found: msgspec.Struct) -> Json:
    plain: Json = msgspec.json.decode(msgspec.json.encode(found))
    return plain
