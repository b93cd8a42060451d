"""What a first start makes: the administrator's token, in a file of the operator's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sallyport.identity.tokens import TokenService

ADMIN: Final = "admin"
FILE: Final = "admin.token"
_LIFETIME: Final = 366 * 86400.0


async def ensure_admin(tokens: TokenService, state: Path) -> Path | None:
    """Write an admin token to `admin.token` (0600) when nobody holds the role; return its path.

    Whoever can write there owns the gateway anyway: this gives the operator a way in, and a
    way back after the last administrator's token was revoked or has expired.
    """
    if await tokens.any_admin():
        return None
    _, secret = await tokens.create(
        name="first administrator",
        subject=ADMIN,
        roles=("admin", "auditor"),
        lifetime=_LIFETIME,
        owner=ADMIN,
        actor="sallyport",
    )
    path = state / FILE
    fresh = state / f".{FILE}.new"
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)
    fresh.replace(path)
    return path
