"""The server: uvicorn, set so that no default of its own weakens the API."""

from __future__ import annotations

import ssl

import uvicorn
from starlette.types import ASGIApp

MAXIMUM_CONNECTIONS = 512
DRAIN = 5
"""Seconds that open requests may take when the server stops; streams end with it."""


def create_server(app: ASGIApp, *, tls: ssl.SSLContext | None = None) -> uvicorn.Server:
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
    return uvicorn.Server(config)
