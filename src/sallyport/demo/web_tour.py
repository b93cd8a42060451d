"""The tour's part over HTTP: an unmodified `curl`, before the `orders` service."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec import Struct

from sallyport.cli.client import Client

STEP: Final = 30.0
"""Seconds that one step may take."""
_SHOWN: Final = 1200
"""Characters of an answer that are shown."""

Judge = Callable[[int, str, Sequence[str], Sequence[str]], None]


class Request(Struct, frozen=True):
    """One `curl`, what its output must and must not hold, and whether a person approves it."""

    title: str
    words: tuple[str, ...]
    path: str
    shows: tuple[str, ...]
    hides: tuple[str, ...] = ()
    approve: bool = False


REQUESTS: Final = (
    Request(
        "An HTTP API: the gateway holds its credential, and masks what comes back",
        ("-s",),
        "/orders?limit=2",
        (r'"orders"', r"\[redacted:email\]"),
        (r"@example\.com",),
    ),
    Request(
        "Events come as they happen, masked one by one",
        ("-sN",),
        "/events?count=3",
        (r"(?s)(event: order\..*){3}",),
        (r"@example\.com",),
    ),
    Request(
        "To delete a whole collection is refused, and told in the protocol's own way",
        ("-s", "-X", "DELETE"),
        "/orders",
        (r'"status":403', r"no-collection-deletes"),
    ),
    Request(
        "Credentials of others stay where they are",
        ("-s",),
        "/admin/keys",
        (r"no-(admin|credential)-paths",),
        (r'"keys":',),
    ),
    Request(
        "To delete one order waits for a person, who approves it; then it is done",
        ("-si", "-X", "DELETE"),
        "/orders/17",
        (r"HTTP/1.1 204",),
        approve=True,
    ),
)


class WebTour:
    """Runs the requests against a running demo."""

    def __init__(
        self,
        details: dict[str, Any],
        say: Callable[[str], None],
        heading: Callable[[int, str], None],
        judge: Judge,
        approve: Callable[[str], None],
    ) -> None:
        self._url = details["http"]["url"]
        self._token = details["http"]["token"]
        self._approver = Client(details["api"]["url"], details["api"]["approver_token"])
        self._say = say
        self._heading = heading
        self._judge = judge
        self._approve = approve

    def run(self, number: int) -> int:
        """Send all, from step `number` on; return the number of the next step."""
        if shutil.which("curl") is None:
            self._say("\n(the steps over HTTP need `curl`, which is not installed)")
            return number
        for request in REQUESTS:
            self._heading(number, request.title)
            output = self._curl(request)
            text = output if len(output) <= _SHOWN else f"{output[:_SHOWN]} ..."
            self._say(text.rstrip())
            self._judge(number, output, request.shows, request.hides)
            number += 1
        return number

    def _curl(self, request: Request) -> str:
        options = " ".join(request.words)
        self._say(f'$ curl {options} -H "Authorization: Bearer $TOKEN" {self._url}{request.path}')
        words = ["curl", *request.words, "--max-time", str(int(STEP)), "-K", "-"]
        with subprocess.Popen(
            [*words, f"{self._url}{request.path}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("curl has no pipes")
            # On standard input, so that nobody sees it among this machine's processes.
            process.stdin.write(f'header = "Authorization: Bearer {self._token}"\n')
            process.stdin.close()
            if request.approve:
                self._answer()
            output = process.stdout.read()
        return re.sub(r"\r", "", output)

    def _answer(self) -> None:
        """Approve what waits."""
        until = time.monotonic() + STEP
        while time.monotonic() < until:
            pending = self._approver.get("/approvals", state="pending")["approvals"]
            if pending:
                self._approve(pending[0]["id"])
                return
            time.sleep(0.1)
