"""Targets as the configuration names them, ready for sessions: address, database, logins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sallyport.config.models import TargetSettings
from sallyport.config.types import SecretReference
from sallyport.core.errors import ConfigError
from sallyport.core.globs import Globs
from sallyport.core.grant import Target, TargetAddress
from sallyport.core.visible import shows
from sallyport.vault.references import resolve_local

_LONGEST_NAME: Final = 256
_LARGEST_CA: Final = 1024 * 1024


class TargetEntry(Struct, frozen=True):
    """One target with its logins: login -> reference of its credential, or None.

    `checked`: it opens no session before its masks were checked; `waived` is what that may find.
    """

    target: Target
    login: str
    logins: dict[str, str | None]
    databases: Globs | None
    checked: bool
    waived: Globs


class Targets:
    """All targets by name."""

    def __init__(self, settings: Sequence[TargetSettings]) -> None:
        """Read what they need of files. Raises: ConfigError."""
        self._entries = {one.name: _entry(one) for one in settings}

    def names(self) -> list[str]:
        """Return the names of all targets."""
        return list(self._entries)

    def find(self, name: str) -> TargetEntry | None:
        """Return one target, or None."""
        return self._entries.get(name)

    def select(self, selector: str) -> tuple[TargetEntry, Target] | None:
        """Return what `target` or `target/database` names, or None.

        FAILS CLOSED: another database than the target's own must match what the target offers.
        """
        if len(selector) > _LONGEST_NAME:
            return None
        name, slash, database = selector.partition("/")
        return self.offer(name, database if slash else None)

    def offer(self, name: str, database: str | None) -> tuple[TargetEntry, Target] | None:
        """Return target `name` with one of its databases (None: its own), or None."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if database is None or database == entry.target.database:
            return entry, entry.target
        if not database or not shows(database) or entry.databases is None:
            return None
        if not entry.databases.matches(database):
            return None
        return entry, replace(entry.target, database=database)


def _entry(settings: TargetSettings) -> TargetEntry:
    address = settings.address
    target = Target(
        name=settings.name,
        protocol=settings.protocol,
        address=TargetAddress(
            host=str(address.path) if address.path is not None else address.host,
            port=address.port,
            tls=settings.tls.mode,
            ca=read_authority(f"target `{settings.name}`", settings.tls.ca),
            server_name=settings.tls.server_name,
        ),
        database=settings.database,
        labels=dict(settings.labels),
        settings=dict(settings.settings),
    )
    if settings.login not in settings.logins:
        raise ConfigError(f"target `{settings.name}`: login `{settings.login}` is not in `logins`")
    logins = {
        name: None if login.credential is None else str(login.credential)
        for name, login in settings.logins.items()
    }
    databases = Globs(settings.databases) if settings.databases else None
    masks = settings.masks
    waived = Globs(masks.waive)
    return TargetEntry(target, settings.login, logins, databases, masks.checked, waived)


def read_authority(whose: str, reference: SecretReference | None) -> str | None:
    """Return the PEM of a CA. It is public: its file may be read by others. Raises: ConfigError."""
    if reference is None:
        return None
    try:
        if reference.scheme == "file":
            with Path(reference.name).open("rb") as file:
                text = file.read(_LARGEST_CA)
        else:
            text = resolve_local(str(reference)).reveal()
        return text.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{whose}: its `ca` cannot be read: {error}") from error
