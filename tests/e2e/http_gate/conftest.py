"""A gateway before the orders service, and before a site of each test's own."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette

from sallyport.demo.http_service import OrdersService
from sallyport.demo.server import free_port
from tests.support.http_gateway import CREDENTIAL, HttpGateway

Begin = Callable[..., HttpGateway]


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The demo's own service, as a peer."""
    with OrdersService(tmp_path_factory.mktemp("orders"), CREDENTIAL) as service:
        yield SimpleNamespace(port=service.port, tls=None)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """Gateways that tests share which ask for the same."""
    with contextlib.ExitStack() as stack:
        known: dict[str, HttpGateway] = {}

        def start(peers: dict[str, Any], **more: Any) -> HttpGateway:
            key = json.dumps([{name: peer.port for name, peer in peers.items()}, more])
            if key not in known:
                made = HttpGateway(tmp_path_factory.mktemp("gateway"), peers, **more)
                known[key] = stack.enter_context(made)
            return known[key]

        yield start


@pytest.fixture
def begin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begin]:
    """Start gateways that end with the test, in folders whose names stay short."""
    with contextlib.ExitStack() as stack:

        def start(peers: dict[str, Any], **more: Any) -> HttpGateway:
            made = HttpGateway(tmp_path_factory.mktemp("own"), peers, **more)
            return stack.enter_context(made)

        yield start


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., Any]]:
    """Serve applications; each is a peer."""
    with contextlib.ExitStack() as stack:

        def start(app: Starlette, **more: Any) -> Any:
            port = free_port()
            server = uvicorn.Server(
                uvicorn.Config(
                    app, host="127.0.0.1", port=port, lifespan="off", log_level="critical",
                    timeout_graceful_shutdown=1, **more,
                )
            )  # fmt: skip
            thread = threading.Thread(target=server.run, daemon=True)
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(20)

            stack.callback(stop)
            wait_port(port)
            return SimpleNamespace(port=port, tls=("x",) if more.get("ssl_certfile") else None)

        yield start


def wait_port(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < until
        time.sleep(0.02)


def asking(gateway: HttpGateway, **more: Any) -> httpx2.Client:
    """Return a client of the gateway's that shows the agent's token."""
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{gateway.port}",
        headers={"authorization": f"Bearer {more.pop('token', gateway.agent)}"},
        trust_env=False, timeout=60.0, **more,
    )  # fmt: skip


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
