"""A service file of libpq's: what its environment has no variables for.

libpq 18 takes `oauth_issuer`, `oauth_client_id` and `oauth_scope` from a connection string or a
service file alone. The file holds nothing secret; it lasts, for a client opens it at each
connection, and is named by its content, so that no two places share one.

INVARIANT: it says nothing of where to connect and as whom, and a value ends with its line: what a
gateway names cannot bring another setting in. The folder is its owner's alone, for a service file
counts before the environment.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from sallyport.cli.connecting import Place
from sallyport.cli.errors import CommandError
from sallyport.cli.private import PrivateFolder

FOLDER: Final = "oauth-needs-libpq-18"
"""An older libpq stops at the file and says its path: this is what there is to tell its user."""

SERVICE: Final = "sallyport"
MAXIMUM_VALUE: Final = 900
"""Characters of a value. libpq takes lines of 1023."""


def write_service(place: Place, state: Path) -> dict[str, str]:
    """Write the file of a listener that takes OAuth, below `state`; return libpq's variables.

    Raises: CommandError where the gateway names no client, or what no line can hold.
    """
    if not place.client_id:
        raise CommandError(
            f"listener `{place.listener}` takes `oauth`, and nobody says by which client",
            hint=f"the operator sets `login` at the issuer {place.issuer}; or paste what "
            "`sallyport connect` prints, with a client of yours",
        )
    settings = {
        "oauth_issuer": place.issuer,
        "oauth_client_id": place.client_id,
        "oauth_scope": place.scope,
    }
    lines = [f"{name}={_value(name, value)}" for name, value in settings.items() if value]
    text = "\n".join((f"[{SERVICE}]", *lines, "")).encode("ascii")
    folder = PrivateFolder(state / FOLDER, _unusable)
    folder.make()
    path = folder.path / f"{hashlib.sha256(text).hexdigest()[:32]}.conf"
    folder.write(path, text)
    return {"PGSERVICEFILE": str(path), "PGSERVICE": SERVICE}


def _value(name: str, value: str) -> str:
    """Return what stands for itself to the end of a line: libpq cuts blanks off, and quotes none"""
    plain = value.isascii() and value.isprintable() and value == value.strip()
    if not plain or len(value) > MAXIMUM_VALUE:
        raise CommandError(f"the gateway names an odd `{name}`")
    return value


def _unusable(path: Path, why: str, hint: str) -> CommandError:
    return CommandError(
        f"`{path}` cannot be used: {why.lower()}", hint=hint or f"remove `{path}`, and try again"
    )
