"""Exchange: one request's way through the gateway, however it came in.

Theory of operation. The request is routed, its token tells the session, its fields and path are
made plain, its body is read as far as the target's settings say; that is the operation. Once it is
cleared it goes to the target with the target's credential, and the response comes back piece by
piece: masked, recorded, sent, as fast as the client takes it.

INVARIANT: nothing of a request reaches the target before `clear` said Allow; nothing of a response
reaches the client before it is masked and on record.
"""

from __future__ import annotations

import asyncio
from typing import Any, final

import structlog

from sallyport.core.decision import Allow, Deny
from sallyport.core.errors import ProtocolViolation
from sallyport.core.operation import Operation
from sallyport.protocols.base import OperationIssued, Services
from sallyport.protocols.http.classify import accepts_body
from sallyport.protocols.http.fields import without_waiting
from sallyport.protocols.http.message import RequestHead, listed
from sallyport.protocols.http.refusal import Answer, denied, problem, told
from sallyport.protocols.http.routing import OWN
from sallyport.protocols.http.serving.asking import Asked, Asking
from sallyport.protocols.http.serving.carrying import Carrying, Request, Terms
from sallyport.protocols.http.serving.ends import GoneError, Incoming, Responder
from sallyport.protocols.http.serving.later import Later, answer_later
from sallyport.protocols.http.serving.socket import Socket, wants_socket

_log = structlog.get_logger("http")


@final
class Exchanges:
    """Carries out the requests of one connection."""

    def __init__(self, asking: Asking, services: Services, terms: Terms) -> None:
        self._asking = asking
        self._services = services
        self._terms = terms

    async def serve(self, head: RequestHead, body: Incoming, responder: Responder) -> None:
        """Carry out one request. Every error is answered here, or cuts the response off."""
        try:
            asked = await self._asking.find(head)
            if isinstance(asked, Answer):
                await answer(responder, asked)
            else:
                await self._within(asked, body, responder)
        except (GoneError, OSError):
            responder.abort()
        except Exception as error:
            await fail(responder, _explained(error))

    # --- inside

    async def _within(self, asked: Asked, body: Incoming, responder: Responder) -> None:
        """Carry out a request of a session: it ends with it."""
        session, task = asked.session, asyncio.current_task()
        if task is None or session.over:
            await fail(responder, _over(asked))
            return
        session.running.add(task)
        try:
            await self._decide(asked, body, responder)
        except asyncio.CancelledError:
            if not session.over:
                raise
            task.uncancel()
            await fail(responder, _over(asked))
        finally:
            session.leave(task)

    async def _decide(self, asked: Asked, body: Incoming, responder: Responder) -> None:
        session, head = asked.session, asked.head
        head.target = asked.route.path
        if head.target.startswith(OWN):
            await answer(responder, answer_later(session.later, head))
            return
        if wants_socket(head):
            await Socket(self._services, asked, self._terms).run(responder)
            return
        number = session.operation()
        read = await self._read_ahead(asked, number, body, responder)
        if isinstance(read, Deny):
            await answer(responder, denied(read))
            return
        whole, prefix = read
        if whole and asked.token.encode() in whole:
            raise ProtocolViolation("client", "the token stands in the body", "400")
        operation, _, target = session.classifier.operation(number, head, asked.fields, whole)
        request = Request(asked, number, target, body, whole, prefix)
        if whole is not None and b"respond-async" in listed(head.fields, b"prefer"):
            await self._perhaps_later(request, operation, responder)
            return
        decision = await self._services.clear(
            session.grant, OperationIssued(operation), nothing_told
        )
        await self._carry_out(request, decision, responder)

    async def _carry_out(
        self, request: Request, decision: Allow | Deny, responder: Responder
    ) -> None:
        if isinstance(decision, Deny):
            await answer(responder, denied(decision))
        else:
            await Carrying(self._services, self._terms, request, decision).run(responder)

    async def _perhaps_later(
        self, request: Request, operation: Operation, responder: Responder
    ) -> None:
        """Answer 202 where a human has to be waited for; the request goes its way by itself."""
        session = request.asked.session
        later = Later(request.asked.route.here)
        clearing = asyncio.ensure_future(
            self._services.clear(session.grant, OperationIssued(operation), later.told)
        )
        waited: set[asyncio.Future[Any]] = {clearing, later.held}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            clearing.cancel()
            raise
        if clearing.done():
            later.held.cancel()
            await self._carry_out(request, clearing.result(), responder)
            return
        kept = without_waiting(request.asked.fields)
        request = request._replace(asked=request.asked._replace(fields=kept))
        task = asyncio.ensure_future(self._afterwards(request, clearing, later))
        session.running.add(task)
        task.add_done_callback(session.leave)
        session.later.keep(later)
        await answer(responder, later.accepted())

    async def _afterwards(
        self, request: Request, clearing: asyncio.Future[Allow | Deny], later: Later
    ) -> None:
        """Carry a held request out, at most once, whether or not its client is still there."""
        try:
            decision = await clearing
            if isinstance(decision, Allow):
                later.sent()
            await self._carry_out(request, decision, later)
        except asyncio.CancelledError:
            clearing.cancel()
            later.lost(request.asked.session.grant.ended.reason or "the gateway stops")
        except Exception as error:
            later.lost(_explained(error).detail)

    async def _read_ahead(
        self, asked: Asked, number: int, body: Incoming, responder: Responder
    ) -> tuple[bytes | None, bytes] | Deny:
        """Return the body, and b""; or None, since it is too large, and what was read of it.

        What is refused whatever the body holds is refused before it is read.
        """
        head, session = asked.head, asked.session
        if not accepts_body(head):
            return b"", b""
        limit = session.known.settings.inspected
        denies: list[Deny] = []
        for early in session.classifier.early(number, head, asked.fields):
            deny = self._services.precheck(session.grant, early)
            if deny is None:
                break
            denies.append(deny)
        else:
            return denies[0]
        if limit == 0 or (head.length is not None and head.length > limit):
            return None, b""
        await responder.proceed()
        pieces: list[bytes] = []
        size = 0
        while data := await body.read():
            pieces.append(data)
            size += len(data)
            session.client_bytes += len(data)
            if size > limit:
                return None, b"".join(pieces)
        return b"".join(pieces), b""


async def answer(responder: Responder, given: Answer) -> None:
    """Send a response of the gateway's own."""
    await responder.begin(given.head)
    await responder.write(given.body)
    await responder.end([])


async def fail(responder: Responder, given: Answer) -> None:
    """Say what went wrong, or cut off what has begun."""
    if responder.begun:
        responder.abort()
    else:
        await answer(responder, given)


def _explained(error: Exception) -> Answer:
    known = told(error)
    if known is None:
        _log.error("a request failed", exc_info=error)
    return known or problem(500, "internal error", rules=("gateway",))


def _over(asked: Asked) -> Answer:
    reason = asked.session.grant.ended.reason
    return problem(403, f"the session is over: {reason}", rules=("session",))


def nothing_told(text: str) -> None:
    """HTTP has no notices: a hold is told to whoever answers, and the client waits."""
