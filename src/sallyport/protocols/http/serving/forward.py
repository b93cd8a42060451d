"""Forwarding: a request that was allowed goes to its target, and its response is fetched."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, final

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.protocols.http import fields as field_rules
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead
from sallyport.protocols.http.records import Account
from sallyport.protocols.http.serving.delivery import Delivery
from sallyport.protocols.http.serving.ends import (
    GoneError,
    Incoming,
    RefusedError,
    Responder,
)
from sallyport.protocols.http.serving.pool import TargetExchange
from sallyport.protocols.http.serving.sessions import Session, authority_of

REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods whose request is sent again where a kept connection turned out to be closed."""
ATTEMPTS: Final = 2
INTERIM: Final = 16
"""Interim responses that a target may send."""


@final
class Forwarding:
    """One request on its way. `fields` are those that go, without the credential."""

    def __init__(
        self,
        session: Session,
        account: Account,
        head: RequestHead,
        fields: Fields,
        target: str,
    ) -> None:
        self._session = session
        self._account = account
        self._asked = head
        self._fields = fields
        self._target = target

    async def run(
        self,
        body: Incoming,
        whole: bytes | None,
        prefix: bytes,
        responder: Responder,
        delivery: Delivery,
    ) -> None:
        """Send the request and deliver the response."""
        if delivery.masked:
            self._fields = delivery.plain_request(self._fields)
        head = await self._head(whole)
        exchange = await self._send(head, whole)
        upload: asyncio.Task[None] | None = None
        try:
            if whole is None:
                await responder.proceed()
                upload = asyncio.ensure_future(self._upload(exchange, body, prefix))
            response = await self._response(exchange, responder, delivery)
            await delivery.run(response, exchange, self._asked.method)
            if upload is not None and not upload.done():
                upload.cancel()  # it answered without the rest
            if upload is not None and upload.done() and not upload.cancelled():
                upload.result()
        except BaseException as error:
            exchange.close()
            if isinstance(error, TargetUnavailable) and upload is not None and upload.done():
                upload.result()  # that is why
            raise
        finally:
            if upload is not None:
                upload.cancel()
                with contextlib.suppress(BaseException):
                    await upload
            self._session.pool.give(exchange)

    # --- inside

    async def _head(self, whole: bytes | None) -> RequestHead:
        """Return the request as the target gets it, with its credential; put it on record."""
        grant, settings = self._session.grant, self._session.known.settings
        fields = list(self._fields)
        authority = authority_of(grant.target, settings.host)
        asked = self._asked
        length = len(whole) if whole is not None else asked.length
        shown = RequestHead(
            asked.method, asked.scheme, authority, self._target, fields, "HTTP/1.1", length
        )
        self._account.forwarded(shown, fields, self._target, self._session.origin)
        if whole and not _is_text(whole):  # else its decision's text has it
            self._account.sent(whole)
        credential = await self._session.credential()
        target, fields = field_rules.inject(
            settings.inject, credential, self._target, fields, grant.target.name
        )
        shown.target, shown.fields = target, fields
        return shown

    async def _send(self, head: RequestHead, whole: bytes | None) -> TargetExchange:
        """Send it: again on a fresh connection where a kept one was closed before it was heard.

        INVARIANT: what may change something is sent once; a lost outcome is told as an error.
        """
        pool = self._session.pool
        timeout = self._session.known.settings.patience
        for attempt in range(ATTEMPTS):
            exchange = await pool.take(fresh=attempt > 0)
            again = exchange.used > 0 and head.method in REPEATABLE and whole == b""
            try:
                await exchange.send(head, whole)
                if again:
                    await exchange.listen(timeout)
            except GoneError as gone:
                pool.give(exchange)
                if not again and not isinstance(gone, RefusedError):
                    break
            except BaseException:
                exchange.close()
                pool.give(exchange)
                raise
            else:
                return exchange
        raise TargetUnavailable(self._session.grant.target.name, "it closed the connection")

    async def _upload(self, exchange: TargetExchange, body: Incoming, prefix: bytes) -> None:
        """Pass on a body that was too large to look at, as fast as the target takes it.

        Without its trailers: nobody decided about these fields.
        """
        data = prefix
        try:
            while data or (data := await body.read()):
                self._account.sent(data)
                self._session.client_bytes += len(data)
                await exchange.write(data)
                data = b""
            await exchange.end([])
        except ProtocolViolation:
            exchange.close()  # nobody waits for the answer to half a request
            raise

    async def _response(
        self, exchange: TargetExchange, responder: Responder, delivery: Delivery
    ) -> ResponseHead:
        """Return the final head; interim ones are passed on."""
        timeout = self._session.known.settings.patience
        for _ in range(INTERIM):
            try:
                head = await exchange.response(timeout)
            except GoneError:
                raise TargetUnavailable(
                    self._session.grant.target.name, "it closed the connection"
                ) from None
            if head.status >= 200:
                return head
            if head.status == 101:
                raise ProtocolViolation("target", "it changes the protocol unasked", "502")
            if head.status == 103:
                await delivery.interim(head)
        raise ProtocolViolation("target", "too many interim responses", "502")


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
