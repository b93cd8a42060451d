"""Socket: one WebSocket, each message of the client an operation of its own (RFC 6455).

Theory of operation. Opening it is an operation (`websocket`). Then two tasks read, one from each
leg. What the client sends is decided message by message, in order; what the target sends is masked
and recorded. A refused message closes the socket, with the reason in its close frame.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, final

from sallyport.core.decision import Allow, Deny
from sallyport.core.errors import MaskingFailed, ProtocolViolation
from sallyport.protocols.base import OperationIssued, Services
from sallyport.protocols.http import fields as field_rules
from sallyport.protocols.http.masks import Masks
from sallyport.protocols.http.message import Fields, RequestHead, ResponseHead, get, without
from sallyport.protocols.http.records import MESSAGE, Account
from sallyport.protocols.http.refusal import Answer, denied, problem
from sallyport.protocols.http.serving.asking import Asked
from sallyport.protocols.http.serving.carrying import Terms, account_of, why
from sallyport.protocols.http.serving.delivery import Delivery
from sallyport.protocols.http.serving.ends import GoneError, Responder
from sallyport.protocols.http.serving.outlet import Changeable, Outlet
from sallyport.protocols.http.serving.sessions import authority_of
from sallyport.protocols.http.serving.target1 import Http1Target
from sallyport.protocols.http.websocket import (
    GOING_AWAY,
    REFUSED,
    UNABLE,
    Message,
    WebSocketCodec,
    check_request,
    check_response,
    client_fields,
    offered,
    target_fields,
)
from sallyport.protocols.http.withheld import hide

CLOSING: Final = 5.0
"""Seconds that a peer has to answer a close."""


def wants_socket(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket (section 4.1)."""
    return head.upgrade == "websocket" and head.method == "GET"


@final
class Socket:
    """One WebSocket, from its request to its end."""

    def __init__(self, services: Services, asked: Asked, terms: Terms) -> None:
        self._services = services
        self._asked = asked
        self._session = asked.session
        self._terms = terms()
        self._path = asked.route.path

    async def run(self, responder: Responder) -> None:
        """Open it where that is allowed, and carry messages until it is over."""
        asked, session = self._asked, self._session
        check_request(asked.head.fields)
        refusal = self._refused_origin()
        if refusal is not None:
            await _answer(responder, refusal)
            return
        number = session.operation()
        operation, _, target = session.classifier.operation(
            number, asked.head, asked.fields, b"", "websocket"
        )
        decision = await self._services.clear(session.grant, OperationIssued(operation), _nothing)
        if isinstance(decision, Deny):
            await _answer(responder, denied(decision))
            return
        account = self._account(number, decision)
        try:
            peer = await session.pool.take_apart()
        except BaseException as error:
            account.ended("", why(error, session.grant), "unfinished")
            raise
        delivery = Delivery(
            session, account, decision, self._terms.mask_key, responder, asked.route
        )
        try:
            tag = await self._open(peer, target, account, delivery, responder)
            account.ended(tag)
        except BaseException as error:
            account.ended(str(delivery.status or ""), why(error, session.grant), "unfinished")
            raise
        finally:
            peer.close()
            session.pool.give(peer)

    # --- opening

    def _refused_origin(self) -> Answer | None:
        """FAILS CLOSED: a page of another site opens nothing, unless the target's settings say."""
        origin = get(self._asked.head.fields, b"origin")
        allowed = self._session.known.settings.origins
        if origin is None or self._is_own(origin) or origin.decode("latin-1") in allowed:
            return None
        return problem(403, "a page of another site asks this", rules=("cross-site",))

    def _is_own(self, origin: bytes) -> bool:
        head = self._asked.head
        return origin.decode("latin-1").lower() == f"{head.scheme}://{head.authority}"

    def _account(self, number: int, allow: Allow) -> Account:
        return account_of(self._services, self._session.grant, number, allow, self._terms)

    async def _open(
        self,
        peer: Http1Target,
        target: str,
        account: Account,
        delivery: Delivery,
        responder: Responder,
    ) -> str:
        """Ask the target, and serve what it answers; return how it ended."""
        session, asked = self._session, self._asked
        settings = session.known.settings
        fields: Fields = without(asked.fields, b"origin")
        origin = get(asked.head.fields, b"origin")
        if origin is not None:
            told = session.origin.encode() if self._is_own(origin) else origin
            fields.append((b"origin", told))
        fields, key = target_fields(fields)
        authority = authority_of(session.grant.target, settings.host)
        head = RequestHead("GET", asked.head.scheme, authority, target, fields, "HTTP/1.1")
        account.forwarded(head, fields, target, session.origin)
        credential = await session.credential()
        head.target, head.fields = field_rules.inject(
            settings.inject, credential, target, fields, session.grant.target.name
        )
        await peer.send(head, b"")
        response = await peer.response(settings.patience)
        if response.status != 101:
            if response.status < 200:
                raise ProtocolViolation("target", "an interim response is out of place", "502")
            await delivery.run(response, peer, "GET")
            return str(response.status)
        check_response(response.fields, key, offered(asked.fields))
        own = get(asked.head.fields, b"sec-websocket-key") or b""
        made = client_fields(delivery.fields(response.fields), own)
        answer = ResponseHead(101, "Switching Protocols", made)
        if not isinstance(responder, Changeable):
            raise ProtocolViolation("client", "this connection cannot change its protocol", "501")
        delivery.status = 101
        account.begun(answer)
        out, rest = responder.take_over(answer)
        return await _Tunnel(self, out, peer, account, delivery).run(rest)

    # --- what the tunnel asks

    async def decide(self, message: Message) -> Deny | Account:
        """Decide about one message of the client; its account where it may go on."""
        session = self._session
        number = session.operation()
        operation = session.classifier.message(number, self._path, message.data, message.binary)
        decision = await self._services.clear(session.grant, OperationIssued(operation), _nothing)
        return decision if isinstance(decision, Deny) else self._account(number, decision)

    async def may_pass(self) -> Deny | None:
        """Decide about messages that cannot be looked into."""
        session = self._session
        operation = session.classifier.delivery(session.operation(), self._path, "websocket/binary")
        decision = await self._services.clear(session.grant, OperationIssued(operation), _nothing)
        return decision if isinstance(decision, Deny) else None

    @property
    def session_over(self) -> str | None:
        """Why the session is over; None: it is not."""
        return self._session.grant.ended.reason

    def returned(self, size: int) -> Deny | None:
        """A message came back; the Deny of a quota that is used up."""
        self._session.rows += 1
        self._session.target_bytes += size
        return self._services.spend(self._session.grant, 1, size)

    def sent(self, size: int) -> None:
        """A message went on."""
        self._session.client_bytes += size

    @property
    def forms(self) -> tuple[bytes, ...]:
        """How the target's credential may stand in what it says."""
        return self._session.forms

    @property
    def services(self) -> Services:
        """The gateway."""
        return self._services


@final
class _Tunnel:
    """Carries messages between two legs."""

    def __init__(
        self,
        socket: Socket,
        client: Outlet,
        peer: Http1Target,
        account: Account,
        delivery: Delivery,
    ) -> None:
        self._socket = socket
        self._client = client
        self._peer = peer
        self._account = account
        self._masks: Masks = delivery.masks
        self._limit = delivery.limit
        self._binary_may_pass = False
        self._codec = WebSocketCodec(reasons=not delivery.masked)
        self._ending = ""

    async def run(self, rest: bytes) -> str:
        """Carry until both are closed; return how it ended."""
        services = self._socket.services
        tasks = {
            asyncio.ensure_future(self._from_client(rest)),
            asyncio.ensure_future(self._from_target(self._peer.rest())),
        }
        services.stopping.listen(self._stop)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait(tasks, timeout=CLOSING)
        except asyncio.CancelledError:
            self._stop(self._socket.session_over or "the client has gone")
            raise
        finally:
            services.stopping.forget(self._stop)
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, GoneError, OSError):
                    await task
            self._write()
            self._client.close()
        return self._ending or "101"

    def _stop(self, reason: str) -> None:
        self._ending = reason
        self._codec.refused(GOING_AWAY, reason)
        self._write()
        self._leave()

    def _refuse(self, deny: Deny) -> None:
        hint = f" ({deny.hint})" if deny.hint else ""
        self._ending = f"refused by {', '.join(deny.rules)}: {deny.reason}"
        self._codec.refused(REFUSED, f"{self._ending}{hint}")
        self._leave()

    def _leave(self) -> None:
        """Wait for the answers to a close no longer than that."""
        loop = asyncio.get_running_loop()
        loop.call_later(CLOSING, self._client.close)
        loop.call_later(CLOSING, self._peer.out.close)

    def _write(self) -> None:
        """Write what is due; close the leg that is over."""
        for out, data, over in (
            (self._client, self._codec.take_client(), self._codec.client_over),
            (self._peer.out, self._codec.take_target(), self._codec.target_over),
        ):
            if data:
                out.write(data)
            if over:
                out.close()

    async def _from_client(self, data: bytes) -> None:
        current = asyncio.current_task()
        while True:
            if data:
                for message in self._codec.receive_client(data):
                    await self._message(message, current)
                self._write()
                await self._peer.leg.drain()
                await self._client.leg.drain()
            if self._codec.client_over:
                return
            data = await self._client.leg.read()
            if not data:
                self._codec.eof_client()
                self._write()
                return

    async def _message(self, message: Message, current: asyncio.Task[None] | None) -> None:
        if not self._codec.target_open:
            self._codec.drop_client()
            return
        if current is not None:  # a client that goes withdraws what it waits for
            self._client.leg.on_end(lambda: _end(current))
        try:
            decided = await self._socket.decide(message)
        finally:
            self._client.leg.on_end(None)
        if isinstance(decided, Deny):
            self._refuse(decided)
            self._codec.drop_client()
            return
        decided.sent(message.data, MESSAGE)
        decided.ended("message")
        self._socket.sent(len(message.data))
        self._codec.send_target(message)

    async def _from_target(self, data: bytes) -> None:
        while True:
            if data:
                for message in self._codec.receive_target(data):
                    await self._returned(message)
                self._write()
                await self._client.leg.drain()
                await self._peer.leg.drain()
            if self._codec.target_over:
                return
            await self._socket.services.room()
            data = await self._peer.leg.read()
            if not data:
                self._codec.eof_target()
                self._write()
                return

    async def _returned(self, message: Message) -> None:
        """Pass on what the target says: masked, within the limits, on record."""
        masked = await self._hidden(message)
        if masked is None:
            self._codec.drop_target()
            return
        masked = hide(self._socket.forms, masked)
        over = self._socket.returned(len(masked))
        size = self._account.bytes + len(masked)
        if over is None and self._limit is not None and size > self._limit:
            over = Deny(("limit",), "more bytes than a rule allows", "")
        if over is not None:
            self._refuse(over)
            self._codec.drop_target()
            return
        self._account.returned(masked, MESSAGE)
        self._codec.send_client(Message(message.binary, masked))

    async def _hidden(self, message: Message) -> bytes | None:
        """Return a message with what must be hidden hidden; None: it may not pass."""
        if not self._masks.bodies:
            return message.data
        if not message.binary:
            try:
                return self._masks.message(message.data)
            except MaskingFailed:
                self._codec.refused(UNABLE, "a message cannot be masked")
                self._ending = "a message cannot be masked"
                return None
        if not self._binary_may_pass:
            deny = await self._socket.may_pass()
            if deny is not None:
                self._refuse(deny)
                return None
            self._binary_may_pass = True
        return message.data


def _end(task: asyncio.Task[None]) -> None:
    task.cancel()


async def _answer(responder: Responder, given: Answer) -> None:
    await responder.begin(given.head)
    await responder.write(given.body)
    await responder.end([])


def _nothing(text: str) -> None:
    """Nobody is told: the client waits."""
