"""The operator's surveys of targets: what should be masked, and what stands round the masks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import msgspec

from sallyport.app.side import SideServices
from sallyport.control.control import Control
from sallyport.core.decision import Mask
from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Target
from sallyport.core.operation import Tags
from sallyport.policy import document
from sallyport.policy.evaluate import mask_of
from sallyport.policy.matching import TargetMatcher
from sallyport.policy.rules import with_tags
from sallyport.protocols import registry
from sallyport.protocols.survey import MasksFor, Page, Surveyor

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
        async with self._open(target) as (surveyor, masks):
            page = Page(database, after, rows)
            return _plain(await surveyor.discover(self._side, target, masks, page))

    async def examine(self, target: str, database: str, after: int) -> Json:
        """Return a page of what stands round the masks (`protocols.survey.Examination`)."""
        async with self._open(target) as (surveyor, masks):
            page = Page(database, after)
            return _plain(await surveyor.examine(self._side, target, masks, page))

    async def setup(self, target: str, database: str, role: str) -> str:
        """Return the SQL of a login that sees masked views alone."""
        async with self._open(target) as (surveyor, masks):
            return await surveyor.setup(self._side, target, masks, database, role)

    @asynccontextmanager
    async def _open(self, name: str) -> AsyncIterator[tuple[Surveyor, MasksFor]]:
        chosen = self._control.state.targets.select(name)
        if chosen is None:
            raise ValueError(f"there is no target `{name}`")
        target = chosen[1]
        plugin = registry.load([target.protocol])[target.protocol]
        if not isinstance(plugin, Surveyor):
            raise ValueError(f"targets of protocol `{target.protocol}` cannot be surveyed")
        masks = partial(masks_at, self._control.state.policy.document, target)
        async with self._one:
            try:
                yield plugin, masks
            except TargetUnavailable as error:
                raise ValueError(error.message) from error
            finally:
                plugin.close()


def masks_at(policy: bytes, target: Target, tags: Tags) -> tuple[Mask, ...]:
    """Return what the mask rules in force hide at a target, whomever they are for.

    `tags`: what the target says of its columns.
    """
    decoded = document.decode(policy)
    classes = decoded.classes.get(target.name, {})
    rules = [
        with_tags(rule, classes, tags) or rule
        for rule in decoded.rules
        if rule.mode == "enforce"
        and (rule.targets is None or not TargetMatcher(rule.targets).why_not(target))
    ]
    return tuple(mask_of(rule.name, rule.mask) for rule in rules if rule.mask is not None)


def _plain(found: msgspec.Struct) -> Json:
    plain: Json = msgspec.json.decode(msgspec.json.encode(found))
    return plain
