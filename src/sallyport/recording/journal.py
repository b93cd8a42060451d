"""Journal: a worker's append-only account of everything that its sessions did.

`record` takes events, `flush` puts all of them into the file with one write, `commit` returns when
they are durable, many waiters sharing one fdatasync in a thread. Records are chained by SHA-256,
over files too. Control follows the file, and cuts sessions from it (`recording.follow`).

FAILS CLOSED: the first write or sync that fails loses the journal for good, since after a failed
fdatasync the kernel may call lost pages clean: every later call raises RecorderLost, and the
process starts anew with a new file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

from sallyport.core.errors import RecorderLost
from sallyport.core.event import (
    Audited,
    JournalEnded,
    JournalStarted,
    RecordedEvent,
    ResultRows,
    SessionClosed,
    SessionOpened,
)
from sallyport.recording.encoding import encode
from sallyport.recording.files import (
    BLOCK,
    EVENT,
    EVENTS,
    JOURNAL,
    MAXIMUM_FRAME,
    NOTHING,
    Cipher,
    FormatError,
    Header,
    frame,
    join_events,
    make_folder,
)
from sallyport.recording.grouping import GroupedSync
from sallyport.recording.space import Quota, Reserve
from sallyport.recording.torn import end_of, journal_name, journals
from sallyport.recording.writer import Writer

FILE_BYTES = 64 * 1024 * 1024
"""Bytes after which the next file begins."""
RESERVE = 64 * 1024 * 1024
"""Bytes kept aside so that pending operations finish on a full disk."""
SUBJECT_BYTES = 1024 * 1024 * 1024
"""Bytes that one subject may put on record in an hour."""
UNSYNCED = 16 * 1024 * 1024
"""Bytes not yet durable at which reading from targets stops."""
PENDING = 1024 * 1024
"""Bytes of rows not yet written at which `record` writes by itself."""
INTERVAL = 1.0
"""Seconds within which what was written without a commit is synced all the same."""


_forks = 0
"""How often this process was made by a fork that Python did: a child must not write on."""


def _forked() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


class Journal:
    """One worker's journal; implements `core.ports.Recorder`.

    Opening it seals what a crashed predecessor of the same name left, and links on to its chain.
    `on_lost` is called once, with the reason. Raises: RecorderLost when no file can be begun.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        *,
        key: bytes | None = None,
        file_bytes: int = FILE_BYTES,
        reserve: int = RESERVE,
        subject_bytes_per_hour: int | None = SUBJECT_BYTES,
        unsynced: int = UNSYNCED,
        on_lost: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lost: str | None = None
        self._folder = folder
        self._worker = worker
        self._key = key
        self._file_bytes = file_bytes
        self._unsynced = unsynced
        self._on_lost = on_lost
        self._forks = _forks
        self._pending: list[RecordedEvent] = []
        self._pending_bytes = 0
        self._subjects: dict[str, str] = {}
        self._quota = Quota(subject_bytes_per_hour, clock)
        self._written = 0
        self._synced = 0
        self._covers = 0
        self._retired: list[Writer] = []
        self._renamed = True
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._group = GroupedSync(self._begin_sync, self._end_sync)
        try:
            make_folder(folder)
            self._reserve = Reserve(folder, worker, reserve, clock)
            sequence, previous = self._predecessor()
            self._writer = self._begin_file(sequence + 1, previous, "started")
        except (OSError, FormatError, ValueError) as error:
            self._group.close()
            raise RecorderLost(f"no journal can be begun in `{folder}`: {error}") from error

    @property
    def path(self) -> Path:
        """The file that is written to now."""
        return self._writer.path

    @property
    def full(self) -> bool:
        """Whether to stop reading from targets until a commit has caught up."""
        return self._written - self._synced + self._pending_bytes >= self._unsynced

    def refusal(self, subject: str) -> str | None:
        """Why no new operation of `subject` may be recorded, or None.

        What is pending may still be recorded: the reserve is there for it.
        """
        if self.lost is not None:
            return f"the recorder is lost: {self.lost}"
        if self._closed:
            return "the recorder is closed"
        return self._reserve.refusal() or self._quota.refusal(subject)

    def record(self, event: RecordedEvent) -> None:
        """Take an event in order. Raises: RecorderLost."""
        if self.lost is not None or self._closed:
            raise RecorderLost(self.lost or "closed")
        self._pending.append(event)
        kind = type(event)
        if kind is ResultRows:
            self._pending_bytes += len(event.data)  # type: ignore[union-attr]
            if self._pending_bytes >= PENDING:
                self.flush()
        elif kind is SessionOpened:
            self._subjects[event.session] = event.subject  # type: ignore[union-attr]

    def audit(self, event: Audited) -> None:
        """Record what was done to the product, and write it at once. Raises: RecorderLost."""
        self.record(event)
        self.flush()

    def flush(self) -> None:
        """Write all that was taken to the file (one write). Raises: RecorderLost."""
        if self.lost is not None:
            raise RecorderLost(self.lost)
        if not self._pending:
            return
        if self._forks != _forks:
            raise RecorderLost("a journal is written to by the process that opened it alone")
        events, self._pending = self._pending, []
        self._pending_bytes = 0
        try:
            if self._writer.size >= self._file_bytes:
                self._rotate()
            self._append(self._encode(events))
        except (OSError, ValueError) as error:
            reason = f"journal cannot be written: {error}"
            self._lose(reason)
            raise RecorderLost(reason) from error
        self._sync_soon()

    async def commit(self) -> None:
        """Return when all that was taken so far is durable. Raises: RecorderLost."""
        self.flush()
        if self._synced >= self._written:
            return
        try:
            await asyncio.shield(self._group.request())
        except (OSError, RuntimeError) as error:
            raise RecorderLost(self.lost or str(error)) from error
        if self.lost is not None:
            raise RecorderLost(self.lost)

    async def close(self, reason: str = "closed") -> None:
        """End the journal in good order: its last record, durable. Raises: RecorderLost."""
        if self._closed:
            return
        try:
            self.flush()
            self.record(JournalEnded("", time.time(), reason))
            self._closed = True
            await self.commit()
        finally:
            self._closed = True
            self.abandon()
        self._reserve.release()

    def abandon(self) -> None:
        """Let go of the file as it is, as a crash would: the next to open the folder seals it."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._group.close()
        for writer in (*self._retired, self._writer):
            writer.close()

    def _predecessor(self) -> tuple[int, bytes]:
        mine = [found for found in journals(self._folder) if found[0] == self._worker]
        if not mine:
            return 0, NOTHING
        for _, _, path in mine[:-1]:
            end_of(path, self._key)
        _, sequence, path = mine[-1]
        return sequence, end_of(path, self._key)

    def _begin_file(self, sequence: int, previous: bytes, reason: str) -> Writer:
        """Make, start and show the next file. Its first record is in it before it can be seen."""
        header = Header.make(JOURNAL, self._key)
        path = self._folder / journal_name(self._worker, sequence)
        writer = Writer(path, header, self._reserve.give_back)
        started = JournalStarted("", time.time(), self._worker, sequence, previous, reason=reason)
        self._sequence = sequence
        self._chain = header.seed
        self._cipher: Cipher | None = header.cipher(self._key)
        data, ends = self._encode([started])
        try:
            writer.append(data, ends)
            writer.publish()
        except BaseException:
            writer.discard()
            raise
        self._renamed = True
        self._written += writer.size
        return writer

    def _rotate(self) -> None:
        """Go on in a new file. The old one is synced and closed by the next sync."""
        self._append(self._encode([JournalEnded("", time.time(), "rotated")]))
        old = self._writer
        self._writer = self._begin_file(self._sequence + 1, self._chain, "rotated")
        self._retired.append(old)

    def _append(self, encoded: tuple[bytes, list[int]]) -> None:
        data, ends = encoded
        self._writer.append(data, ends)
        self._written += len(data)

    def _encode(self, events: list[RecordedEvent]) -> tuple[bytes, list[int]]:
        """Return the frames of `events` and where each ends. Raises: ValueError.

        What one session did since the last write is one frame: a hash each, and nothing of it
        has to be read by whoever wants another session.
        """
        by_session: dict[str, list[bytes]] = {}
        closed: list[str] = []
        for event in events:
            payload = encode(event)
            if len(payload) > MAXIMUM_FRAME // 2:
                raise ValueError(f"event of {len(payload)} bytes is too long to be recorded")
            gathered = by_session.get(event.session)
            if gathered is None:
                by_session[event.session] = [payload]
            else:
                gathered.append(payload)
            if type(event) is SessionClosed:
                closed.append(event.session)
        parts: list[bytes] = []
        for session, payloads in by_session.items():
            if session:
                size = sum(map(len, payloads))
                self._quota.spend(self._subjects.get(session, ""), size)
            self._frame(payloads, parts)
        for session in closed:
            self._subjects.pop(session, None)
        if len(parts) == 1:
            return parts[0], [len(parts[0])]
        return b"".join(parts), list(accumulate(map(len, parts)))

    def _frame(self, payloads: list[bytes], parts: list[bytes]) -> None:
        """Add one frame of all `payloads` to `parts`, or several where that grows too long."""
        begin = 0
        while begin < len(payloads):
            end, size = begin + 1, len(payloads[begin])
            while end < len(payloads) and size < MAXIMUM_FRAME // 4:
                size += len(payloads[end])
                end += 1
            kind, body = EVENT, payloads[begin]
            if end - begin > 1:
                kind, body = EVENTS, join_events(payloads[begin:end])
            if self._cipher is not None:
                kind, body = BLOCK, self._cipher.seal(kind, body, self._chain)
            whole, self._chain = frame(kind, body, self._chain)
            parts.append(whole)
            begin = end

    def _begin_sync(self) -> Callable[[], None]:
        """Take stock, on the loop, of what one sync makes durable; return the thread's job."""
        self._covers = self._written
        retired, self._retired = self._retired, []
        current, renamed = self._writer, self._renamed
        self._renamed = False

        def sync() -> None:
            for writer in retired:
                try:
                    writer.sync()
                finally:
                    writer.close()
            current.sync()
            if renamed:
                current.sync_name()

        return sync

    def _end_sync(self, error: BaseException | None) -> None:
        if error is None:
            self._synced = self._covers
        else:
            self._lose(f"journal cannot be made durable: {error}")

    def _sync_soon(self) -> None:
        """See to it that what nobody commits is durable within INTERVAL, or when it grows."""
        if self._timer is not None and self._written - self._synced < self._unsynced // 2:
            return
        with contextlib.suppress(RuntimeError):
            loop = asyncio.get_running_loop()
            if self._timer is None:
                self._timer = loop.call_later(INTERVAL, self._sync_now)
            if self._written - self._synced >= self._unsynced // 2 and self._group.idle:
                self._group.request()

    def _sync_now(self) -> None:
        self._timer = None
        if self._synced < self._written and self.lost is None and not self._closed:
            self._group.request()

    def _lose(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        self._pending.clear()
        if self._on_lost is not None:
            self._on_lost(reason)
