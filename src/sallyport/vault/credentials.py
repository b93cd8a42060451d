"""The vault: target credentials, encrypted at rest.

An envelope: each version of each secret has a data key of its own, which seals the value and is
itself wrapped by the master key (AES-256-GCM both times). Name, version and purpose are
authenticated, so that a row copied over another one does not open. What this does not see is a
store put back as a whole to an older state.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct
from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import Audited
from sallyport.core.subject import Secret
from sallyport.core.trail import Trail
from sallyport.store.control_schema import credentials
from sallyport.store.database import Database
from sallyport.vault.errors import VaultError

KEY_BYTES: Final = 32
MAXIMUM_SECRET: Final = 64 * 1024
"""Bytes of the largest secret."""

_NONCE: Final = 12
_NAME: Final = re.compile(r"@?[A-Za-z0-9][A-Za-z0-9._/-]{0,126}", re.ASCII)


class CredentialRecord(Struct, frozen=True):
    """What is known of a credential, without it. Times in epoch seconds."""

    name: str
    version: int
    created: float
    updated: float


class Vault:
    """Seals, opens, lists and deletes secrets. Every change is audited before it is committed.

    Names that begin with `@` are the gateway's own: no reference can name them.
    """

    def __init__(
        self,
        database: Database,
        master: bytes,
        audit: Callable[[Audited], None],
        previous: Sequence[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._trail = Trail(audit, clock)
        self._clock = clock
        self._current = _master_id(master)
        self._masters = {_master_id(key): key for key in (*previous, master)}

    async def set(
        self, name: str, value: bytes, actor: str, actors: tuple[str, ...] = ()
    ) -> CredentialRecord:
        """Seal `value` as the new version of `name`. Raises: VaultError for a name or size.

        `actors` act for `actor`.
        """
        _check_name(name)
        if name.startswith("@"):
            raise VaultError(f"credential `{name}` is the gateway's own and cannot be set")
        return await self._store(name, value, actor, actors)

    async def get(self, name: str) -> Secret:
        """Return the secret. Raises: VaultError when there is none, or it does not open."""
        async with self._database.read() as connection:
            row = await _row(connection, name)
        if row is None:
            raise VaultError(f"credential `{name}` is not set")
        return Secret(self._open(row))

    async def list(self) -> list[CredentialRecord]:
        """Return what credentials there are, by name, without the gateway's own."""
        columns = credentials.c
        query = select(columns.name, columns.version, columns.created, columns.updated)
        query = query.where(~columns.name.startswith("@")).order_by(columns.name)
        async with self._database.read() as connection:
            return [CredentialRecord(*row) for row in await connection.execute(query)]

    async def delete(self, name: str, actor: str, actors: tuple[str, ...] = ()) -> bool:
        """Forget a credential; return whether there was one."""
        if name.startswith("@"):
            raise VaultError(f"credential `{name}` is the gateway's own and cannot be deleted")
        async with self._database.write() as connection:
            done = await connection.execute(delete(credentials).where(credentials.c.name == name))
            if done.rowcount:
                self._trail.note(actor, "credential-deleted", name, {}, actors)
        return bool(done.rowcount)

    async def ensure(self, name: str, count: int = KEY_BYTES) -> Secret:
        """Return the gateway's own secret `@name`, made of `count` random bytes at first use."""
        full = f"@{name}"
        async with self._database.read() as connection:
            row = await _row(connection, full)
        if row is None:
            await self._store(full, os.urandom(count), "sallyport", replace=False)
        return await self.get(full)

    async def verify(self) -> None:
        """Open every secret once. Raises: VaultError when the master key is not the right one."""
        async with self._database.read() as connection:
            for row in await connection.execute(select(credentials)):
                self._open(row)

    async def rotate_master(self, new: bytes, actor: str) -> int:
        """Wrap every data key anew under `new`, all or none; return how many.

        The caller puts the new key where the reference points only after this, and gives the
        old one as `previous` should it have to start in between.
        """
        new_id = _master_id(new)
        count = 0
        async with self._database.write() as connection:
            for row in (await connection.execute(select(credentials))).all():
                key = self._unwrap(row)
                wrapped = _seal(new, key, _label("key", row.name, row.version))
                await connection.execute(
                    update(credentials)
                    .where(credentials.c.name == row.name)
                    .values(master=new_id, wrapped=wrapped)
                )
                count += 1
            self._trail.note(actor, "master-key-rotated", new_id.hex(), {"credentials": count})
        self._masters[new_id] = new
        self._current = new_id
        return count

    async def _store(
        self,
        name: str,
        value: bytes,
        actor: str,
        actors: tuple[str, ...] = (),
        *,
        replace: bool = True,
    ) -> CredentialRecord:
        if not 0 < len(value) <= MAXIMUM_SECRET:
            raise VaultError(f"credential `{name}` must have 1 to {MAXIMUM_SECRET} bytes")
        now = self._clock()
        async with self._database.write() as connection:
            before = await _row(connection, name)
            if before is not None and not replace:
                return CredentialRecord(name, before.version, before.created, before.updated)
            version = 1 if before is None else before.version + 1
            created = now if before is None else before.created
            values = self._envelope(name, version, value) | {"created": created, "updated": now}
            statement = insert(credentials).values(name=name, **values)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_=values)
            )
            self._trail.note(actor, "credential-set", name, {"version": version}, actors)
        return CredentialRecord(name, version, created, now)

    def _envelope(self, name: str, version: int, value: bytes) -> dict[str, Any]:
        key = AESGCM.generate_key(256)
        master = self._masters[self._current]
        return {
            "version": version,
            "master": self._current,
            "wrapped": _seal(master, key, _label("key", name, version)),
            "sealed": _seal(key, value, _label("value", name, version)),
        }

    def _unwrap(self, row: Row[Any]) -> bytes:
        master = self._masters.get(bytes(row.master))
        if master is None:
            raise VaultError(f"credential `{row.name}` was sealed under another master key")
        return _unseal(master, row.wrapped, _label("key", row.name, row.version), row.name)

    def _open(self, row: Row[Any]) -> bytes:
        label = _label("value", row.name, row.version)
        return _unseal(self._unwrap(row), row.sealed, label, row.name)


async def _row(connection: AsyncConnection, name: str) -> Row[Any] | None:
    return (await connection.execute(select(credentials).where(credentials.c.name == name))).first()


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise VaultError("a credential's name is 1 to 127 of letters, digits, `.`, `_`, `/`, `-`")


def _master_id(master: bytes) -> bytes:
    if len(master) != KEY_BYTES:
        raise VaultError(f"the master key must have {KEY_BYTES} bytes, it has {len(master)}")
    return hmac.digest(master, b"sallyport master key id", hashlib.sha256)[:8]


def _label(purpose: str, name: str, version: int) -> bytes:
    return b"\0".join((b"sallyport", purpose.encode(), name.encode(), str(version).encode()))


def _seal(key: bytes, value: bytes, label: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, value, label)


def _unseal(key: bytes, sealed: bytes, label: bytes, name: str) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], label)
    except (InvalidTag, ValueError):
        raise VaultError(f"credential `{name}` does not open: the store was changed") from None
