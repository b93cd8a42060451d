"""The server: uvicorn, set so that no default of its own weakens the API."""

from __future__ import annotations

import socket
import ssl

import uvicorn

from sallyport.web.shield import Shield

MAXIMUM_CONNECTIONS = 512
DRAIN = 5
"""Seconds that open requests may take when the server stops; streams end with it."""


class Server(uvicorn.Server):
    """uvicorn's server, which tells the API that it stops before it waits for its requests."""

    def __init__(self, config: uvicorn.Config, api: Shield) -> None:
        super().__init__(config)
        self._api = api

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end the streams, and wait for what is still being answered."""
        self._api.stop()
        await super().shutdown(sockets)


def create_server(app: Shield, *, tls: ssl.SSLContext | None = None) -> Server:
    """Return a server for sockets that are bound already: `await server.serve(sockets=[...])`.

    Proxy headers are not believed (the peer's address is what failures and networks go by), and
    nothing is logged by request: a query could hold what is looked for.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        limit_concurrency=MAXIMUM_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN,
        h11_max_incomplete_event_size=64 * 1024,
    )
    config.load()
    if tls is not None:
        config.ssl = tls
    return Server(config, app)
