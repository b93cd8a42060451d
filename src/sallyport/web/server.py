"""The server: uvicorn, set so that no default of its own weakens the API.

It accepts by itself, because uvicorn keeps whoever connects and says nothing for ever, and counts
them against everybody. Here a connection has `HANDSHAKE` seconds for TLS and `IDLE` for a whole
request head; when there are too many, the one that has been idle, or at its request, the longest
makes place. One whose request is there is never cut off for another, so no stranger keeps an
operator out.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any, Protocol

import structlog
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

MAXIMUM_CONNECTIONS = 512
"""Connections at once, those in their handshake included."""

HANDSHAKE = 10.0
IDLE = 15.0
"""Seconds that a connection has for its TLS handshake, and then for each request's head."""

SWEEP = 0.25
"""Seconds between two looks for connections past their time."""

ACCEPT_PAUSE = 0.1
"""Seconds to wait when the process has no file descriptor left."""

DRAIN = 5
"""Seconds that open requests may take when the server stops; streams end with it."""

_log = structlog.get_logger("sallyport.web")


class Application(Protocol):
    """What is served: an ASGI application that can be told that the server stops."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

    def stop(self) -> None:
        """End what would not end by itself."""


class Connection(H11Protocol):
    """One connection, which knows since when it is idle, or sends what it asks."""

    since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        self.since = self.loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take what was sent; with a request's head its body begins to be late."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self.since = self.loop.time()

    def on_response_complete(self) -> None:
        """Begin to wait for the next one."""
        self.since = self.loop.time()
        super().on_response_complete()

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def asking(self) -> bool:
        """Whether not even a whole request has come: whoever sends half a body says nothing yet."""
        return self.idle or self.cycle.more_body


class Server(uvicorn.Server):
    """uvicorn's server with an accept loop of its own.

    It tells the API that it stops before it waits for its requests.
    """

    def __init__(
        self, config: uvicorn.Config, api: Application, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(config)
        self._api = api
        self._tls = tls
        self._working: list[asyncio.Task[None]] = []
        self._greeting: dict[asyncio.Task[None], float] = {}

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on `sockets`, which are bound already."""
        loop = asyncio.get_running_loop()
        self.servers = []
        for sock in sockets or ():
            sock.setblocking(False)
        self._working = [loop.create_task(self._accept(sock)) for sock in sockets or ()]
        self._working.append(loop.create_task(self._sweep()))
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the streams, and wait for what is still being answered."""
        self._api.stop()
        tasks = [*self._working, *self._greeting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await super().shutdown(sockets)

    # --- inside

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("cannot accept", error=str(error))
                await asyncio.sleep(ACCEPT_PAUSE)
                continue
            if not self._make_place():
                sock.close()
                continue
            task = loop.create_task(self._greet(sock))
            self._greeting[task] = loop.time()
            task.add_done_callback(lambda done: self._greeting.pop(done, None))

    async def _greet(self, sock: socket.socket) -> None:
        """Hand a connection to its protocol, after its handshake where there is TLS."""
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if self._tls is not None else None,
            )
        except (OSError, asyncio.CancelledError):
            sock.close()

    def _connection(self) -> Connection:
        return Connection(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _open(self) -> list[Connection]:
        return [
            one
            for one in self.server_state.connections
            if isinstance(one, Connection) and not one.transport.is_closing()
        ]

    def _make_place(self) -> bool:
        """Whether one more may come; who asks nothing the longest goes where there are too many."""
        if len(self.server_state.connections) + len(self._greeting) < MAXIMUM_CONNECTIONS:
            return True
        waiting: list[tuple[float, Any]] = [
            (one.since, one.transport.abort) for one in self._open() if one.asking
        ]
        waiting += [(since, task.cancel) for task, since in self._greeting.items()]
        if not waiting:
            return False
        min(waiting, key=lambda each: each[0])[1]()
        return True

    async def _sweep(self) -> None:
        """Close who has been idle for too long. A byte now and then is no request."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP)
            for connection in self._open():
                if connection.idle and loop.time() - connection.since > IDLE:
                    connection.transport.abort()


def create_server(app: Application, *, tls: ssl.SSLContext | None = None) -> Server:
    """Return a server for sockets that are bound already: `await server.serve(sockets=[...])`.

    Proxy headers are not believed (the peer's address is what failures and networks go by), and
    nothing is logged by request: a query could hold what is looked for, and a stranger could fill
    the log with what is no request.
    """
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=DRAIN,
        h11_max_incomplete_event_size=64 * 1024,
    )
    config.load()
    return Server(config, app, tls)
