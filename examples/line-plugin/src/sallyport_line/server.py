"""The store itself: keys and texts in memory. `python -m sallyport_line.server --port 7000`.

It knows nothing of Sallyport and asks nobody who they are, which is why it needs a gateway.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys

LONGEST_LINE = 64 * 1024


class Store:
    """Answers request lines, one reply line each."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def answer(self, line: str) -> str:
        """Return the reply to one request."""
        match line.split(" ", 2):
            case ["GET", key]:
                return f"VALUE {self._texts[key]}" if key in self._texts else "NONE"
            case ["SET", key, text]:
                self._texts[key] = text
                return "OK"
            case ["DEL", key]:
                self._texts.pop(key, None)
                return "OK"
        return "ERR say GET key, SET key text or DEL key"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        try:
            while (line := await reader.readline()).endswith(b"\n"):
                reply = self.answer(line.decode("utf-8", "replace").rstrip("\n"))
                writer.write(reply.encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            writer.close()


async def run(port: int) -> None:
    """Listen on loopback and say where."""
    store = Store()
    server = await asyncio.start_server(store.serve, "127.0.0.1", port, limit=LONGEST_LINE)
    async with server:
        host, bound = server.sockets[0].getsockname()[:2]
        sys.stdout.write(f"listening on {host}:{bound}\n")
        sys.stdout.flush()
        await server.serve_forever()


def main() -> None:
    """Run the server until Ctrl-C."""
    parser = argparse.ArgumentParser(description="a key-value store that speaks in lines")
    parser.add_argument("--port", type=int, default=7000)
    port = parser.parse_args().port
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(port))


if __name__ == "__main__":
    main()
