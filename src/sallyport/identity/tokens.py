"""Tokens: opaque secrets that Sallyport itself gives out, stored as hashes.

A token stands for a subject with groups and roles, from one instant to another, perhaps at some
targets and from some networks only. INVARIANT: the secret leaves `create` once and is kept nowhere:
there is its hash, for where it is shown, and a SCRAM verifier, for where it is only proven.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import ColumnElement, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.core.event import Audited
from sallyport.core.scram import Verifier, make_verifier
from sallyport.core.subject import Refused, Subject
from sallyport.core.trail import Trail
from sallyport.identity.claims import instant
from sallyport.identity.names import MAXIMUM_GROUPS
from sallyport.identity.origins import Origin, by_jwt, by_others, by_subject, keep, own_jwt
from sallyport.identity.revocations import ISSUED, Revocation, revoke_issued
from sallyport.identity.secrets import digest_secret, new_secret, parse_secret
from sallyport.identity.token_checks import MAXIMUM_LIST, check_token
from sallyport.identity.token_records import (
    Given,
    TokenRecord,
    details_of,
    find_record,
    record_of,
    subject_of,
    taken_from,
)
from sallyport.store.control_schema import browser_sessions, tokens
from sallyport.store.database import Database

MAXIMUM_USES: Final = 100_000
BREAK_GLASS: Final = "break-glass"
"""`via` of a token for emergencies: it is like any other, but that its use is an alarm."""
QUIET: Final = 60.0
"""Seconds after an alarm in which the same token's uses are not another."""
SALT: Final = 16
"""Bytes of a verifier's salt."""
SCRAM_ITERATIONS: Final = 4096
"""RFC 7677's least. A secret of 256 random bits is not guessed: more would only cost time."""
SKEW: Final = 30.0
"""Seconds that an issuer's clock may be behind, when a login counts as later than a token."""

REMEMBERED: Final = 86400.0
"""Seconds that a token which the gateway gave by itself stays listed when it is over."""

_NOBODY: Final = bytes(32)
_log = structlog.get_logger("identity")


Accompany = Callable[[AsyncConnection], Awaitable[None]]
"""What is done in the transaction that makes a token; when it raises, none is made."""


class TokenService:
    """Makes, checks and revokes tokens. Every change is audited before it is committed."""

    def __init__(
        self,
        database: Database,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._trail = Trail(audit, clock)
        self._clock = clock
        self._listeners: list[Callable[[Revocation], None]] = []
        self._uses: dict[str, float] = {}
        self._alarmed: dict[str, float] = {}
        self.alarms = 0
        """Alarms since the start: uses of tokens that are for emergencies alone."""

    def listen(self, listener: Callable[[Revocation], None]) -> None:
        """Call `listener` after each revocation was committed, so that sessions can be ended."""
        self._listeners.append(listener)

    async def create(
        self,
        name: str,
        subject: str,
        groups: Sequence[str] = (),
        roles: Sequence[str] = (),
        lifetime: float = 86400.0,
        owner: str = "",
        targets: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        *,
        actor: str | None = None,
        actors: tuple[str, ...] = (),
        given: Given | None = None,
        accompany: Accompany | None = None,
    ) -> tuple[TokenRecord, str]:
        """Make a token and return it with its secret, which nothing can show again.

        `owner` made it (and can never approve what it asks for). The audit names `actor`, by
        default the owner, and `actors` who act for them. Raises: ValueError with what is wrong.
        """
        origin = {} if given is None else msgspec.structs.asdict(given)
        origins: tuple[Origin, ...] = origin.pop("origins", ())
        most = MAXIMUM_LIST if given is None else MAXIMUM_GROUPS
        check_token(name, subject, owner, groups, most, roles, lifetime, targets, sources)
        (identifier, secret), now = new_secret(), self._clock()
        record = TokenRecord(
            id=identifier,
            name=name,
            subject=subject,
            groups=tuple(dict.fromkeys(groups)),
            roles=tuple(sorted(set(roles))),
            owner=owner,
            targets=None if targets is None else tuple(targets),
            sources=None if sources is None else tuple(sources),
            created=now,
            expires=now + lifetime,
            home=next((one.issuer for one in origins if not one.acting), ""),
            **origin,
        )
        proof = make_verifier(secret.encode(), secrets.token_bytes(SALT), SCRAM_ITERATIONS)
        async with self._database.write() as connection:
            if accompany is not None:
                await accompany(connection)
            values = msgspec.structs.asdict(record) | msgspec.structs.asdict(proof)
            await connection.execute(insert(tokens).values(digest=digest_secret(secret), **values))
            await keep(connection, identifier, origins)
            details = details_of(record, origin, origins)
            self._trail.note(actor or owner, "token-created", identifier, details, actors)
        return record, secret

    async def list(
        self, *, subject: str | None = None, owner: str | None = None, live: bool = False
    ) -> list[TokenRecord]:
        """Return the tokens, newest first; `live` leaves out those that are revoked or expired."""
        query = select(tokens).order_by(tokens.c.created.desc(), tokens.c.id)
        if subject is not None:
            query = query.where(tokens.c.subject == subject)
        if owner is not None:
            query = query.where(tokens.c.owner == owner)
        if live:
            query = query.where(tokens.c.revoked.is_(None), tokens.c.expires > self._clock())
        async with self._database.read() as connection:
            return [record_of(row) for row in await connection.execute(query)]

    async def show(self, identifier: str) -> TokenRecord | None:
        """Return one token, or None."""
        async with self._database.read() as connection:
            return await find_record(connection, identifier)

    async def check(self, secret: str, source: str, *, api: bool = False) -> Subject | None:
        """Return whose token `secret` is; None: unknown, wrong, revoked, expired, from elsewhere.

        `api`: it is shown to the API, which takes none that was given for certain targets.
        The same work is done for a token that exists and for one that does not, and the
        comparison takes the same time wherever the first difference stands.
        """
        identifier = parse_secret(secret)
        digest = digest_secret(secret)
        row = await self._row(identifier or "")
        same = hmac.compare_digest(digest, _NOBODY if row is None else bytes(row.digest))
        if row is None or identifier is None or not same:
            return None
        record = record_of(row)
        if api and record.via and record.targets is not None:
            return None
        return self._admitted(record, source)

    async def verifier(self, identifier: str) -> Verifier | None:
        """Return what checks a proof of this token, in force or not; None: there is none."""
        row = await self._row(identifier)
        if row is None or row.stored_key is None:
            return None
        return Verifier(
            bytes(row.salt), row.iterations, bytes(row.stored_key), bytes(row.server_key)
        )

    async def admit(self, identifier: str, source: str, *, proven: bool) -> Subject | None:
        """Return whose token this is, once `proven`; None as `check` says it.

        It is looked up whether proven or not, so that both are the same work.
        """
        row = await self._row(identifier)
        return self._admitted(record_of(row), source) if row is not None and proven else None

    async def may_still(self, subject: Subject, target: str, source: str) -> Refused | None:
        """Return why the token behind `subject` gives no access to `target`, or None.

        Asked when a session opens: a token can be revoked between its check and that.
        """
        record = await self.show(subject.token)
        if record is None or record.state(self._clock()) != "live":
            return Refused("the token is no longer valid", "ask for a new token")
        if record.subject != subject.name:
            return Refused("the token belongs to somebody else")
        if record.targets is not None and target not in record.targets:
            return Refused(
                f"this token does not reach target `{target}`", "ask for a token that names it"
            )
        if not taken_from(record, source):
            return Refused("the token is not taken from this network")
        return None

    async def revoke(self, what: str, value: str, actor: str, actors: tuple[str, ...] = ()) -> int:
        """Revoke a token (`id`), all tokens of a `subject`, or `all`; return how many were live.

        An issuer's own token or a certificate, named by its id, counts as one: it is refused now.

        `subject`, `all` and the id of an issuer's token (`jwt-...`, `crt-...`) also refuse what
        issuers gave out before now. Of a subject goes what it acts with for others, too. Raises:
        ValueError for another `what`.
        """
        now = self._clock()
        condition = {
            "id": tokens.c.id == value,
            "subject": tokens.c.subject == value,
            "all": tokens.c.id.is_not(None),
        }.get(what)
        if condition is None:
            raise ValueError(f"cannot revoke by `{what}`: expected id, subject or all")
        async with self._database.write() as connection:
            gone = await self.withdraw(connection, condition)
            if what == "id":
                gone += await self.withdraw(connection, by_jwt(value))
            elif what == "subject":
                gone += await self._withdraw_acting(connection, value)
            await revoke_issued(connection, what, value, now)
            issued = what == "id" and value.startswith(ISSUED)
            count = max(1, len(gone)) if issued else len(gone)
            details = {"by": what, "count": count}
            self._trail.note(actor, "token-revoked", value or what, details, actors)
        self._tell(Revocation(what, "" if what == "all" else value, now))
        self.announce(gone if what == "id" else ())
        return count

    async def give_back(self, subject: Subject) -> int:
        """Revoke what `subject` itself came with, and the JWT that it was exchanged for, if any.

        Returns how many were live.
        """
        async with self._database.read() as connection:
            jwt = await own_jwt(connection, subject.token)
        count = await self.revoke("id", subject.token, subject.name, subject.actors)
        if jwt is not None:
            await self.revoke("id", jwt, subject.name, subject.actors)
        return count

    async def withdraw(
        self, connection: AsyncConnection, condition: ColumnElement[bool]
    ) -> tuple[str, ...]:
        """Revoke the live tokens that meet `condition`, in the caller's transaction.

        One that is over and that a browser's session stands on counts as live: it would be had
        anew. Returns their ids: for `announce`, when that is committed.
        """
        now = self._clock()
        renewed = tokens.c.id.in_(select(browser_sessions.c.token))
        done = await connection.execute(
            update(tokens)
            .where(condition, tokens.c.revoked.is_(None), (tokens.c.expires > now) | renewed)
            .values(revoked=now)
            .returning(tokens.c.id)
        )
        return tuple(str(identifier) for (identifier,) in done)

    async def demote(self, connection: AsyncConnection, subject: Subject) -> tuple[str, ...]:
        """Withdraw what earlier logins of `subject` gave and its issuer gives no more.

        `subject` comes of a login; a JWT of before a token was made says nothing of that. Returns
        their ids: for `announce`, when that is committed.
        """
        columns, issued = tokens.c, instant(subject.claims, "iat")
        earlier = (
            by_subject(subject.issuer, str(subject.claims.get("sub")))
            & columns.revoked.is_(None)
            & (columns.expires > self._clock())
            & (columns.created <= (issued or 0.0) + SKEW)
        )
        query = select(columns.id, columns.groups, columns.roles).where(earlier)
        more = [
            identifier
            for identifier, groups, roles in await connection.execute(query)
            if not (set(groups) <= set(subject.groups) and set(roles) <= set(subject.roles))
        ]
        gone = await self.withdraw(connection, columns.id.in_(more)) if more else ()
        if gone:
            details = {"by": "login", "count": len(gone)}
            self._trail.note(subject.name, "token-revoked", subject.name, details, subject.actors)
        return gone

    def announce(self, identifiers: Iterable[str]) -> None:
        """Have the sessions of tokens that were withdrawn ended."""
        now = self._clock()
        for identifier in identifiers:
            self._tell(Revocation("id", identifier, now))

    async def distrust(self, trusted: Collection[str]) -> int:
        """Revoke what was exchanged for JWTs of issuers that are not `trusted` any more."""
        async with self._database.write() as connection:
            gone = await self.withdraw(connection, by_others(trusted))
            if gone:
                details = {"by": "issuer", "count": len(gone)}
                self._trail.note("sallyport", "token-revoked", "issuer", details)
        self.announce(gone)
        return len(gone)

    async def prune(self) -> None:
        """Forget what the gateway gave by itself and is over for `REMEMBERED`. Called now and then.

        What somebody made stays listed, and so does what a browser's session stands on.
        """
        over = tokens.c.expires < self._clock() - REMEMBERED
        given = tokens.c.via.not_in(("", BREAK_GLASS))
        stands = tokens.c.id.in_(select(browser_sessions.c.token))
        async with self._database.write() as connection:
            await connection.execute(delete(tokens).where(given, over, ~stands))

    async def save_uses(self) -> None:
        """Keep when tokens were last used. Called now and then."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        async with self._database.write() as connection:
            statement = update(tokens).where(tokens.c.id == bindparam("token"))
            rows = [{"token": token, "at": at} for token, at in uses.items()]
            await connection.execute(statement.values(used=bindparam("at")), rows)

    async def owners(self, subject: str) -> frozenset[str]:
        """Return who made live tokens that stand for `subject`."""
        return frozenset(one.owner for one in await self.list(subject=subject, live=True))

    async def any_admin(self) -> bool:
        """Whether any live token that somebody made holds the admin role."""
        live = await self.list(live=True)
        return any("admin" in record.roles and not record.via for record in live)

    async def count(self) -> int:
        """Return how many tokens there are, live or not."""
        async with self._database.read() as connection:
            return int(await connection.scalar(select(func.count()).select_from(tokens)) or 0)

    async def _withdraw_acting(self, connection: AsyncConnection, actor: str) -> tuple[str, ...]:
        """Revoke the live tokens that somebody acts with for another."""
        live = tokens.c.revoked.is_(None) & (tokens.c.expires > self._clock())
        found = await connection.execute(select(tokens.c.id, tokens.c.actors).where(live))
        theirs = [identifier for identifier, actors in found if actor in actors]
        return await self.withdraw(connection, tokens.c.id.in_(theirs)) if theirs else ()

    async def _row(self, identifier: str) -> Row[Any] | None:
        async with self._database.read() as connection:
            found = await connection.execute(select(tokens).where(tokens.c.id == identifier))
            return found.first()

    def _admitted(self, record: TokenRecord, source: str) -> Subject | None:
        """Return the subject of a token that was proven, if it is in force, and here."""
        now = self._clock()
        if record.state(now) != "live":
            return None
        if not taken_from(record, source):
            return None
        self._note_use(record.id, now)
        if record.via == BREAK_GLASS:
            self._alarm(record, source, now)
        return subject_of(record)

    def _alarm(self, record: TokenRecord, source: str, now: float) -> None:
        """Say that somebody broke the glass: each token once in `QUIET` seconds.

        Raises: RecorderLost; then nobody is let in, for nobody would know.
        """
        if 0.0 <= now - self._alarmed.get(record.id, -QUIET) < QUIET:
            return
        details = {"subject": record.subject, "source": source, "owner": record.owner}
        self._trail.note(record.subject, "break-glass-used", record.id, details, record.actors)
        self._alarmed[record.id] = now
        self.alarms += 1
        _log.critical("break-glass token used", token=record.id, **details)

    def _note_use(self, identifier: str, now: float) -> None:
        """Remember a use; a login never waits for the store's write lock."""
        if len(self._uses) < MAXIMUM_USES:
            self._uses[identifier] = now

    def _tell(self, revocation: Revocation) -> None:
        for listener in self._listeners:
            listener(revocation)
