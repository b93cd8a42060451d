"""The `orders` service: a small API of the demo's shop, as companies have many of.

`python -m sallyport.demo.http_service --port N --token T`; without the token it answers 401. Its
customers are those of the `shop` database: made from one seed, so that every run shows the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

import httpx2
import typer
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from sallyport.demo.http_data import Book, exported, picture
from sallyport.demo.server import free_port

START: Final = 30.0
"""Seconds that the service has to start."""
_INTERVAL: Final = 0.5
_MOST: Final = 500
_TOKEN: Final = "SALLYPORT_DEMO_TOKEN"  # noqa: S105 - a variable's name


class Guard:
    """FAILS CLOSED: whoever does not show the credential is answered 401, or is not let in."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what shows the credential."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = HTTPConnection(scope).headers.get("authorization", "")
        if hmac.compare_digest(given.encode(), self._expected.encode()):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)
        else:
            refusal = JSONResponse(
                {"error": "a credential is needed"},
                401,
                {"www-authenticate": 'Bearer realm="orders"'},
            )
            await refusal(scope, receive, send)


class Service:
    """The endpoints, over one book of orders."""

    def __init__(self) -> None:
        self._book = Book()

    def app(self, token: str) -> Starlette:
        """Return the application, which is closed to all who do not know `token`."""
        routes = [
            Route("/orders", self.orders, methods=["GET"]),
            Route("/orders", self.place, methods=["POST"]),
            Route("/orders", self.clear, methods=["DELETE"]),
            Route("/orders/{id:int}", self.order, methods=["GET"]),
            Route("/orders/{id:int}", self.cancel, methods=["DELETE"]),
            Route("/customers/{id:int}", self.customer, methods=["GET"]),
            Route("/search", self.search, methods=["POST"]),
            Route("/events", self.events, methods=["GET"]),
            Route("/files/{name}", self.file, methods=["GET"]),
            Route("/admin/keys", self.keys, methods=["GET"]),
            Route("/old", self.old, methods=["GET"]),
            Route("/login", self.login, methods=["POST"]),
            WebSocketRoute("/chat", self.chat),
        ]
        return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])

    async def orders(self, request: Request) -> Response:
        """List orders, with who placed them."""
        limit = _number(request, "limit", 20)
        if limit is None:
            return _mistake("`limit` is no number")
        found = [self._book.told(order) for order in self._book.newest(min(limit, _MOST))]
        return JSONResponse({"orders": found, "total": len(self._book.orders)})

    async def order(self, request: Request) -> Response:
        """One order."""
        found = self._book.orders.get(request.path_params["id"])
        return _missing("order") if found is None else JSONResponse(self._book.told(found))

    async def place(self, request: Request) -> Response:
        """Place an order: `{"customer": 7, "total": "12.50"}`."""
        body = await _object(request)
        if body is None:
            return _mistake("expected a JSON object")
        customer, total = body.get("customer"), body.get("total")
        if type(customer) is not int or customer not in self._book.customers:
            return _mistake("`customer` is nobody")
        if not isinstance(total, str) or not total.replace(".", "", 1).isdecimal():
            return _mistake("`total` is no amount")
        order = self._book.place(customer, total)
        return JSONResponse(self._book.told(order), 201, {"location": f"/orders/{order['id']}"})

    async def cancel(self, request: Request) -> Response:
        """Take one order out of the book."""
        gone = self._book.orders.pop(request.path_params["id"], None)
        return _missing("order") if gone is None else Response(status_code=204)

    async def clear(self, request: Request) -> Response:
        """Take all orders out of the book: what nobody should be able to do by mistake."""
        count = len(self._book.orders)
        self._book.orders.clear()
        return JSONResponse({"deleted": count})

    async def customer(self, request: Request) -> Response:
        """One customer, with all that is known of them."""
        found = self._book.customers.get(request.path_params["id"])
        return _missing("customer") if found is None else JSONResponse(found)

    async def search(self, request: Request) -> Response:
        """Customers whose name or e-mail holds `text`: `{"text": "ada"}`."""
        body = await _object(request)
        text = (body or {}).get("text")
        if not isinstance(text, str) or not text:
            return _mistake("expected `text` in a JSON object")
        return JSONResponse({"customers": self._book.search(text)[:20]})

    async def events(self, request: Request) -> Response:
        """What happens in the shop, as server-sent events: one each half second."""
        count = _number(request, "count", 10)
        if count is None:
            return _mistake("`count` is no number")
        stream = self._events(min(count, _MOST))
        return StreamingResponse(stream, 200, {"cache-control": "no-store"}, "text/event-stream")

    async def _events(self, count: int) -> AsyncIterator[bytes]:
        for number in range(count):
            if number:
                await asyncio.sleep(_INTERVAL)
            yield self._book.event(number)

    async def chat(self, socket: WebSocket) -> None:
        """Greet, then say everything again."""
        await socket.accept()
        await socket.send_text(self._book.greeting())
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                if message.get("text") is not None:
                    await socket.send_text(message["text"])
                else:
                    await socket.send_bytes(message["bytes"])
        except WebSocketDisconnect:
            return

    async def file(self, request: Request) -> Response:
        """`customers.csv`, or `picture.bin`, which may be asked for in ranges."""
        name = request.path_params["name"]
        if name == "customers.csv":
            return _part(request, exported(self._book), "text/csv; charset=utf-8", name)
        if name == "picture.bin":
            return _part(request, picture(), "application/octet-stream", name)
        return _missing("file")

    async def keys(self, request: Request) -> Response:
        """The keys of the shop's partners: credentials, which no agent has a use for."""
        return JSONResponse({"keys": self._book.keys})

    async def old(self, request: Request) -> Response:
        """Where orders once were."""
        return RedirectResponse("/orders", 301)

    async def login(self, request: Request) -> Response:
        """Set two cookies."""
        answer = JSONResponse({"signed_in": True})
        answer.set_cookie("session", "s-1f0c9a", httponly=True, samesite="lax")
        answer.set_cookie("theme", "dark", max_age=86_400)
        return answer


def _part(request: Request, data: bytes, kind: str, name: str) -> Response:
    """Return a file, or the one range of it that is asked for (RFC 9110, section 14)."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    headers = {
        "etag": tag,
        "accept-ranges": "bytes",
        "content-disposition": f'attachment; filename="{name}"',
    }
    if tag in [part.strip() for part in request.headers.get("if-none-match", "").split(",")]:
        return Response(None, 304, headers)
    asked = request.headers.get("range", "")
    if not asked.startswith("bytes=") or request.headers.get("if-range", tag) != tag:
        return Response(data, 200, headers, kind)
    first, dash, last = asked.removeprefix("bytes=").partition("-")
    begin = max(len(data) - int(last), 0) if not first and last.isdecimal() else _decimal(first)
    end = min(_decimal(last, len(data) - 1) if first else len(data) - 1, len(data) - 1)
    if not dash or begin < 0 or begin > end:
        return Response(None, 416, {**headers, "content-range": f"bytes */{len(data)}"})
    headers["content-range"] = f"bytes {begin}-{end}/{len(data)}"
    return Response(data[begin : end + 1], 206, headers, kind)


def _decimal(text: str, absent: int = -1) -> int:
    return int(text) if text.isdecimal() and len(text) < 16 else absent


def _number(request: Request, name: str, absent: int) -> int | None:
    text = request.query_params.get(name, str(absent))
    return int(text) if text.isdecimal() and len(text) < 16 else None


async def _object(request: Request) -> dict[str, Any] | None:
    try:
        body = await request.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _mistake(text: str) -> Response:
    return JSONResponse({"error": text}, 400)


def _missing(what: str) -> Response:
    return JSONResponse({"error": f"there is no such {what}"}, 404)


class OrdersService:
    """The service in a process of its own. Use as a context manager, or call `start` and `stop`."""

    def __init__(self, folder: Path, token: str, port: int | None = None) -> None:
        self._log = folder / "orders.log"
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()

    def start(self) -> None:
        """Start it and wait until it answers. Raises: RuntimeError with its log."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "--port", str(self.port)],
                env={**os.environ, _TOKEN: self._token},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + START
        while self._process.poll() is None and time.monotonic() < until:
            try:
                httpx2.get(f"http://127.0.0.1:{self.port}/", trust_env=False, timeout=2.0)
                return
            except httpx2.TransportError:
                time.sleep(0.05)
        self.stop()
        said = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the orders service did not start: {said}")

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> OrdersService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main(
    port: Annotated[int, typer.Option(help="where it listens, on loopback")],
    token: Annotated[str, typer.Option(envvar=_TOKEN, help="the credential that opens it")],
) -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        Service().app(token), host="127.0.0.1", port=port, lifespan="off", log_level="warning",
        timeout_graceful_shutdown=2,
    )  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
