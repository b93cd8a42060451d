"""Running the development issuer: in a thread of the demo, so that it ends with it."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Final

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from sallyport.config.development import SEGMENT
from sallyport.demo.issuer import pages
from sallyport.demo.issuer.browsing import Browsing
from sallyport.demo.issuer.devices import Devices
from sallyport.demo.issuer.door import Door
from sallyport.demo.issuer.endpoints import Endpoints
from sallyport.demo.issuer.logins import Login, Logins
from sallyport.demo.issuer.tokens import Signer
from sallyport.demo.server import free_port
from sallyport.web.forms import LOGOUT_PATH, OAuthProblem
from sallyport.web.problems import Problem
from sallyport.web.server import Server, create_server

PORT: Final = 8643
"""Where it listens, if nobody else does."""

ATTEMPTS: Final = 5
TELLING: Final = 10.0
"""Seconds that the gateway has to end a login."""

STOPPING: Final = 15.0
BACKLOG: Final = 128


class DevelopmentIssuer:
    """One issuer. `start` it, tell it the gateway's address (`serve_for`), `stop` it."""

    def __init__(self, port: int = PORT) -> None:
        """Take a port, `port` if that is free. Raises: RuntimeError."""
        self._socket = _listening(port)
        host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{host}/{SEGMENT}"
        self._gateway = ""
        logins, devices = Logins(), Devices()
        self._signer = Signer(self.url)
        self._browsing = Browsing(self.url, self._signer, logins, devices, self._tell)
        endpoints = Endpoints(self.url, self._signer, logins, devices)
        routes = [*endpoints.routes(), *self._browsing.routes()]
        app = Starlette(
            routes=[Mount(f"/{SEGMENT}", routes=routes)],
            exception_handlers={
                OAuthProblem: _in_json,
                Problem: _in_a_page,
                HTTPException: _unknown,
            },
        )
        app.router.redirect_slashes = False
        self._server: Server = create_server(Door(app, host))
        self._thread = threading.Thread(target=self._run, name="issuer", daemon=True)

    def start(self) -> None:
        """Listen. What comes before that waits."""
        self._thread.start()

    def serve_for(self, gateway: str) -> None:
        """Name the gateway: its API's address, without a path."""
        self._gateway = self._browsing.gateway = gateway

    def stop(self) -> None:
        """End it, and wait for that."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOPPING)
        self._socket.close()

    # --- inside

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    async def _tell(self, login: Login) -> str:
        """Tell the gateway that a login has ended (Back-Channel Logout 1.0, 2.5)."""
        if not self._gateway:
            return "it does not run"
        form = {"logout_token": self._signer.logout_token(login)}
        try:
            async with httpx2.AsyncClient(timeout=TELLING, trust_env=False) as client:
                answer = await client.post(f"{self._gateway}{LOGOUT_PATH}", data=form)
        except httpx2.HTTPError as error:
            return str(error).lower() or type(error).__name__
        return "" if answer.status_code in (200, 204) else f"it answers {answer.status_code}"


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on loopback alone."""
    for number in (port, *(free_port() for _ in range(ATTEMPTS))):
        # With its protocol named, asyncio does not let answers wait for one another (Nagle).
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", number))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
            continue
        return sock
    raise RuntimeError("no port is free for the development issuer")


async def _in_json(request: Request, error: Exception) -> Response:
    if not isinstance(error, OAuthProblem):  # registered for this class alone
        raise error
    return error.response()


async def _in_a_page(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):  # registered for this class alone
        raise error
    return pages.message("That cannot be", f"{error.detail}.", error.status)


async def _unknown(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):  # registered for this class alone
        raise error
    return pages.message("That cannot be", "There is no such page.", error.status_code)
