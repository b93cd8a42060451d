"""Service accounts: programs that prove who they are with a key of their own.

An account has groups, perhaps targets and networks, and public keys; the private ones never come
here. INVARIANT: what an account was given is gone with it, and what a key was given with that key:
tokens and live sessions. FAILS CLOSED: a token is made in the transaction that sees its key.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry
from msgspec import Struct
from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import Audited
from sallyport.core.trail import Trail
from sallyport.identity.jwks import LEAST_RSA_BITS, PublicKey, import_public
from sallyport.identity.names import is_name, is_network
from sallyport.identity.token_checks import MAXIMUM_LIST
from sallyport.identity.tokens import TokenService
from sallyport.store.control_schema import service_account_keys, service_accounts, tokens
from sallyport.store.database import Database

MAXIMUM_KEYS: Final = 8
"""Public keys that one account may have: enough to change them one after another."""

MAXIMUM_ACCOUNTS: Final = 10_000
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
MAXIMUM_KEY_TEXT: Final = 16 * 1024
_NO_KEY: Final = (
    "expected a public key: PEM (`BEGIN PUBLIC KEY`) or JWK, of RSA (2048 bits or more), P-256, "
    "P-384, P-521 or Ed25519"
)


class AccountKey(Struct, frozen=True):
    """One public key. `id` is its thumbprint (RFC 7638); `jwk` holds nothing secret."""

    id: str
    kind: str
    created: float
    jwk: dict[str, Any]


class Account(Struct, frozen=True):
    """A service account. None of `targets` or `sources`: all of them."""

    name: str
    groups: tuple[str, ...]
    targets: tuple[str, ...] | None
    sources: tuple[str, ...] | None
    owner: str
    created: float
    keys: tuple[AccountKey, ...] = ()


class ServiceAccounts:
    """Makes, lists and removes service accounts. Every change is audited before it counts."""

    def __init__(
        self,
        database: Database,
        tokens: TokenService,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._tokens = tokens
        self._trail = Trail(audit, clock)
        self._clock = clock

    async def create(
        self,
        name: str,
        groups: Sequence[str],
        keys: Sequence[str],
        actor: str,
        targets: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
    ) -> Account:
        """Make an account with `keys` (PEM or JWK). `actor` becomes its owner.

        Raises: ValueError that says what cannot be taken.
        """
        _validate(name, groups, targets, sources)
        now = self._clock()
        read = {key.id: key for key in (read_public_key(text, now) for text in keys)}
        if len(read) > MAXIMUM_KEYS:
            raise ValueError(f"a service account has at most {MAXIMUM_KEYS} keys")
        account = Account(
            name=name,
            groups=tuple(dict.fromkeys(groups)),
            targets=None if targets is None else tuple(targets),
            sources=None if sources is None else tuple(sources),
            owner=actor,
            created=now,
            keys=tuple(read.values()),
        )
        try:
            async with self._database.write() as connection:
                count = await connection.scalar(select(func.count()).select_from(service_accounts))
                if (count or 0) >= MAXIMUM_ACCOUNTS:
                    raise ValueError(f"there are {MAXIMUM_ACCOUNTS} service accounts already")
                row = {column.name: getattr(account, column.name) for column in service_accounts.c}
                await connection.execute(insert(service_accounts).values(row))
                for key in read.values():
                    await _insert_key(connection, name, key)
                details = {"groups": list(groups), "targets": targets, "sources": sources}
                details["keys"] = list(read)
                self._trail.note(actor, "service-account-created", name, details)
        except IntegrityError:
            raise ValueError(f"there is a service account `{name}` already") from None
        return account

    async def list(self) -> list[Account]:
        """Return all accounts, by name."""
        async with self._database.read() as connection:
            return await _load(connection, service_accounts.c.name.is_not(None))

    async def show(self, name: str) -> Account | None:
        """Return one, or None."""
        async with self._database.read() as connection:
            return await find_account(connection, name)

    async def remove(self, name: str, actor: str, actors: tuple[str, ...] = ()) -> int | None:
        """Forget an account and revoke its tokens; return how many were live, None: no account."""
        async with self._database.write() as connection:
            keys = service_account_keys.c.account == name
            await connection.execute(delete(service_account_keys).where(keys))
            gone = await connection.execute(
                delete(service_accounts).where(service_accounts.c.name == name)
            )
            if not gone.rowcount:
                return None
            withdrawn = await self._tokens.withdraw(connection, tokens.c.account == name)
            self._trail.note(
                actor, "service-account-removed", name, {"tokens": len(withdrawn)}, actors
            )
        self._tokens.announce(withdrawn)
        return len(withdrawn)

    async def add_key(self, name: str, text: str, actor: str) -> AccountKey | None:
        """Register one more key; None: no account. Raises: ValueError."""
        key = read_public_key(text, self._clock())
        async with self._database.write() as connection:
            account = await find_account(connection, name)
            if account is None:
                return None
            if any(one.id == key.id for one in account.keys):
                raise ValueError(f"`{name}` has this key already: {key.id}")
            if len(account.keys) >= MAXIMUM_KEYS:
                raise ValueError(f"a service account has at most {MAXIMUM_KEYS} keys")
            await _insert_key(connection, name, key)
            self._trail.note(actor, "service-account-key-added", name, {"key": key.id})
        return key

    async def remove_key(
        self, name: str, key: str, actor: str, actors: tuple[str, ...] = ()
    ) -> int | None:
        """Forget a key and revoke what was given with it; None: no such key."""
        columns = service_account_keys.c
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(service_account_keys).where(columns.account == name, columns.key == key)
            )
            if not gone.rowcount:
                return None
            withdrawn = await self._tokens.withdraw(
                connection, (tokens.c.account == name) & (tokens.c.account_key == key)
            )
            details = {"key": key, "tokens": len(withdrawn)}
            self._trail.note(actor, "service-account-key-removed", name, details, actors)
        self._tokens.announce(withdrawn)
        return len(withdrawn)


async def find_account(connection: AsyncConnection, name: str) -> Account | None:
    """Return an account with its keys as the caller's transaction sees it, or None."""
    found = await _load(connection, service_accounts.c.name == name)
    return found[0] if found else None


def read_public_key(text: str, now: float) -> AccountKey:
    """Return the key in `text`. Raises: ValueError, which never repeats what was given."""
    if len(text) > MAXIMUM_KEY_TEXT:
        raise ValueError(_NO_KEY)
    if "PRIVATE KEY" in text:
        raise ValueError("this is a private key: keep it, and give its public key")
    try:
        entry = json.loads(text) if text.lstrip().startswith("{") else _from_pem(text)
    except (ValueError, RecursionError, JoseError, UnsupportedAlgorithm):
        raise ValueError(_NO_KEY) from None
    if isinstance(entry, dict) and "d" in entry:
        raise ValueError("this is a private key: keep it, and give its public key")
    key = import_public(entry) if isinstance(entry, dict) else None
    if key is None or key.get("crv") not in (None, "P-256", "P-384", "P-521", "Ed25519"):
        raise ValueError(_NO_KEY)
    kind = str(key.get("crv") or "RSA")
    public = {name: value for name, value in key.as_dict(private=False).items() if name in _PUBLIC}
    return AccountKey(key.thumbprint(), kind, now, public)


_PUBLIC: Final = frozenset({"kty", "n", "e", "crv", "x", "y"})


def public_key(key: AccountKey) -> PublicKey:
    """Return the key for verifying. Raises: ValueError when the store holds none."""
    found = import_public(key.jwk)
    if found is None:
        raise ValueError(f"key `{key.id}` cannot be read")
    return found


def _from_pem(text: str) -> dict[str, Any]:
    loaded = load_pem_public_key(text.encode())
    if isinstance(loaded, RSAPublicKey) and loaded.key_size < LEAST_RSA_BITS:
        raise ValueError(_NO_KEY)
    pem = loaded.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for kind in ("RSA", "EC", "OKP"):
        try:
            return dict(JWKRegistry.import_key(pem, kind).as_dict(private=False))
        except (ValueError, TypeError, JoseError):
            continue
    raise ValueError(_NO_KEY)


async def _insert_key(connection: AsyncConnection, name: str, key: AccountKey) -> None:
    row = {"account": name, "key": key.id, "jwk": key.jwk, "created": key.created}
    await connection.execute(insert(service_account_keys).values(row))


async def _load(connection: AsyncConnection, condition: ColumnElement[bool]) -> list[Account]:
    columns, keys = service_accounts.c, service_account_keys.c
    rows = (
        await connection.execute(select(service_accounts).where(condition).order_by(columns.name))
    ).all()
    query = select(service_account_keys).join(service_accounts).where(condition)
    of: dict[str, list[AccountKey]] = {}
    for row in await connection.execute(query.order_by(keys.created, keys.key)):
        kind = str(row.jwk.get("crv") or "RSA")
        of.setdefault(row.account, []).append(AccountKey(row.key, kind, row.created, row.jwk))
    return [
        Account(
            row.name,
            tuple(row.groups),
            None if row.targets is None else tuple(row.targets),
            None if row.sources is None else tuple(row.sources),
            row.owner,
            row.created,
            tuple(of.get(row.name, ())),
        )
        for row in rows
    ]


def _validate(
    name: str,
    groups: Sequence[str],
    targets: Sequence[str] | None,
    sources: Sequence[str] | None,
) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            "the account's name must be 1 to 128 letters, digits, `.`, `_` and `-`, and begin with "
            "a letter or a digit"
        )
    for text in (*groups, *(targets or ())):
        if not is_name(text):
            raise ValueError("a group or target must be 1 to 256 printable characters")
    for source in sources or ():
        if not is_network(source):
            raise ValueError(f"`{source}` is not a network: expected CIDR or `unix`")
    for many in (groups, targets or (), sources or ()):
        if len(many) > MAXIMUM_LIST:
            raise ValueError(f"an account has at most {MAXIMUM_LIST} groups, targets or networks")
