"""Delivery: a target's response on its way to the client: masked, limited, recorded, sent."""

from __future__ import annotations

import asyncio
from typing import Final, final

from sallyport.core.decision import Allow
from sallyport.protocols.base import OperationIssued
from sallyport.protocols.http import fields as field_rules
from sallyport.protocols.http.classify import coding_of
from sallyport.protocols.http.content import Content
from sallyport.protocols.http.masks import Masks
from sallyport.protocols.http.message import NO_BODY, Fields, ResponseHead, without
from sallyport.protocols.http.records import Account
from sallyport.protocols.http.refusal import denied, reason_of
from sallyport.protocols.http.routing import Route
from sallyport.protocols.http.serving.ends import GoneError, Responder
from sallyport.protocols.http.serving.pool import TargetExchange
from sallyport.protocols.http.serving.sessions import Session
from sallyport.protocols.http.withheld import hide, hide_fields

CHANGED: Final = (
    b"etag", b"content-md5", b"digest", b"repr-digest", b"content-digest", b"accept-ranges",
    b"signature", b"signature-input",
)  # fmt: skip
"""Fields that say something of a body that is not true any more once it is masked."""
_TOGETHER: Final = 32 * 1024
"""Bytes that leave together, about."""
_LONG: Final = 0.005
"""Seconds of that after which others have their turn."""


@final
class Delivery:
    """One response. `masked`: something of it may have to be hidden."""

    def __init__(
        self,
        session: Session,
        account: Account,
        allow: Allow,
        key: bytes,
        responder: Responder,
        route: Route,
    ) -> None:
        self._session = session
        self._account = account
        self._responder = responder
        self._route = route
        self.masks = Masks(allow.obligations.masks, key)
        limits = [one.bytes for one in allow.obligations.limits if one.bytes is not None]
        self.limit = min(limits, default=None)
        self.status = 0

    @property
    def masked(self) -> bool:
        """Whether the body has to be looked at."""
        return self.masks.bodies

    def plain_request(self, fields: Fields) -> Fields:
        """Return a request's fields so that its response can be looked at: whole, not encoded."""
        kept = without(fields, b"range", b"if-range", b"if-none-match", b"accept-encoding")
        return [*kept, (b"accept-encoding", b"identity")]

    async def interim(self, head: ResponseHead) -> None:
        """Pass on an interim response."""
        head.fields = self.fields(head.fields)
        self._account.begun(head, interim=True)
        await self._responder.interim(head)

    async def run(self, head: ResponseHead, exchange: TargetExchange, method: str) -> None:
        """Deliver a whole response."""
        bodiless = method == "HEAD" or head.status in NO_BODY
        fields = self.fields(head.fields)
        masker, first = None, b""
        if self.masked and head.status not in NO_BODY:
            fields = without(fields, *CHANGED)
            if not bodiless and head.length != 0:
                first = await self._read(exchange)
                masker = self.masks.body(head.status, head.fields) if first else None
                if first and masker is None and not await self._may_pass(head):
                    exchange.close()
                    return
        if masker is not None:
            fields = without(fields, b"content-encoding")
        sent = ResponseHead(head.status, self._reason(head), fields, head.version, head.length)
        if masker is not None or (self.masked and method == "HEAD"):
            sent.length = None
        content = Content(masker, coding_of(head.fields), self._session.forms)
        self.status = head.status
        self._account.begun(sent)
        await self._responder.begin(sent)
        while data := first or await self._read(exchange):
            first = b""
            await self._content(content, data)
        await self._pass(content.finish())
        trailers = self._hidden(field_rules.to_client(exchange.trailers))
        self._account.trailers(trailers)
        self._account.ended(str(head.status))
        await self._responder.end(trailers)

    # --- inside

    def fields(self, fields: Fields) -> Fields:
        """Return the fields that leave: rewritten to lead here, and masked."""
        found = field_rules.rewritten(
            field_rules.to_client(fields), (self._session.origin,), self._route.here
        )
        return self._hidden(found)

    def _hidden(self, fields: Fields) -> Fields:
        return hide_fields(self._session.forms, self.masks.fields(fields))

    def _reason(self, head: ResponseHead) -> str:
        """Return the reason phrase: the status' own where something is masked, for it is a text."""
        if self.masks.any:
            return reason_of(head.status)
        return hide(self._session.forms, head.reason.encode("latin-1")).decode("latin-1")

    async def _content(self, content: Content, data: bytes) -> None:
        """Pass on a piece; what takes long lets all others go on meanwhile."""
        time = asyncio.get_running_loop().time
        began, out, size = time(), [], 0
        for piece in content.feed(data):
            out.append(piece)
            size += len(piece)
            if size >= _TOGETHER:
                await self._pass(b"".join(out))
                out, size = [], 0
            if time() - began > _LONG:
                await asyncio.sleep(0)
                began = time()
        await self._pass(out[0] if len(out) == 1 else b"".join(out))

    async def _read(self, exchange: TargetExchange) -> bytes:
        """Return the next piece, once the journal has room for it."""
        await self._session.services.room()
        data = await exchange.read()
        self._session.target_bytes += len(data)
        return data

    async def _pass(self, data: bytes) -> None:
        """Record a piece and send it. Raises: GoneError where a limit ends the response."""
        if not data:
            return
        over = self._session.services.spend(self._session.grant, 0, len(data))
        if over is not None:
            self._account.ended(str(self.status), over.reason, "quota")
            raise GoneError
        if self.limit is not None and self._account.bytes + len(data) > self.limit:
            self._account.ended(str(self.status), "more bytes than a rule allows", "limit")
            raise GoneError
        self._account.returned(data)
        await self._responder.write(data)

    async def _may_pass(self, head: ResponseHead) -> bool:
        """Whether a response whose type cannot be looked into is delivered all the same.

        That is an operation of its own: its type has effect UNKNOWN, so that a rule has to allow
        it by name, and may have it wait for a human.
        """
        session = self._session
        operation = session.classifier.delivery(
            session.operation(), self._route.path, field_rules.media_type(head.fields)[0]
        )
        decision = await session.services.clear(
            session.grant, OperationIssued(operation), _nothing_told
        )
        if isinstance(decision, Allow):
            return True
        refusal, body, _ = denied(decision)
        self.status = refusal.status
        self._account.begun(refusal)
        self._account.ended(str(refusal.status), decision.reason, "refused")
        await self._responder.begin(refusal)
        await self._responder.write(body)
        await self._responder.end([])
        return False


def _nothing_told(text: str) -> None:
    """HTTP has no notices."""
