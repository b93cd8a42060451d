"""Sockets."""

from __future__ import annotations

from sallyport.protocols.base import Services
from sallyport.protocols.http.message import RequestHead
from sallyport.protocols.http.refusal import problem
from sallyport.protocols.http.serving.asking import Asked
from sallyport.protocols.http.serving.carrying import Terms
from sallyport.protocols.http.serving.ends import Responder


def wants_socket(head: RequestHead) -> bool:
    """Whether a request asks for a WebSocket (RFC 6455, section 4.1)."""
    return head.upgrade == "websocket" and head.method == "GET"


class Socket:
    """One WebSocket."""

    def __init__(self, services: Services, asked: Asked, terms: Terms) -> None:
        pass

    async def run(self, responder: Responder) -> None:
        """Serve it."""
        refusal = problem(501, "no WebSockets")
        await responder.begin(refusal.head)
        await responder.write(refusal.body)
        await responder.end([])
