"""Client assertions (RFC 7523, `private_key_jwt`): a service account signs who it is.

The assertion names the account as `iss` and `sub` and the token endpoint as its only `aud`, is in
force for five minutes at most and is used once. INVARIANT: which key may have signed it comes from
the store, by the account that it names; an unknown account costs the same work as a wrong key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from msgspec import Struct
from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.identity import claims as read
from sallyport.identity.accounts import Account, find_account, public_key
from sallyport.identity.claims import ClaimsError
from sallyport.identity.compact import AllowedAlgorithms, check_header, look_into, strict_object
from sallyport.identity.jwks import PublicKey, fits
from sallyport.store.control_schema import assertions
from sallyport.store.database import Database

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
MAXIMUM_AGE: Final = 300.0
"""Seconds that an assertion may still be in force when it comes."""

LEEWAY: Final = 30.0
MAXIMUM_ID: Final = 256
MAXIMUM_USED: Final = 2_000
"""Assertions of one account within their time."""

_TYPES: Final = frozenset({"CLIENT-AUTHENTICATION+JWT", "APPLICATION/CLIENT-AUTHENTICATION+JWT"})


class Assertion(Struct, frozen=True):
    """A client that has proven who it is. `jti` is a hash, `expires` in epoch seconds."""

    account: Account
    key: str
    jti: bytes
    expires: float


class ClientAssertions:
    """Checks assertions and remembers those that were used."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._registry = AllowedAlgorithms(ALGORITHMS)

    async def check(self, assertion: str, endpoint: str, client: str | None) -> Assertion:
        """Return who shows `assertion`, which `spend` has yet to use up.

        `client` is the `client_id` beside it, if any. Raises: ClaimsError, or what
        `compact.REFUSED_TOKEN` names: each of them is a no.
        """
        header, unverified = look_into(assertion)
        algorithm, kid = check_header(header, ALGORITHMS, _TYPES)
        name = read.subject_name(unverified, "sub")
        async with self._database.read() as connection:
            account = await find_account(connection, name)
        known = () if account is None else account.keys
        keys = [(one.id, public_key(one)) for one in known if kid in (None, one.id)]
        fitting = [(one, key) for one, key in keys if fits(key, algorithm)]
        used, payload = self._verify(assertion, fitting or [("", _decoy(algorithm))])
        if account is None or not used:
            raise ClaimsError("no key of the account has signed it")
        if payload.get("iss") != name or payload.get("sub") != name or client not in (None, name):
            raise ClaimsError("`iss`, `sub` and `client_id` are not one and the same")
        return self._in_force(payload, account, used, endpoint)

    async def spend(self, connection: AsyncConnection, used: Assertion) -> None:
        """Use the assertion up in the caller's transaction, if its account and key still stand.

        Raises: ClaimsError when it was used before, when they are gone, or when too many were used.
        """
        now = self._clock()
        account = await find_account(connection, used.account.name)
        if account is None or all(key.id != used.key for key in account.keys):
            raise ClaimsError("the account or its key is gone")
        if account.created != used.account.created:
            raise ClaimsError("the account is another one of that name")
        mine = assertions.c.account == account.name
        await connection.execute(delete(assertions).where(mine, assertions.c.expires < now))
        count = await connection.scalar(select(func.count()).select_from(assertions).where(mine))
        if (count or 0) >= MAXIMUM_USED:
            raise ClaimsError("too many assertions of this account in five minutes")
        row = {"account": account.name, "jti": used.jti, "expires": used.expires + LEEWAY}
        try:
            await connection.execute(insert(assertions).values(row))
        except IntegrityError:
            raise ClaimsError("the assertion was used before") from None

    async def prune(self) -> None:
        """Forget those that have expired. Called now and then."""
        async with self._database.write() as connection:
            over = assertions.c.expires < self._clock()
            await connection.execute(delete(assertions).where(over))

    def _verify(
        self, assertion: str, keys: Sequence[tuple[str, PublicKey]]
    ) -> tuple[str, dict[str, Any]]:
        """Return the id of the key that has signed, and the claims; "" where none has."""
        for identifier, key in keys:
            try:
                verified = jws.deserialize_compact(assertion, key, registry=self._registry)
            except JoseError:
                continue
            return identifier, strict_object(verified.payload)
        return "", {}

    def _in_force(
        self, payload: dict[str, Any], account: Account, key: str, endpoint: str
    ) -> Assertion:
        now = self._clock()
        expires, _ = read.check_times(payload, now, LEEWAY)
        if expires > now + MAXIMUM_AGE + LEEWAY:
            raise ClaimsError("in force for more than five minutes")
        if payload.get("aud") not in (endpoint, [endpoint]) or not endpoint:
            raise ClaimsError("`aud` is not this token endpoint alone")
        jti = payload.get("jti")
        if not isinstance(jti, str) or not 0 < len(jti) <= MAXIMUM_ID:
            raise ClaimsError("`jti` is missing or odd")
        digest = hashlib.sha256(jti.encode("utf-8", "surrogatepass")).digest()
        return Assertion(account, key, digest, expires)


@cache
def _decoy(algorithm: str) -> PublicKey:
    """Return a key that nobody has, so that an unknown account costs what a wrong key does."""
    if algorithm.startswith("Ed"):
        return OKPKey.generate_key("Ed25519", private=False)
    if algorithm.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[algorithm]
        return ECKey.generate_key(curve, private=False)
    return RSAKey.generate_key(2048, private=False)
