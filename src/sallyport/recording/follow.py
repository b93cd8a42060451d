"""Follower: control's side of the journals.

It reads what every worker writes, indexes it, shows it to whoever looks on, seals sessions that
are over, and deletes journals of which nothing is needed any more. Workers never wait for it: when
the store is gone it tries again from where the store last knew it to be.

INVARIANT: positions and rows change in one transaction, so nothing is counted twice. A journal is
deleted only when all its sessions are sealed, what belonged to no session is sealed too, and a
newer journal of the same worker carries its chain on.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from sallyport.core.event import JournalEnded, JournalStarted, LoginRefused
from sallyport.recording.changes import LOST, Changes, Numbers, closing_of
from sallyport.recording.cutting import cut_product, cut_session, finish_gathered
from sallyport.recording.encoding import encode
from sallyport.recording.feed import OPEN, Batch, Feed, Place
from sallyport.recording.files import FormatError
from sallyport.recording.glance import PRODUCT, Glance
from sallyport.recording.index import Index
from sallyport.recording.matching import Facts
from sallyport.recording.part import Row, Session
from sallyport.recording.places import Places
from sallyport.recording.records import CLOSED, SEALED
from sallyport.recording.sealed import BLOCK_BYTES, SealedWriter, Summary
from sallyport.recording.tail import BACKLOG_EVENTS, Seen, Tail
from sallyport.recording.torn import parse_name, sidecar
from sallyport.recording.who import who_said

log = structlog.get_logger("sallyport.recording")

POLL = 0.05
"""Seconds of the shortest rest between two looks at the journals."""
REST = 0.0005
"""Seconds that the rest grows by for each event of the last look: a look costs the same however
much it finds, so the busier the workers the fewer looks, and the cores are theirs."""
SLOWEST = 1.0
"""Seconds of the longest rest: how far the index may lag under load."""
WATCHED = 0.2
"""The same while somebody looks on."""
DEATHS = 1.0
"""Seconds between two looks at journals that do not stir: their writers may have died."""
GATHERED = 64 * 1024 * 1024
"""Bytes of open sessions' events that are held for their sealed files, all together."""
ASIDE = 4 * 1024 * 1024
"""Bytes of the product's own events that are held of one journal until it goes."""
KEEP = 600.0
"""Seconds that a journal stays after its last record."""
TIDY = 30.0
"""Seconds between two looks for journals that may go."""
RETRY = 1.0
"""Seconds to wait after the store or the disk failed."""

_INNER = (JournalStarted, JournalEnded)
"""Of no interest to whoever looks on."""

KEPT = "kept"
"""A journal that was deleted: all it held is in sealed files."""


TOGETHER = 50
"""Sealed sessions that the store is told of at once."""


class _Cut(Struct, frozen=True):
    """A session that was put into a sealed file when it had so many events."""

    session: Session
    events: int
    before: str
    path: str
    summary: Summary
    size: int

    def sealed(self) -> Row:
        """Return the session's row as it is from now on."""
        return self.session.row | {
            "state": SEALED,
            "path": self.path,
            "size": self.size,
            "root": self.summary.root.hex(),
            "extents": [],
        }


class Follower:
    """Follows the journals in `places` into the store behind `engine`.

    `problems` holds what is wrong now, by journal, session or `store`; health should show it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        places: Places,
        *,
        keep: float = KEEP,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.places = places
        self.index = Index(engine, places.sealing_key)
        self.tail = Tail()
        self.lock = asyncio.Lock()
        self.problems: dict[str, str] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.live: dict[str, Session] = {}
        self._keep = keep
        self._clock = clock
        self._feed: Feed | None = None
        self._journals: dict[str, Place] = {}
        self._aside: dict[str, list[bytes]] = {}
        self._more = False
        self.numbers = Numbers(1, 1, 1)
        self._news = asyncio.Event()
        self._cut = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to follow. Raises: SQLAlchemyError."""
        await self._load()
        self._tasks = [
            asyncio.create_task(self._follow(), name="recording-follow"),
            asyncio.create_task(self._seal(), name="recording-seal"),
            asyncio.create_task(self._tidy(), name="recording-tidy"),
        ]

    async def stop(self) -> None:
        """Stop at a batch's end. What is not done yet is done after the next start."""
        self._stopping.set()
        self._news.set()
        self._cut.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.tail.close()
        self._forget()

    def wake(self) -> None:
        """Look at the journals now."""
        self._news.set()

    async def step(self) -> int:
        """Index what is new; return how many events that were. Raises: SQLAlchemyError."""
        async with self.lock:
            if self._feed is None:
                await self._load()
            feed = self._feed
            if feed is None:
                return 0
            try:
                batches = await asyncio.to_thread(feed.poll)
                self._more = any(batch.more for batch in batches)
                return await self._apply(batches) if batches else 0
            except BaseException:
                self._forget()
                raise

    def _forget(self) -> None:
        """Know nothing any more: what counts is in the store and in the journals."""
        if self._feed is not None:
            self._feed.close()
            self._feed = None
        for session in self.live.values():
            if session.gathered is not None:
                session.gathered.discard()
        self.live = {}
        self._aside = {}

    async def seal_finished(self) -> int:
        """Seal every session that is over; return how many were."""
        over = [one for one in self.live.values() if one.row["state"] == CLOSED]
        done = 0
        while over and not self._stopping.is_set():
            some, over = over[:TOGETHER], over[TOGETHER:]
            made = [cut for cut in [await self._cut_out(session) for session in some] if cut]
            done += await self._note_sealed(made)
        return done

    async def tidy(self) -> int:
        """Delete journals of which nothing is needed any more; return how many went."""
        done = 0
        for name, path, place in self._removable():
            try:
                known = self._aside.get(name)
                await asyncio.to_thread(
                    cut_product, self.places, path, place.offset, place.chain, known
                )
                await asyncio.to_thread(_remove_journal, path)
            except (OSError, FormatError) as error:
                self._problem(name, f"journal cannot be put away: {error}")
                continue
            async with self.lock:
                await self.index.set_journal_state(name, KEPT)
                self._journals[name] = Place(place.offset, place.chain, KEPT)
                self._aside.pop(name, None)
            self.problems.pop(name, None)
            done += 1
        return done

    async def _load(self) -> None:
        places, live, self.numbers = await self.index.load()
        self._journals = places
        self.live = live
        self.problems |= {name: one.problem for name, one in places.items() if one.problem}
        self._feed = Feed(self.places, places)
        self._cut.set()

    async def _apply(self, batches: list[Batch]) -> int:
        unknown = {event.session for batch in batches for event in batch.events} - self.live.keys()
        if unknown:
            of_sessions = {
                event.session
                for batch in batches
                for event in batch.events
                if event.session in unknown and type(event) not in PRODUCT
            }
            self.live |= await self.index.lookup(of_sessions)
        changes = Changes(self.live, self.numbers, self._gather)
        for batch in batches:
            changes.take(batch, self._clock())
        await self.index.apply(batches, changes)
        for batch in batches:
            self._set_aside(batch.name, changes)
            self._journals[batch.name] = Place(
                batch.offset, batch.chain, batch.state, batch.problem
            )
            if batch.problem:
                self._problem(batch.name, batch.problem)
            elif batch.state == OPEN:
                self.problems.pop(batch.name, None)
        for problem in changes.problems:
            self._problem("index", problem)
        self.counts.update(changes.counts)
        self._publish(batches, changes)
        await self._spill(changes)
        self._cut.set()
        return sum(len(batch.events) for batch in batches)

    def _gather(self, name: str, opened: float) -> SealedWriter:
        """Begin the sealed file of a new session."""
        relative = self.places.session_file(name, opened, 1)
        return SealedWriter(self.places.root / relative, self.places.sealing_key)

    async def _spill(self, changes: Changes) -> None:
        """Write out what was gathered of sessions, where it is enough for a block or too much."""
        known = [one for one in self.live.values() if one.gathered is not None]
        total = sum(one.gathered.pending for one in known if one.gathered is not None)
        least = BLOCK_BYTES if total < GATHERED else 1
        for session in known:
            gathered = session.gathered
            if gathered is None or gathered.pending < least:
                continue
            try:
                await asyncio.to_thread(gathered.spill)
            except OSError as error:
                session.gathered = None
                gathered.discard()
                log.warning("session is cut at its end instead", id=session.id, error=str(error))

    def _set_aside(self, name: str, changes: Changes) -> None:
        """Keep the product's events of a journal that was read from its beginning, if few."""
        if name not in self._journals:
            self._aside[name] = []
        if name in self._aside and name in changes.aside:
            self._aside[name] += changes.aside[name]
            if sum(map(len, self._aside[name])) > ASIDE:
                del self._aside[name]

    def _publish(self, batches: list[Batch], changes: Changes) -> None:
        """Show what is new to whoever looks on; else keep the last of it for who comes later."""
        known: dict[str, Facts] = {}
        seen: list[Seen] = []
        room = None if self.tail.watched else BACKLOG_EVENTS
        seen += [
            Seen(encode(event), self._facts(event.session)) for event in reversed(changes.lost)
        ]
        for batch in reversed(batches):
            for place in range(len(batch.events) - 1, -1, -1):
                if room is not None and len(seen) >= room:
                    break
                event, payload = batch.events[place], batch.payloads[place]
                if type(event) in PRODUCT:
                    if type(event) not in _INNER:
                        seen.append(Seen(payload, _product_facts(event)))
                    continue
                facts = known.get(event.session)
                if facts is None:
                    facts = known[event.session] = self._facts(event.session)
                seen.append(Seen(payload, facts))
        seen.reverse()
        self.tail.publish(seen)

    def _facts(self, name: str) -> Facts:
        session = self.live.get(name)
        if session is None:
            return Facts(name)
        row = session.row
        return Facts(name, row["protocol"], row["application"], session.who)

    async def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                count = await self.step()
                self.problems.pop("store", None)
            except (SQLAlchemyError, sqlite3.Error, OSError) as error:
                self._problem("store", f"journals cannot be followed: {type(error).__name__}")
                await self._rest(RETRY)
                continue
            if not self._more:
                rest = min(POLL + count * REST, WATCHED if self.tail.watched else SLOWEST)
                await self._wait(rest)

    async def _wait(self, rest: float) -> None:
        """Rest, and then until a journal stirs, a death may have to be noticed, or `wake`."""
        until = time.monotonic() + max(rest, DEATHS)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    await self._news.wait()
            if self._news.is_set() or self._feed is None or self._feed.stirs():
                break
            if time.monotonic() >= until:
                break
            rest = POLL
        self._news.clear()

    async def _seal(self) -> None:
        while not self._stopping.is_set():
            await self._cut.wait()
            self._cut.clear()
            try:
                await self.seal_finished()
            except SQLAlchemyError as error:
                self._problem("store", f"sessions cannot be sealed: {type(error).__name__}")
                await self._rest(RETRY)
                self._cut.set()

    async def _tidy(self) -> None:
        while not self._stopping.is_set():
            await self._rest(TIDY)
            try:
                await self.tidy()
            except SQLAlchemyError as error:
                self._problem("store", f"journals cannot be put away: {type(error).__name__}")
            self._cut.set()

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _cut_out(self, session: Session) -> _Cut | None:
        """Put one session into its sealed file; None where that fails."""
        row = session.row
        async with self.lock:
            events, extents = row["events"], [list(one) for one in row["extents"]]
            gathered, session.gathered = session.gathered, None
        before = str(row["path"])
        closing = closing_of(row) if row["reason"] == LOST and not before else None
        made: tuple[str, Summary, int] | None = None
        try:
            if gathered is not None and gathered.events == events:
                made = await asyncio.to_thread(
                    finish_gathered, self.places, session.id, row["opened"], extents, gathered,
                    closing,
                )  # fmt: skip
            if made is None:
                made = await asyncio.to_thread(
                    cut_session, self.places, session.id, row["opened"], extents,
                    before=before, turn=_turn(before), closing=closing,
                )  # fmt: skip
        except (OSError, FormatError) as error:
            self._problem(session.id, f"session cannot be sealed: {error}")
            return None
        return _Cut(session, events, before, *made)

    async def _note_sealed(self, made: list[_Cut]) -> int:
        """Note in the store what was sealed, but for what went on meanwhile."""
        async with self.lock:
            done = [
                cut
                for cut in made
                if self.live.get(cut.session.id) is cut.session
                and cut.session.row["events"] == cut.events
            ]
            if len(done) < len(made):
                self._cut.set()
            if not done:
                return 0
            await self.index.save([Session(cut.sealed(), fresh=False) for cut in done])
            for cut in done:
                del self.live[cut.session.id]
        for cut in done:
            if cut.before and cut.before != cut.path:
                await asyncio.to_thread((self.places.root / cut.before).unlink, missing_ok=True)
            self.problems.pop(cut.session.id, None)
        return len(done)

    def _removable(self) -> list[tuple[str, Path, Place]]:
        needed = {extent[0] for session in self.live.values() for extent in session.extents}
        newest: dict[str, int] = {}
        for name in self._journals:
            worker, sequence = parse_name(name) or ("", 0)
            newest[worker] = max(sequence, newest.get(worker, 0))
        found: list[tuple[str, Path, Place]] = []
        for name, place in self._journals.items():
            worker, sequence = parse_name(name) or ("", 0)
            path = self.places.journals / name
            if place.state in (OPEN, KEPT) or name in needed or sequence == newest[worker]:
                continue
            if not place.problem and _age(path, self._clock()) >= self._keep:
                found.append((name, path, place))
        return found

    def _problem(self, about: str, text: str) -> None:
        if self.problems.get(about) != text:
            self.problems[about] = text
            log.error("recording problem", about=about, problem=text)


def _product_facts(event: Glance) -> Facts:
    """Return what filters look at. An audit is nobody's own, even if it names a session."""
    if isinstance(event, LoginRefused):
        return Facts("", event.protocol, "", who_said(event))
    return Facts()


def _turn(before: str) -> int:
    """Return the number of the next cut of a session whose last one lies at `before`."""
    if not before:
        return 1
    parts = Path(before).name.split(".")
    return int(parts[-2]) + 1 if len(parts) > 2 and parts[-2].isdigit() else 2


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return -1.0


def _remove_journal(path: Path) -> None:
    path.unlink(missing_ok=True)
    sidecar(path).unlink(missing_ok=True)
