"""Records: what one request leaves on record, in order, bodies up to a limit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, final

from sallyport.core.event import (
    HTTP_BODY,
    HTTP_MESSAGE,
    HTTP_TRAILERS,
    RecordedEvent,
    RequestForwarded,
    ResponseBegun,
    ResultEnded,
    ResultRows,
)
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead, readable

BODY: Final = HTTP_BODY
TRAILERS: Final = HTTP_TRAILERS
MESSAGE: Final = HTTP_MESSAGE


@final
class Account:
    """One operation's account. `limit`: bytes of each body that are kept; the rest is hashed.

    `conceal` hides in a request's URL and fields what masks hide in texts. FAILS CLOSED: of a
    request whose text is concealed no piece of the body is kept, since a value can lie across two;
    its decision's text has the body, concealed as a whole.
    """

    def __init__(
        self,
        record: Callable[[RecordedEvent], None],
        clock: Callable[[], float],
        session: str,
        operation: int,
        limit: int,
        conceal: Callable[[str], str] | None = None,
    ) -> None:
        self._record = record
        self._clock = clock
        self._session = session
        self._operation = operation
        self._limit = limit
        self._conceal = conceal
        self._kept = {"in": limit if conceal is None else 0, "out": limit}
        self._digest = hashlib.sha256()
        self._began = clock()
        self._open = True
        self.keep = True
        self.truncated = False
        self.bytes = 0
        self.rows = 0

    def forwarded(self, head: RequestHead, fields: Fields, target: str, origin: str) -> None:
        """The request went to the target; `fields` and `target` are without its credential."""
        self._began = self._clock()
        headers = readable(fields)
        if self._conceal is not None:
            target = self._conceal(target)
            headers = tuple((name, self._conceal(value)) for name, value in headers)
        self._record(
            RequestForwarded(
                self._session, self._began, self._operation, head.method, target, head.version,
                headers, origin,
            )
        )  # fmt: skip

    def begun(self, head: ResponseHead, *, interim: bool = False) -> None:
        """A response's head leaves for the client."""
        self._record(
            ResponseBegun(
                self._session, self._clock(), self._operation, head.status, head.reason,
                head.version, readable(head.fields), interim,
            )
        )  # fmt: skip

    def sent(self, data: bytes, encoding: str = BODY) -> None:
        """A piece of the request's body, or a message, goes to the target."""
        self._body(data, "in", encoding, 1 if encoding == MESSAGE else 0)

    def returned(self, data: bytes, encoding: str = BODY) -> None:
        """A piece of the response, after masking, leaves for the client."""
        self.bytes += len(data)
        self._digest.update(data)
        rows = 1 if encoding == MESSAGE else 0
        self.rows += rows
        self._body(data, "out", encoding, rows)

    def trailers(self, fields: Fields) -> None:
        """Trailers leave for the client."""
        if fields:
            data = b"".join(b"%s: %s\r\n" % field for field in fields)
            self._body(data, "out", TRAILERS, 0)

    def ended(self, tag: str, message: str = "", code: str = "") -> None:
        """The operation is over. Twice is once."""
        if not self._open:
            return
        self._open = False
        now = self._clock()
        self._record(
            ResultEnded(
                self._session, now, self._operation, tag, self.rows, self.bytes,
                self._digest.digest(), self.truncated, now - self._began, code, message,
            )
        )  # fmt: skip

    def _body(self, data: bytes, direction: str, encoding: str, rows: int) -> None:
        left = self._kept[direction] if self.keep else 0
        if len(data) > left:
            self.truncated = True
            data = data[:left] if encoding == BODY else b""
        if data:
            self._kept[direction] = left - len(data)
            self._record(
                ResultRows(
                    self._session, self._clock(), self._operation, encoding, data, rows, direction
                )
            )
