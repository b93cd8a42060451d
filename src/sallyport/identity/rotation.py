"""Rotation: a token is had anew with another secret, for the same subject with the same rights.

The old one is revoked in the transaction that makes the new one, or lasts for a while longer, so
that programs can be given the new one first. A token that was given for a JWT or to a service
account is not rotated: it is had anew where it came from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import Audited
from sallyport.core.trail import Trail
from sallyport.identity.token_records import Given, TokenRecord
from sallyport.identity.tokens import BREAK_GLASS, TokenService
from sallyport.store.control_schema import tokens

LONGEST: Final = 7 * 86400.0
"""Seconds that an old token may last beside the new one."""


class Rotation:
    """Rotates tokens. It is audited before it is committed."""

    def __init__(
        self,
        service: TokenService,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._trail = Trail(audit, clock)
        self._clock = clock

    async def rotate(
        self, identifier: str, owner: str, lifetime: float | None = None, grace: float = 0.0
    ) -> tuple[TokenRecord, str]:
        """Return a new token in the place of one, with its secret, which nothing can show again.

        `owner` does it, and has seen the secret; `lifetime`: of the new one, None: as the old one
        had; `grace`: seconds that the old one still counts, 0: it is revoked, and its sessions end.
        Raises: ValueError that says why not.
        """
        old, now = await self._service.show(identifier), self._clock()
        if old is None or old.state(now) != "live":
            raise ValueError("there is no such token, or it is over")
        if old.via not in ("", BREAK_GLASS):
            raise ValueError(
                f"what `{old.via}` gave is not rotated, but had anew where it came from"
            )
        if not 0.0 <= grace <= LONGEST:
            raise ValueError(f"the old token can last for {int(LONGEST)} seconds longer at most")
        ends = {"revoked": now} if grace == 0.0 else {"expires": min(old.expires, now + grace)}

        async def replace(connection: AsyncConnection) -> None:
            live = tokens.c.revoked.is_(None) & (tokens.c.expires > now)
            mine = update(tokens).where(tokens.c.id == identifier, live)
            if (await connection.execute(mine.values(**ends))).rowcount != 1:
                raise ValueError("the token is over by now")
            details = {"subject": old.subject, "grace": grace}
            self._trail.note(owner, "token-rotated", identifier, details)

        made = await self._service.create(
            old.name,
            old.subject,
            old.groups,
            old.roles,
            old.expires - old.created if lifetime is None else lifetime,
            owner,
            old.targets,
            old.sources,
            given=Given(BREAK_GLASS) if old.via else None,
            accompany=replace,
        )
        if grace == 0.0:
            self._service.announce((identifier,))
        return made
