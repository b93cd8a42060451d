"""Later: requests whose client does not wait for a human (RFC 7240, `respond-async`).

The client gets 202 and a status URL at once. INVARIANT: the request is sent at most once, by the
task that holds it; what became of one whose outcome is not certain is told as `unknown`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from typing import Final, final

import msgspec

from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead
from sallyport.protocols.http.refusal import Answer, problem
from sallyport.protocols.http.routing import OWN

KEPT: Final = 100
"""Outcomes that one session keeps; the oldest goes first."""
KEPT_FOR: Final = 900.0
"""Seconds that a session stays for whoever asks for an outcome."""
LARGEST: Final = 1024 * 1024
"""Bytes of a response that are kept."""
_PLACE: Final = OWN + "requests/"


@final
class Later:
    """One such request: a `Responder` that keeps the response. `here` precedes the status URL."""

    def __init__(self, here: str) -> None:
        self.id = secrets.token_urlsafe(18)
        self.url = f"{here}{_PLACE}{self.id}"
        self.held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.state = "waiting"
        self.detail = ""
        self.begun = False
        self.ended = False
        self.changed = asyncio.get_running_loop().time()
        self._head: ResponseHead | None = None
        self._body = bytearray()
        self._size = 0

    # --- what becomes of it

    def told(self, text: str) -> None:
        """It waits for a human."""
        self.detail = text
        if not self.held.done():
            self.held.set_result(None)

    def sent(self) -> None:
        """It goes to the target now."""
        self._change("sent", "")

    def lost(self, why: str) -> None:
        """It ended in its middle. FAILS CLOSED: once it was sent, its outcome is not known."""
        if self.state == "sent":
            self._change("unknown", f"it was sent, and its outcome was lost: {why}")
        elif self.state == "waiting":
            self._change("refused", why)

    # --- a Responder

    async def proceed(self) -> None:
        """Its body was read before."""

    async def interim(self, head: ResponseHead) -> None:
        """Nobody is there for an interim response."""

    async def begin(self, head: ResponseHead) -> None:
        """Keep the head."""
        self.begun = True
        self._head = head

    async def write(self, data: bytes) -> None:
        """Keep a piece of the body, as long as it is not too large."""
        self._size += len(data)
        if self._size <= LARGEST:
            self._body += data

    async def end(self, trailers: Fields) -> None:
        """The response is whole."""
        self.ended = True
        self._change("done" if self.state == "sent" else "refused", "")

    def abort(self) -> None:
        """The response was cut off."""
        self.lost("the response was cut off")

    # --- what is answered

    def accepted(self) -> Answer:
        """Return the 202."""
        fields: Fields = [
            (b"location", self.url.encode()),
            (b"preference-applied", b"respond-async"),
            (b"retry-after", b"5"),
        ]
        return _json(202, "Accepted", self._told(), fields)

    def status(self) -> Answer:
        """Return how it stands."""
        fields: Fields = [(b"retry-after", b"5")] if self.state in ("waiting", "sent") else []
        return _json(200, "OK", self._told(), fields)

    def response(self) -> Answer:
        """Return the response itself, where there is one."""
        if self._head is None or not self.ended:
            return problem(404, f"there is no response: {self.state}", rules=("later",))
        if self._size > LARGEST:
            return problem(410, "the response was too large to be kept", rules=("later",))
        kept = self._head
        head = ResponseHead(kept.status, kept.reason, kept.fields, length=len(self._body))
        return Answer(head, bytes(self._body))

    def _told(self) -> dict[str, object]:
        said: dict[str, object] = {"id": self.id, "state": self.state, "status": self.url}
        if self.detail:
            said["detail"] = self.detail
        if self._head is not None and self.ended:
            said["code"] = self._head.status
            said["response"] = f"{self.url}/response"
        return said

    def _change(self, state: str, detail: str) -> None:
        self.state, self.detail = state, detail
        self.changed = asyncio.get_running_loop().time()


@final
class Outcomes:
    """What one session's requests came to that nobody waited for."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Later] = OrderedDict()

    def keep(self, later: Later) -> None:
        """Keep one more."""
        self._kept[later.id] = later
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def find(self, identifier: str) -> Later | None:
        """Return one that is still known."""
        return self._kept.get(identifier)

    def any_since(self, when: float) -> bool:
        """Whether one has changed since."""
        return any(later.changed >= when for later in self._kept.values())


def answer_later(outcomes: Outcomes, head: RequestHead) -> Answer:
    """Answer a request for an outcome."""
    place = head.target.partition("?")[0]
    if not place.startswith(_PLACE) or head.method not in ("GET", "HEAD"):
        return problem(404, "nothing of the gateway's is here", rules=("routing",))
    identifier, _, rest = place[len(_PLACE) :].partition("/")
    later = outcomes.find(identifier)
    if later is None:
        return problem(404, "not known here (any more): its outcome is unknown", rules=("later",))
    if rest == "response":
        return later.response()
    return later.status() if not rest else problem(404, "no such thing", rules=("routing",))


def _json(status: int, reason: str, value: object, fields: Fields) -> Answer:
    body = msgspec.json.encode(value) + b"\n"
    told: Fields = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Answer(ResponseHead(status, reason, [*told, *fields], length=len(body)), body)
