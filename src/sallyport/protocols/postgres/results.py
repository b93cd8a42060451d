"""Results: one operation's rows on their way to the client, with all that its Allow demands.

A `Run` is an operation that was let through. Its rows are masked, held against the limits, hashed,
recorded (up to a limit; then counted) and accounted for, a chunk at a time. Where nothing is
masked the chunk leaves as it came: only headers are looked at.

What is hashed are row messages as sent, DataRow or CopyData with their headers; what is recorded
are their bodies, each after its length as int32 (`transcript` reads them).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol, final

from sallyport.core.decision import Allow, Deny, Limit
from sallyport.core.event import (
    FindingCount,
    FindingsCounted,
    RecordedEvent,
    ResultDescribed,
    ResultEnded,
    ResultRows,
)
from sallyport.core.operation import Operation
from sallyport.masking.findings import Keys
from sallyport.protocols.postgres.frames import Piece
from sallyport.protocols.postgres.replies import Field
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.statement import Statement

ROWS = "postgres/rows"
"""Encoding of recorded DataRow bodies."""
COPY = "postgres/copy"
"""Encoding of recorded CopyData bodies."""

_HEADER = struct.Struct(">Bi")
_LENGTH = struct.Struct(">i")
_FEW = 64
"""Columns of a result whose description is kept for the next one like it."""
_REST = 1.0
"""Seconds between two reports of what detectors found in one result."""
_SHORT = 1024
"""Bytes of an error that always leaves."""
_NO_ROWS = hashlib.sha256(b"").digest()


class Masker(Protocol):
    """What hides the secrets in a stream of whole row messages."""

    def mask(self, chunk: bytes) -> bytes:
        """Return `chunk` (whole messages, with headers) with everything hidden that must be."""

    def finish(self) -> bytes:
        """Return what was held back for a row's end, at the end of the stream."""

    @property
    def transforms(self) -> tuple[str, ...]:
        """The transform of each column, empty where there is none."""

    @property
    def found(self) -> bool:
        """Whether detectors found anything since the last `findings`."""

    def findings(self) -> list[FindingCount]:
        """Return what they found since, by columns that no mask names."""


class Account(NamedTuple):
    """What every result of a session needs: whose it is, the time, where events go.

    `keys`: the names that its findings were counted under.
    """

    session: str
    clock: Callable[[], float]
    emit: Callable[[RecordedEvent], None]
    recorded_bytes: int
    keys: Keys


@final
class Run:
    """An operation that was let through, and what has come of it.

    `counted`: how many results its text has is known. `catalogue`: what it was decided by.
    `stopped`: it was ended early, and why. `rewritten`: it masks at the source.
    `unseen`: columns are masked, and nothing of its answer was seen. `released` is in epoch
    seconds. `unspent_*` are not reported to the quotas yet.
    """

    __slots__ = (
        "_account",
        "_bytes_limit",
        "_hash",
        "_kept",
        "_pending",
        "_pending_rows",
        "_reported",
        "_rows_limit",
        "allow",
        "bytes",
        "catalogue",
        "counted",
        "described",
        "encoding",
        "inward",
        "masker",
        "operation",
        "over",
        "released",
        "rewritten",
        "rows",
        "statement",
        "stopped",
        "truncated",
        "unseen",
        "unspent_bytes",
        "unspent_rows",
    )

    def __init__(
        self, operation: Operation, statement: Statement, allow: Allow, account: Account
    ) -> None:
        self.operation = operation
        self.statement = statement
        self._account = account
        self.released = account.clock()
        self._reported = 0.0
        self._hash = hashlib.sha256() if statement.returns_rows or statement.copy else None
        self._pending: list[bytes] = []
        self._pending_rows = 0
        self._kept = 0
        self.catalogue: CatalogueSnapshot | None = None
        self.counted = True
        self.described = False
        self.encoding = ROWS
        self.inward = False
        self.masker: Masker | None = None
        self.over = False
        self.rewritten = False
        self.rows = 0
        self.bytes = 0
        self.unspent_rows = 0
        self.unspent_bytes = 0
        self.truncated = False
        self.stopped: Deny | None = None
        self.unseen = any(mask.columns for mask in allow.obligations.masks)
        self.decided(operation, allow)

    def decided(self, operation: Operation, allow: Allow) -> None:
        """Go on under a new decision about the same portal."""
        self.operation = operation
        self.allow = allow
        limits = allow.obligations.limits
        self._rows_limit, self._bytes_limit = _least(limits) if limits else (None, None)

    def describe(
        self,
        columns: tuple[str, ...],
        types: tuple[str, ...],
        formats: tuple[int, ...],
        masker: Masker | None,
    ) -> None:
        """The rows that follow have these columns."""
        self.flush()
        self.report()
        self.described = True
        self.masker = masker
        event = ResultDescribed(
            session=self._account.session,
            at=self._account.clock(),
            operation=self.operation.id,
            columns=columns,
            types=types,
            masks=masker.transforms if masker is not None else (),
            formats=formats,
        )
        self._account.emit(event)

    def describe_fields(self, fields: tuple[Field, ...], masker: Masker | None) -> None:
        """The DataRows that follow have these fields."""
        columns = _known_columns if len(fields) <= _FEW else _columns
        self.describe(*columns(fields), masker)

    def take(self, piece: Piece) -> bytes:
        """Return what may leave of rows, or of a part of one.

        At a limit `stopped` is set and the rest is dropped.
        A message that has begun to leave is sent to its end. Raises: whatever the masker does.
        """
        if not piece.first:
            self._count(piece.data, 0, whole=False)
            return piece.data
        data, count, size = piece.data, piece.count, piece.size
        if self.masker is not None:
            data = self.masker.mask(data)
            size = len(data)
            if self.encoding == COPY and data is not piece.data:
                count = _messages(data)  # rows may be held back, and come together later
        if not self._fits(count, size):
            data, count = self._cut(data, count) if piece.last else (b"", 0)
        if data:
            self._count(data, count, whole=piece.last)
        return data

    def finish(self) -> bytes:
        """Return what the masker held back, at the end of the rows. Raises: what it does."""
        rest = self.masker.finish() if self.masker is not None else b""
        if rest:
            self._count(rest, _messages(rest), whole=True)
        return rest

    def sent(self, piece: Piece) -> None:
        """Count and record what a client sends (COPY FROM STDIN)."""
        self.inward = True
        self._count(piece.data, piece.count if piece.first else 0, whole=piece.whole)

    def says(self, size: int) -> bool:
        """Whether an error of this size may leave: it can hold what rows would, so it counts."""
        if size > _SHORT and not self._fits(0, size):
            return False
        self.unspent_bytes += size
        return True

    def _fits(self, count: int, size: int) -> bool:
        rows, most = self._rows_limit, self._bytes_limit
        return (rows is None or self.rows + count <= (rows.rows or 0)) and (
            most is None or self.bytes + size <= (most.bytes or 0)
        )

    def _cut(self, data: bytes, count: int) -> tuple[bytes, int]:
        """Return the whole messages of `data` that fit, and how many."""
        position = taken = 0
        while taken < count:
            end = position + 1 + _HEADER.unpack_from(data, position)[1]
            if not self._fits(taken + 1, end):
                break
            position, taken = end, taken + 1
        self._over_limit(taken)
        return data[:position], taken

    def _over_limit(self, taken: int) -> None:
        rows, size = self._rows_limit, self._bytes_limit
        if rows is not None and self.rows + taken >= (rows.rows or 0):
            rule, reason = rows.rule, f"a result may have {rows.rows} rows"
        else:
            rule = size.rule if size is not None else ""
            reason = f"a result may have {size.bytes if size is not None else 0} bytes"
        hint = "narrow the statement, or ask for a higher limit"
        self.stopped = Deny((rule,), reason, hint)

    def _count(self, data: bytes, count: int, *, whole: bool) -> None:
        size = len(data)
        self.rows += count
        self.bytes += size
        if not self.inward:
            self.unspent_rows += count
            self.unspent_bytes += size
        if self._hash is None:
            self._hash = hashlib.sha256()
        self._hash.update(data)
        if self.truncated:
            return
        if self.allow.obligations.record != "full" or not whole:
            self.truncated = True  # what is not kept is counted and hashed
            return
        self._keep(data, count)

    def _keep(self, data: bytes, count: int) -> None:
        """Keep whole bodies up to the recording's limit."""
        limit = self._account.recorded_bytes
        position = 0
        unpack, pack = _HEADER.unpack_from, _LENGTH.pack
        pending = self._pending
        for _ in range(count):
            end = position + 1 + unpack(data, position)[1]
            size = end - position - 5
            if self._kept + size + 4 > limit:
                self.truncated = True
                return
            pending.append(pack(size))
            pending.append(data[position + 5 : end])
            self._kept += size + 4
            self._pending_rows += 1
            position = end

    def flush(self) -> None:
        """Record the rows that have gathered."""
        if not self._pending:
            return
        event = ResultRows(
            session=self._account.session,
            at=self._account.clock(),
            operation=self.operation.id,
            encoding=self.encoding,
            data=b"".join(self._pending),
            rows=self._pending_rows,
            direction="in" if self.inward else "out",
        )
        self._pending = []
        self._pending_rows = 0
        self._account.emit(event)

    def report(self, *, often: bool = True) -> None:
        """Record what detectors found since the last time; unless `often`, if that is a while ago.

        So it is known soon, and what is lost with the process is little.
        """
        if self.masker is None or not self.masker.found:
            return
        now = self._account.clock()
        if not often and 0.0 <= now - self._reported < _REST:
            return
        self._reported = now
        found = self._account.keys.bounded(self.masker.findings())
        if found:
            session, operation = self._account.session, self.operation.id
            self._account.emit(FindingsCounted(session, now, operation, found))

    def end(self, tag: str, code: str = "", message: str = "") -> None:
        """Record the end of it, once."""
        if self.over:
            return
        self.over = True
        self.flush()
        self.report()
        now = self._account.clock()
        event = ResultEnded(
            session=self._account.session,
            at=now,
            operation=self.operation.id,
            tag=tag,
            rows=self.rows,
            bytes=self.bytes,
            digest=self._hash.digest() if self._hash is not None and self.rows else _NO_ROWS,
            truncated=self.truncated,
            elapsed=max(now - self.released, 0.0),
            code=code,
            message=message[: self._account.recorded_bytes],
        )
        self._account.emit(event)


def _columns(
    fields: tuple[Field, ...],
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """Return names, types and formats, as they are recorded."""
    return (
        tuple(field.name for field in fields),
        tuple(str(field.type) for field in fields),
        tuple(field.format for field in fields),
    )


_known_columns = lru_cache(maxsize=256)(_columns)


@lru_cache(maxsize=256)
def _least(limits: tuple[Limit, ...]) -> tuple[Limit | None, Limit | None]:
    """Return the tightest limits on rows and on bytes."""
    rows = [limit for limit in limits if limit.rows is not None]
    size = [limit for limit in limits if limit.bytes is not None]
    return (
        min(rows, key=lambda limit: limit.rows or 0, default=None),
        min(size, key=lambda limit: limit.bytes or 0, default=None),
    )


def _messages(data: bytes) -> int:
    """Return how many messages `data` is."""
    count = position = 0
    while position < len(data):
        position += 1 + _HEADER.unpack_from(data, position)[1]
        count += 1
    return count
