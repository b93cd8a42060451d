"""Opening: the side connection of a survey, with the catalogue and the login's search path."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.protocols.inspecting import SideDoor
from sallyport.protocols.postgres.endpoint import Catalogues, SideConnection, open_target
from sallyport.protocols.postgres.survey.examine import PATH
from sallyport.sql.catalogue import CatalogueSnapshot


class Opened(NamedTuple):
    """Where a survey is taken. `path`: the schemas that bare names mean to the login."""

    side: SideConnection
    catalogue: CatalogueSnapshot
    database: str
    path: tuple[str, ...]


@contextlib.asynccontextmanager
async def opened(
    door: SideDoor, catalogues: Catalogues, target: str, database: str
) -> AsyncIterator[Opened]:
    """Open a side connection for one page of a survey.

    Its search_path is empty when it is given out. Raises: TargetUnavailable.
    """
    side: SideConnection | None = None
    try:
        grant = await door.dial_catalogue(target, database)
        database = grant.target.database
        await catalogues.refresh(door, target, database)
        catalogue = catalogues.latest(target, database)
        if catalogue is None:
            raise TargetUnavailable(target, "its catalogue changes all the time")
        leg, _ = await open_target(door, grant, {"application_name": "sallyport survey"})
        side = SideConnection(leg, target)
        yield Opened(side, catalogue, database, await _path(side, target))
    except ProtocolViolation as violation:
        raise TargetUnavailable(target, violation.message) from None
    finally:
        if side is not None:
            side.close()


async def _path(side: SideConnection, target: str) -> tuple[str, ...]:
    rows = await side.query(PATH)
    try:
        return msgspec.json.decode(rows[0][0] or "", type=tuple[str, ...])
    except (IndexError, msgspec.MsgspecError):
        raise TargetUnavailable(target, "it does not say what its search path is") from None
