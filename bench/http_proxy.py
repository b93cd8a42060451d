"""A bare reverse proxy on aiohttp, without policy or recording."""

from __future__ import annotations

import sys

import uvloop
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}


async def application(target: str) -> web.Application:
    """Return the proxy's application."""
    session = ClientSession(
        connector=TCPConnector(limit=0), timeout=ClientTimeout(total=None), auto_decompress=False
    )

    async def forward(request: web.Request) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP}
        body = await request.read() if request.can_read_body else None
        async with session.request(
            request.method,
            target + request.path_qs,
            headers=headers,
            data=body,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in HOP:
                    response.headers.add(name, value)
            if answer.content_length is not None:
                response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    made = web.Application(client_max_size=2**30)
    made.router.add_route("*", "/{path:.*}", forward)
    return made


def main() -> None:
    """Serve until ended."""
    import ssl

    context = None
    if len(sys.argv) > 3:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
    uvloop.install()
    web.run_app(
        application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), ssl_context=context,
        access_log=None, print=None,
    )  # fmt: skip


if __name__ == "__main__":
    main()
