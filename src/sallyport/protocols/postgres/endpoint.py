"""Endpoints at a target: opening one, asking one a question, cancelling, and the catalogues.

Theory of operation. `open_target` dials, encrypts as the target demands and logs in; there is no
fallback to plain text and none to a weaker login. A `SideConnection` asks simple queries there.
`Catalogues` keeps the newest snapshot of each (target, database): whoever needs a newer one asks
`refresh`, concurrent asks share one, and `stale` makes the old one unusable at once, so that a
statement after DDL waits for the new one instead of being read by the old.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from time import monotonic
from typing import Final, Protocol, final

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.core.grant import Grant, TargetAddress
from sallyport.core.subject import Secret
from sallyport.protocols.base import Leg
from sallyport.protocols.inspecting import SideDoor
from sallyport.protocols.postgres import catalog, catalog_queries, frames, messages, replies
from sallyport.protocols.postgres.scram import end_point
from sallyport.protocols.postgres.target_login import Floor, TargetLogin, VersionRefused
from sallyport.sql.catalogue import CatalogueSnapshot

LOGIN_DEADLINE: Final = 15.0
"""Seconds that a target has from the first byte until it is ready."""
CANCEL_DEADLINE: Final = 10.0
"""Seconds that a target has to take a cancel request and close that connection."""
QUERY_DEADLINE: Final = 30.0
"""Seconds that a target has for one of the gateway's own queries."""
SNAPSHOT_DEADLINE: Final = 60.0
"""Seconds that a whole snapshot may take, from dialling to the last row."""
QUERY_LIMIT: Final = 128 * 1024 * 1024
"""Bytes that one of the gateway's own queries may return."""
LOCK_TIMEOUT: Final = 500
"""Milliseconds that the gateway's own queries may wait for a lock."""
LOCK_NOT_AVAILABLE: Final = "55P03"
UNREAD: Final = "views unread"
"""The digest of a snapshot without some view's definition: never that of a catalogue."""
IDLE_SIDE: Final = 30.0
"""Seconds that an unused side connection stays open."""
FRESH: Final = 1.0
"""Seconds for which a session that starts takes a snapshot's digest to be still right."""
LOOK_AGAIN: Final = 1.0
"""Seconds after which a snapshot that is decided by is compared with the catalogue again."""
LONGEST_LOOK: Final = 20.0
"""As many, where the comparison itself takes long."""
SHARE: Final = 50
"""How many times as long as it took a comparison may lie back: this much is left for others."""
OVERDUE: Final = 3
"""How many times that a session goes on before it waits for the comparison."""
FORGOTTEN: Final = 60.0
"""Seconds after which a snapshot that could not be compared is not decided by any more."""
SPELLED: Final = {
    "bytea_output": "hex", "datestyle": "ISO", "extra_float_digits": "1",
    "intervalstyle": "postgres", "lc_monetary": "C",
}  # fmt: skip
"""How constants are written in definitions of views: so that any session reads them the same."""
MAXIMUM_CATALOGUES: Final = 256
"""Snapshots kept, of as many (target, database) pairs."""

Rows = list[list[str | None]]


class Dialer(Protocol):
    """As much of `Services` as it takes to reach a target."""

    async def dial(self, grant: Grant) -> Leg:
        """Reach the target, plain. Raises: TargetUnavailable."""

    async def start_tls(self, grant: Grant, leg: Leg) -> Leg:
        """Encrypt a dialled leg. Raises: TargetUnavailable."""


def is_local(address: TargetAddress) -> bool:
    """Whether the way to `address` cannot leave this host."""
    if address.host.startswith("/") or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def floor_of(address: TargetAddress) -> Floor:
    """Return how far the way to `address` is known to be the target's."""
    if address.tls in ("verify-ca", "verify-full"):
        return Floor.VERIFIED
    return Floor.LOCAL if is_local(address) else Floor.UNVERIFIED


async def reach(dialer: Dialer, grant: Grant) -> Leg:
    """Dial the grant's target and encrypt as it demands.

    FAILS CLOSED: where TLS is demanded, anything but a plain `S` ends the attempt, and so does
    any byte behind it, which would otherwise be taken for encrypted.
    Raises: TargetUnavailable.
    """
    leg = await dialer.dial(grant)
    if grant.target.address.tls == "disable":
        return leg
    try:
        leg.write(messages.SSL_REQUEST)
        answer = await leg.read()
        if answer == b"S":
            return await dialer.start_tls(grant, leg)
    except BaseException:
        leg.close()
        raise
    leg.close()
    why = "it does not speak TLS" if answer[:1] in (b"N", b"E", b"") else "it does not answer"
    raise TargetUnavailable(grant.target.name, f"{why}, and the target demands TLS")


async def open_target(
    dialer: Dialer,
    grant: Grant,
    settings: Mapping[str, str],
    *,
    credential: Secret | None = None,
) -> tuple[Leg, TargetLogin]:
    """Return a leg on which the grant's target is ready, and how the login went.

    `credential` goes in the place of the grant's own (an empty one shows whether none is needed).
    A server that does not take protocol 3.2 is dialled once more with 3.0.
    Raises: TargetUnavailable, ProtocolViolation.
    """
    secret = grant.credential if credential is None else credential
    try:
        async with asyncio.timeout(LOGIN_DEADLINE):
            try:
                return await _log_in(dialer, grant, settings, secret, messages.PROTOCOL_3_2)
            except VersionRefused:
                return await _log_in(dialer, grant, settings, secret, messages.PROTOCOL_3_0)
    except TimeoutError:
        raise TargetUnavailable(
            grant.target.name, f"no login within {LOGIN_DEADLINE:.0f} s"
        ) from None


async def _log_in(
    dialer: Dialer, grant: Grant, settings: Mapping[str, str], credential: Secret, version: int
) -> tuple[Leg, TargetLogin]:
    """Dial and log in, in protocol `version`."""
    leg = await reach(dialer, grant)
    try:
        tls = leg.tls
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        login = TargetLogin(
            target=grant.target.name,
            login=grant.login,
            database=grant.target.database,
            credential=credential,
            settings=dict(settings),
            write=grant.write,
            floor=floor_of(grant.target.address),
            encrypted=tls is not None,
            binding=end_point(certificate) if certificate else None,
            md5=grant.target.settings.get("md5") is True,
            version=version,
        )
        leg.write(login.start())
        while not login.done:
            data = await leg.read()
            if not data:
                raise TargetUnavailable(grant.target.name, "it closed the connection in the login")
            # SCRAM derives a key over thousands of rounds: not on the loop
            answer = await asyncio.to_thread(login.receive, data)
            if answer:
                leg.write(answer)
        return leg, login
    except BaseException:
        leg.close()
        raise


async def cancel_target(dialer: Dialer, grant: Grant, key: replies.KeyData) -> None:
    """Send a cancel request for the session of `key`; return when the target closed that socket.

    Only then can the cancel no longer hit a later statement. Raises: TargetUnavailable.
    """
    leg = await reach(dialer, grant)
    try:
        async with asyncio.timeout(CANCEL_DEADLINE):
            leg.write(messages.cancel_request(key.pid, key.key))
            await leg.drain()
            while await leg.read():
                pass
    except TimeoutError:
        raise TargetUnavailable(grant.target.name, "it does not close a cancel request") from None
    finally:
        leg.close()


@final
class QueryFailed(TargetUnavailable):
    """The target refuses one of the gateway's own queries, with this SQLSTATE."""

    def __init__(self, target: str, code: str) -> None:
        super().__init__(target, f"it refuses the gateway's own query (SQLSTATE {code})")
        self.code = code


class SideConnection:
    """Asks simple queries on a leg that stands after its login. Not to be shared by tasks."""

    def __init__(self, leg: Leg, target: str) -> None:
        self._leg = leg
        self._target = target
        self._splitter = frames.Splitter("target")
        self._splitter.keep(frames.DATA_ROW)
        self.warm = False
        """Whether the catalogue was compared here before."""

    async def query(self, sql: str, *, limit: int = QUERY_LIMIT) -> Rows:
        """Run one statement and return its rows as text. `limit`: bytes that it may answer with.

        Raises: TargetUnavailable where it fails: the text of the server's error stays here.
        """
        self._leg.write(messages.query(sql))
        rows: Rows = []
        code: str | None = None
        size = 0
        try:
            async with asyncio.timeout(QUERY_DEADLINE):
                while True:
                    piece = self._splitter.next()
                    if piece is None:
                        data = await self._leg.read()
                        size += len(data)
                        if not data or size > limit:
                            raise TargetUnavailable(
                                self._target, "it does not answer the gateway's own query"
                            )
                        self._splitter.feed(data)
                    elif piece.type == frames.DATA_ROW:
                        rows.extend(_cells(piece))
                    elif piece.type == frames.ERROR_RESPONSE:
                        code = replies.parse_fields(piece.body).get("C", "")
                    elif piece.type == frames.READY_FOR_QUERY:
                        if code is None:
                            return rows
                        raise QueryFailed(self._target, code)
        except TimeoutError:
            raise TargetUnavailable(
                self._target, "it does not answer the gateway's own query"
            ) from None

    @property
    def quiet(self) -> bool:
        """Whether nothing is left over that somebody else on this leg would miss."""
        return self._splitter.between

    def close(self) -> None:
        """End the session politely."""
        self._leg.write(messages.TERMINATE)
        self._leg.close()


def _cells(piece: frames.Piece) -> Rows:
    """Return the cells of a run of DataRows as text."""
    rows: Rows = []
    data = piece.data
    position = 0
    for _ in range(piece.count):
        end = position + 1 + int.from_bytes(data[position + 1 : position + 5], "big")
        cells = replies.parse_data_row(data[position + 5 : end])
        try:
            rows.append([None if cell is None else cell.decode("utf-8") for cell in cells])
        except UnicodeDecodeError:
            raise ProtocolViolation("target", "a cell is not UTF-8") from None
        position = end
    return rows


@final
class _Entry:
    """What is known of one (target, database)."""

    def __init__(self) -> None:
        self.snapshot: CatalogueSnapshot | None = None
        self.digest = ""
        self.checked = 0.0
        self.costs = (0.0, 0.0)
        """Seconds that the last two comparisons took, but for a connection's first, which finds
        the server unprepared."""
        self.generation = 0
        """Counts up with each `stale`: a snapshot of an earlier one is not used."""
        self.taken = -1
        """The generation that the snapshot belongs to."""
        self.asked = 0
        self.answered = 0
        self.task: asyncio.Task[None] | None = None
        self.side: SideConnection | None = None
        self.side_grant: Grant | None = None
        self.idle: asyncio.TimerHandle | None = None

    def drop_side(self) -> None:
        """Close the side connection, if there is one."""
        side, self.side = self.side, None
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None
        if side is not None:
            side.close()


@final
class Catalogues:
    """The newest catalogue snapshot of each (target, database), shared by a worker's sessions."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def latest(self, target: str, database: str) -> CatalogueSnapshot | None:
        """Return the snapshot to decide by; None where there is none that may be used.

        FAILS CLOSED: one that was not compared with the catalogue for long may not.
        """
        entry = self._entries.get((target, database))
        if entry is None or entry.taken != entry.generation:
            return None
        return entry.snapshot if monotonic() - entry.checked < FORGOTTEN else None

    def overdue(self, services: SideDoor, target: str, database: str) -> bool:
        """Whether a session has to wait for the snapshot to be compared with the catalogue.

        What changes beside the gateway is told by nobody. While sessions are busy the comparison
        is begun in time, so that none of them waits.
        """
        entry = self._entries.get((target, database))
        if entry is None or entry.taken != entry.generation:
            return False  # there is no snapshot: whoever needs one says so
        age = monotonic() - entry.checked
        if age < LOOK_AGAIN:
            return False
        due = min(max(LOOK_AGAIN, SHARE * min(entry.costs)), LONGEST_LOOK)
        if age > OVERDUE * due:
            return True
        if age > due and entry.task is None:
            self._begin(services, target, database, entry)
        return False

    def stale(self, target: str, database: str) -> None:
        """Forget the snapshot: the catalogue may have changed. `database` "" means all of them."""
        for (known, other), entry in self._entries.items():
            if known == target and database in ("", other):
                entry.generation += 1

    def close(self) -> None:
        """Close every side connection."""
        for entry in self._entries.values():
            entry.drop_side()

    def fresh(self, target: str, database: str) -> bool:
        """Whether there is a snapshot whose digest was checked a moment ago."""
        entry = self._entries.get((target, database))
        if entry is None or entry.taken != entry.generation:
            return False
        return monotonic() - entry.checked < FRESH

    async def refresh(self, services: SideDoor, target: str, database: str) -> None:
        """Have a snapshot that is not older than this call. Concurrent calls share the work.

        Raises: TargetUnavailable, ProtocolViolation.
        """
        entry = self._entry(target, database)
        entry.asked += 1
        mine = entry.asked
        while entry.answered < mine:
            # A task that is done, but whose end was not yet told, must not be awaited: that returns
            # at once, for ever, and the loop never comes to telling.
            task = entry.task
            if task is None or task.done():
                task = self._begin(services, target, database, entry)
            await asyncio.shield(task)

    def _begin(
        self, services: SideDoor, target: str, database: str, entry: _Entry
    ) -> asyncio.Task[None]:
        """Begin to take a snapshot."""
        task = asyncio.create_task(self._take_in_time(services, target, database, entry))
        entry.task = task
        task.add_done_callback(partial(self._took, entry, entry.asked))
        return task

    @staticmethod
    def _took(entry: _Entry, covers: int, done: asyncio.Task[None]) -> None:
        """Called when a refresh ended: those who asked before it began are answered."""
        if entry.task is done:
            entry.task = None
        if not done.cancelled() and done.exception() is None:
            entry.answered = max(entry.answered, covers)

    def _entry(self, target: str, database: str) -> _Entry:
        """Return the entry of this pair, the newest from now; the oldest goes where it is full."""
        key = (target, database)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
            if len(self._entries) > MAXIMUM_CATALOGUES:
                self._entries.popitem(last=False)[1].drop_side()
        self._entries.move_to_end(key)
        return entry

    async def _take_in_time(
        self, services: SideDoor, target: str, database: str, entry: _Entry
    ) -> None:
        """Take a snapshot before its deadline."""
        try:
            async with asyncio.timeout(SNAPSHOT_DEADLINE):
                await self._take(services, target, database, entry)
        except TimeoutError:
            raise TargetUnavailable(target, "its catalogue cannot be read in time") from None

    async def _take(self, services: SideDoor, target: str, database: str, entry: _Entry) -> None:
        """Take a snapshot, unless the digest shows that nothing changed."""
        generation = entry.generation
        side = entry.side
        reused = side is not None and self._usable(entry)
        try:
            if side is None or not reused:
                side = await self._connect(services, target, database, entry)
            began = monotonic()
            try:
                digest = _digest_text(await side.query(catalog_queries.DIGEST_QUERY))
            except TargetUnavailable:
                if not reused:
                    raise  # else it was closed while it lay idle
                side = await self._connect(services, target, database, entry)
                began = monotonic()
                digest = _digest_text(await side.query(catalog_queries.DIGEST_QUERY))
            if side.warm:
                entry.costs = (entry.costs[1], monotonic() - began)
            side.warm = True
            if entry.snapshot is None or entry.digest != digest:
                began = monotonic()
                await self._load(side, entry)
        except BaseException:
            entry.drop_side()
            raise
        entry.taken = generation
        entry.checked = began
        entry.idle = asyncio.get_running_loop().call_later(IDLE_SIDE, entry.drop_side)

    @staticmethod
    async def _load(side: SideConnection, entry: _Entry) -> None:
        """Read the whole catalogue as of one moment, with the digest that belongs to it."""
        await side.query("begin isolation level repeatable read read only")
        await side.query(f"set local lock_timeout = {LOCK_TIMEOUT}")
        rows = {}
        for name, sql in catalog_queries.QUERIES.items():
            rows[name] = await (_views(side, sql) if name == "views" else side.query(sql))
        await side.query("commit")
        entry.snapshot = await asyncio.to_thread(catalog.build, rows)
        whole = all(definition is not None for _, definition in rows["views"])
        entry.digest = _digest_text(rows["digest"]) if whole else UNREAD

    @staticmethod
    def _usable(entry: _Entry) -> bool:
        """Stop the idle clock; whether the right to the side connection still holds."""
        if entry.idle is not None:
            entry.idle.cancel()
            entry.idle = None
        grant = entry.side_grant
        return grant is not None and grant.ended.reason is None

    async def _connect(
        self, services: SideDoor, target: str, database: str, entry: _Entry
    ) -> SideConnection:
        """Open a side connection. Its search_path is empty: no name comes before the server's."""
        entry.drop_side()
        grant = await services.dial_catalogue(target, database)
        settings = {"application_name": "sallyport catalogue", "search_path": "", **SPELLED}
        leg, _ = await open_target(services, grant, settings)
        entry.side_grant = grant
        entry.side = side = SideConnection(leg, target)
        return side


async def _views(side: SideConnection, sql: str) -> Rows:
    """Read the definitions of views; none of them where a lock stands in the way."""
    await side.query("savepoint views")
    try:
        return await side.query(sql)
    except QueryFailed as failed:
        if failed.code != LOCK_NOT_AVAILABLE:
            raise
        await side.query("rollback to savepoint views")
        return await side.query(catalog_queries.VIEWS_UNREAD)


def _digest_text(rows: Rows) -> str:
    """Return what `DIGEST_QUERY` answered as one text to compare."""
    return "\n".join("\t".join(cell or "" for cell in row) for row in rows)
