"""The PostgreSQL plugin: from an accepted socket to two legs that are ready for statements.

Theory of operation. `serve` reads the preamble to the byte (TLS, or a plain startup packet), then
the client's login; asks the gateway who this is and what may be reached; opens the target with
the gateway's own credential; and hands both legs with a codec to the relay. The client hears
AuthenticationOk only after the target is ready, so that whatever fails before is an error of the
connection. The cancel key that it gets is the gateway's own and means nothing to the target.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, final

import msgspec
import structlog

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.core.subject import Refused
from sallyport.protocols.base import CancelKey, Connection, Leg, Services, Wait
from sallyport.protocols.inspecting import Interpreted, SideDoor, TargetReport
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.classify import VERBS, Classifier
from sallyport.protocols.postgres.codec import Limits, PostgresCodec
from sallyport.protocols.postgres.endpoint import (
    Catalogues,
    SideConnection,
    cancel_target,
    open_target,
)
from sallyport.protocols.postgres.greeting import (
    GoneError,
    LegDialogue,
    ToldError,
    Within,
    client_certificate,
    greet,
)
from sallyport.protocols.postgres.inspect import MINIMUM_VERSION
from sallyport.protocols.postgres.inspect import inspect as inspect_target
from sallyport.protocols.postgres.interpret import interpret
from sallyport.protocols.postgres.login import Startup
from sallyport.protocols.postgres.mechanisms import NAMES, Known, Peer, authenticate
from sallyport.protocols.postgres.survey.discover import discover
from sallyport.protocols.postgres.survey.examine import examine
from sallyport.protocols.postgres.survey.opening import opened
from sallyport.protocols.postgres.survey.setup import setup
from sallyport.protocols.postgres.target_login import TargetLogin
from sallyport.protocols.survey import Discovery, Examination, MasksFor, Page
from sallyport.sql.facts import FACTS
from sallyport.sql.session import SessionState
from sallyport.sql.verbs import KINDS, QUALIFIED

LOGIN_DEADLINE: Final = 10.0
"""Seconds that a client has from its first byte to the last of its login."""
PARSER_STACK: Final = 512 * 1024 * 1024
"""Bytes of stack of the thread that parses large texts: the grammar recurses."""
LOOK_DEADLINE: Final = 2.0
"""Seconds that a session waits for the catalogue to be looked at again."""
REFRESHES: Final = 20
"""Snapshots taken at most for one need, where the catalogue changes while one is taken.

Every session that changes it waits for a snapshot before its next such change, and a change is
told twice (by this worker, by control): this covers as many sessions that build at once as
`pg_restore --jobs` is given in practice."""

_STATE_QUERY = "select pg_catalog.current_setting('search_path'), current_user::pg_catalog.text"
_NEXT_DOOR = "the gateway cannot reach the target for this session"

_log = structlog.get_logger("postgres")


@final
class _Look:
    """How the last look for an answer that came late went. `seen`: the catalogue was read."""

    def __init__(self) -> None:
        self.seen = True


@final
class PostgresPlugin:
    """Serves PostgreSQL clients. One a worker."""

    name = "postgres"
    verbs = VERBS
    facts = frozenset(FACTS)
    kinds = KINDS
    qualified = QUALIFIED
    mechanisms = NAMES
    alpn = ("postgresql",)

    def __init__(self) -> None:
        self._catalogues = Catalogues()
        self._classifier = Classifier()
        self._mask_key = secrets.token_bytes(32)
        self._deadline = LOGIN_DEADLINE
        self._limits = Limits()
        self._parser: ThreadPoolExecutor | None = None

    def configure(self, settings: Mapping[str, object]) -> None:
        """Take the settings that control pushed.

        `mask_key` (bytes), `login_timeout` (seconds), `result_bytes` (kept of each result).

        Without a key, hashes of masked values are the same within this process alone.
        """
        size = settings.get("result_bytes")
        if isinstance(size, int):
            self._limits = Limits(result_bytes=size)
        key = settings.get("mask_key")
        if isinstance(key, bytes) and key:
            self._mask_key = key
        deadline = settings.get("login_timeout")
        if isinstance(deadline, int | float) and deadline > 0:
            self._deadline = float(deadline)

    def stale(self, target: str, database: str) -> None:
        """Forget what is known of this target's catalogue: it may have changed."""
        self._catalogues.stale(target, database)

    async def inspect(self, door: SideDoor, grant: Grant) -> TargetReport:
        """Look at a target as a session would reach it. Changes nothing."""
        return await inspect_target(door, grant)

    async def interpret(
        self, door: SideDoor, target: str, database: str, login: str, text: str
    ) -> tuple[Interpreted, ...]:
        """Return the operations of `text` as a new session's first command. Runs nothing."""
        await self._catalogues.refresh(door, target, database)
        snapshot = self._catalogues.latest(target, database)
        state = SessionState.start(database, login, '"$user", public', MINIMUM_VERSION)
        known = (self._classifier, text, state, snapshot, target, self._mask_key)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool(), interpret, *known)

    async def discover(self, door: SideDoor, target: str, masks: MasksFor, page: Page) -> Discovery:
        """Look at samples and comments. Changes nothing. Raises: TargetUnavailable."""
        async with opened(door, self._catalogues, target, page.database) as at:
            late = _clock()
            named = masks(at.catalogue.tags)
            found = await discover(at.side, at.catalogue, named, page, late, asyncio.to_thread)
            return msgspec.structs.replace(found, database=at.database)

    async def examine(
        self, door: SideDoor, target: str, masks: MasksFor, page: Page
    ) -> Examination:
        """Look for what stands round the masks. Changes nothing. Raises: TargetUnavailable."""
        async with opened(door, self._catalogues, target, page.database) as at:
            late, named = _clock(), masks(at.catalogue.tags)
            found = await examine(
                at.side, at.catalogue, at.path, named, page, late, asyncio.to_thread
            )
            return msgspec.structs.replace(found, database=at.database)

    async def setup(
        self, door: SideDoor, target: str, masks: MasksFor, database: str, role: str
    ) -> str:
        """Return SQL of a login that sees masked views alone. Runs nothing of it.

        Raises: TargetUnavailable, ValueError.
        """
        async with opened(door, self._catalogues, target, database) as at:
            named = masks(at.catalogue.tags)
            return await asyncio.to_thread(setup, at.catalogue, named, at.database, role)

    def close(self) -> None:
        """End what outlives sessions: side connections, and the parser's thread."""
        self._catalogues.close()
        if self._parser is not None:
            self._parser.shutdown(wait=False)
            self._parser = None

    async def serve(self, connection: Connection, services: Services) -> None:
        """Serve one accepted connection until it ends."""
        until = asyncio.get_running_loop().time() + self._deadline
        try:
            async with asyncio.timeout_at(until):
                leg, login, encrypted = await greet(connection)
        except ToldError:
            return
        except ssl.SSLCertVerificationError as error:  # the handshake says no more to the client
            _log.info(
                "client certificate refused", source=connection.source, reason=error.verify_message
            )
            connection.abort()
            return
        except (TimeoutError, GoneError, EOFError, OSError, ssl.SSLError):
            connection.abort()
            return
        try:
            if login.cancel is not None:
                await services.cancel(_cancel_key(*login.cancel), connection.source)
            elif login.startup is not None:
                dialogue = LegDialogue(leg, login, _within(until))
                known = await self._known(
                    connection, services, dialogue, login.startup.user, encrypted
                )
                if known is not None:
                    await self._admit(connection, services, leg, login.startup, known, encrypted)
        finally:
            leg.close()

    async def _known(
        self,
        connection: Connection,
        services: Services,
        dialogue: LegDialogue,
        user: str,
        encrypted: bool,
    ) -> Known | None:
        """Find out who this is, by the listener's mechanism; None: the client knows why not."""
        peer = Peer(
            protocol=self.name,
            listener=connection.listener,
            source=connection.source,
            encrypted=encrypted,
            user=user,
            authentication=connection.authentication,
            certificate=client_certificate(dialogue.leg),
        )
        try:
            known = await authenticate(dialogue, services, peer)
        except ProtocolViolation as violation:
            dialogue.refuse(violation)
            return None
        except (TimeoutError, GoneError):
            connection.abort()
            return None
        if isinstance(known, Refused):
            dialogue.leg.write(_refusal("28P01", known))
            return None
        return known

    async def _admit(
        self,
        connection: Connection,
        services: Services,
        leg: Leg,
        startup: Startup,
        known: Known,
        encrypted: bool,
    ) -> None:
        """Find out what may be reached, and serve that session."""
        grant = await services.authorize(
            known.subject,
            connection,
            startup.database,
            known.login,
            startup.application,
            encrypted,
            startup.stated,
        )
        if isinstance(grant, Refused):
            leg.write(_refusal("42501", grant))
            return
        try:
            target, login, state = await self._open(services, grant, startup)
        except TargetUnavailable as unavailable:
            code = getattr(unavailable, "code", "08001")
            leg.write(replies.error(code, str(unavailable), severity="FATAL"))
        except ProtocolViolation as violation:
            _log.warning("target broke the protocol", target=grant.target.name, why=str(violation))
            leg.write(replies.error("08004", _NEXT_DOOR, severity="FATAL"))
        else:
            await self._run(services, grant, leg, target, startup, login, state)

    async def _open(
        self, services: Services, grant: Grant, startup: Startup
    ) -> tuple[Leg, TargetLogin, SessionState]:
        """Open the target, ask it where the session begins, and have a catalogue that fits."""
        target, login = await open_target(services, grant, startup.settings)
        try:
            side = SideConnection(target, grant.target.name)
            answer = await side.query(_STATE_QUERY)
            if len(answer) != 1 or len(answer[0]) != 2:
                raise TargetUnavailable(grant.target.name, "it does not say where a session begins")
            if not side.quiet:
                raise ProtocolViolation("target", "more than it was asked for")
            path, user = answer[0]
            state = SessionState.start(
                grant.target.database, user or grant.login, path or "", _major(login)
            )
            if not self._catalogues.fresh(grant.target.name, grant.target.database):
                await self._refresh(services, grant)
        except BaseException:
            target.close()
            raise
        return target, login, state

    async def _refresh(self, services: Services, grant: Grant) -> bool:
        """Have a snapshot of the catalogue that fits this moment, or keep what there is (False).

        FAILS CLOSED: without one nothing resolves, and what does not resolve is UNKNOWN.
        """
        name, database = grant.target.name, grant.target.database
        try:
            for _ in range(REFRESHES):
                await self._catalogues.refresh(services, name, database)
                if self._catalogues.latest(name, database) is not None:
                    return True
        except (TargetUnavailable, ProtocolViolation, ValueError) as error:
            _log.warning("no catalogue", target=name, database=database, why=str(error))
        return False

    async def _run(
        self,
        services: Services,
        grant: Grant,
        client: Leg,
        target: Leg,
        startup: Startup,
        login: TargetLogin,
        state: SessionState,
    ) -> None:
        """Tell the client that it is in, and relay until the session ends."""
        key = replies.KeyData(
            secrets.randbelow(0x7FFFFFFE) + 1,
            secrets.token_bytes(32 if startup.version >= messages.PROTOCOL_3_2 else 4),
        )
        services.register_cancel(grant, _cancel_key(*key))
        name, database = grant.target.name, grant.target.database
        look = _Look()
        codec = PostgresCodec(
            session=grant.session,
            target=name,
            classifier=self._classifier,
            clock=time.time,
            limits=self._limits,
            revision=lambda: services.policy_revision,
            state=state,
            catalogue=lambda: self._catalogues.latest(name, database),
            overdue=lambda: self._catalogues.overdue(services, name, database),
            seen=lambda: look.seen,
            write=grant.write,
            mask_key=self._mask_key,
        )
        client.write(_welcome(login.parameters, key))
        await services.relay(
            grant,
            client,
            target,
            codec,
            prepare=self._preparation(services, grant, look),
            cancel=_cancellation(services, grant, login.key),
        )

    def _preparation(
        self, services: Services, grant: Grant, look: _Look
    ) -> Callable[[Wait], Awaitable[None]]:
        """Return what carries out a codec's `Wait`."""

        async def prepare(wait: Wait) -> None:
            if wait.need == "parse":
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._pool(), self._classifier.prepare, wait.text)
            elif wait.need == "catalogue" and not wait.text:
                with contextlib.suppress(TimeoutError):  # then with what is known, for a while
                    async with asyncio.timeout(LOOK_DEADLINE):
                        await self._refresh(services, grant)
            elif wait.need == "late":
                look.seen = await self._refresh(services, grant)
            elif wait.need == "again":
                target = grant.target
                await self._catalogues.refresh(services, target.name, target.database)
            else:
                await self._refresh(services, grant)

        return prepare

    def _pool(self) -> ThreadPoolExecutor:
        """Return the thread that parses large texts; its stack is far deeper than others'."""
        if self._parser is None:
            self._parser = ThreadPoolExecutor(1, "parser")
            usual = threading.stack_size(PARSER_STACK)
            try:
                self._parser.submit(int).result()  # starts the thread
            finally:
                threading.stack_size(usual)
        return self._parser


def _within(until: float) -> Within:
    """Return what awaits a client's answer up to this instant of the loop's clock."""

    async def within(read: Awaitable[bytes]) -> bytes:
        async with asyncio.timeout_at(until):
            return await read

    return within


def _clock() -> Callable[[float], bool]:
    """Return what says whether so many seconds are over, from now on."""
    start = time.monotonic()
    return lambda seconds: time.monotonic() - start > seconds


def _cancellation(
    services: Services, grant: Grant, key: replies.KeyData | None
) -> Callable[[], Awaitable[None]]:
    """Return what sends the target's own cancel request."""

    async def cancel() -> None:
        if key is None:
            raise TargetUnavailable(grant.target.name, "it gave no key to cancel with")
        await cancel_target(services, grant, key)

    return cancel


def _cancel_key(pid: int, key: bytes) -> CancelKey:
    """Return what identifies a session for cancelling: process id and key, as on the wire."""
    return CancelKey(pid.to_bytes(4, "big") + key)


def _refusal(code: str, refused: Refused) -> bytes:
    """Return the FATAL error for access that was not given."""
    detail = f"refused by rule `{'`, `'.join(refused.rules)}`" if refused.rules else ""
    return replies.error(code, refused.reason, severity="FATAL", detail=detail, hint=refused.hint)


def _welcome(parameters: dict[str, str], key: replies.KeyData) -> bytes:
    """Return what a client hears once the target is ready."""
    parts = [replies.authentication(replies.AUTH_OK)]
    parts.extend(replies.parameter_status(name, text) for name, text in parameters.items())
    parts.append(replies.key_data(key.pid, key.key))
    parts.append(replies.ready("I"))
    return b"".join(parts)


def _major(login: TargetLogin) -> int:
    """Return the server's major version, 0 where it does not say."""
    digits = login.parameters.get("server_version", "").split(".")[0].split("devel")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
