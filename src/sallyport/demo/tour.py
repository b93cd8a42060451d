"""Tour: a minute with a real client, in one session, each step checked for what it should show."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from msgspec import Struct

from sallyport.cli.client import Client, path
from sallyport.cli.errors import CommandError
from sallyport.demo.person import DemoPerson
from sallyport.demo.web_tour import WebTour

STEP = 30.0
"""Seconds that one step may take."""

PAUSE = 1.5
"""Seconds between two steps on a terminal, so that a person can read along."""


_ASKS = re.compile(r"(acc-\w+) waits for dba")
_WAITS = re.compile(r"waits for approval (apr-\w+)")


class Step(Struct, frozen=True):
    """One statement, what its output must and must not hold, and whether a person approves it."""

    title: str
    sql: str
    shows: tuple[str, ...]
    hides: tuple[str, ...] = ()
    approve: bool = False


STEPS = (
    Step(
        "A read. Personal data is masked on its way out, by column and by what it looks like",
        "SELECT id, name, email, national_id, card_number, notes FROM customers "
        "WHERE id IN (3, 7, 12) ORDER BY id;",
        shows=(r"\(3 rows\)",),
        hides=(r"@example\.com", r"\+49 30", r"\d{3}-\d{2}-\d{4}"),
    ),
    Step(
        "A question about a masked column: the database itself answers for the masked values",
        "SELECT upper(max(national_id)) AS most, "
        "count(*) FILTER (WHERE email LIKE '%@example.com') AS guessed FROM customers;",
        (r"masked here: ", r"\[REDACTED\] +\| +0"),
        hides=(r"\d{3}-\d{2}-\d{4}",),
    ),
    Step(
        "A DROP TABLE never reaches the database", "DROP TABLE customers;", (r"42501|refused by",)
    ),
    Step(
        "A DELETE without WHERE is refused, and says what to do instead",
        "DELETE FROM orders;",
        (r"refused by", r"HINT"),
    ),
    Step(
        "An UPDATE waits for a person, who approves it; then it runs",
        "UPDATE orders SET status = 'refunded' WHERE id = 17;",
        (r"waits for approval", r"UPDATE 1"),
        approve=True,
    ),
    Step(
        "Another waits, nobody answers in time, and it is denied",
        "UPDATE payments SET amount = amount * 100 WHERE id = 17;",
        (r"waits for approval", r"refused by|expired"),
        hides=(r"UPDATE 1",),
    ),
    Step(
        "The session goes on as if nothing had happened",
        "SELECT o.id, o.status, p.amount FROM orders o JOIN payments p ON p.order_id = o.id "
        "WHERE o.id = 17;",
        (r"refunded", r"\(1 row\)"),
    ),
)


class Tour:
    """Runs the steps and the replay against a running demo."""

    def __init__(
        self, details: dict[str, Any], binaries: Path, folder: Path, say: Callable[[str], None]
    ) -> None:
        self._details = details
        self._binaries = binaries
        self._folder = folder
        self._say = say
        self._failures: list[str] = []
        self._approver = Client(details["api"]["url"], details["api"]["approver_token"])
        self._admin = Client(details["api"]["url"], details["api"]["admin_token"])

    def run(self) -> int:
        """Show everything; return 1 when a step did not show what it should."""
        session = PsqlSession(self._details["postgres"], self._binaries)
        try:
            for number, step in enumerate(STEPS, 1):
                self._step(number, step, session)
        finally:
            session.close()
        shows = (r"DROP TABLE customers", r"UPDATE 1", r"DELETE FROM orders")
        self._replay(len(STEPS) + 1, "shop", shows)
        self._on_request(len(STEPS) + 2)
        self._over_http(len(STEPS) + 5)
        for failure in self._failures:
            self._say(f"the tour failed: {failure}")
        return 1 if self._failures else 0

    def _step(self, number: int, step: Step, session: PsqlSession) -> None:
        self._heading(number, step.title)
        self._say(f"shop=> {step.sql}")
        lines = []
        for line in session.run(step.sql):
            self._say(line)
            lines.append(line)
            if step.approve and (waits := _WAITS.search(line)):
                self._approve(waits[1], step.title)
        self._judge(number, "\n".join(lines), step.shows, step.hides)

    def _over_http(self, number: int) -> None:
        def approve(identifier: str) -> None:
            self._approve(identifier, "a request over HTTP")

        web = WebTour(self._details, self._say, self._heading, self._judge, approve)
        following = web.run(number)
        if following > number:
            shows = (r"GET /orders\?limit=2", r"approved by dana", r"HTTP/1.1 204")
            self._replay(following, "orders", shows)

    def _approve(self, identifier: str, title: str) -> None:
        self._say(f"        (dana looks at {identifier} and approves it)")
        try:
            self._approver.post(path("approvals", identifier, "approve"), {"reason": "tour"})
        except CommandError as error:
            self._failures.append(f"`{title}`: {error}")

    def _replay(self, number: int, target: str, shows: Sequence[str]) -> None:
        self._heading(number, "The replay of that session, as it was recorded")
        sessions = self._admin.get("/sessions", subject="agent-demo", target=target, limit=1)[
            "sessions"
        ]
        if not sessions:
            self._failures.append("no session is on record")
            return
        admin = self._details["api"]["admin_token"]
        output = self._sallyport(admin, "sessions", "replay", sessions[0]["id"], "--speed", "1000")
        self._say(output)
        self._judge(number, output, shows, (r"@example\.com",))

    def _on_request(self, number: int) -> None:
        """Somebody logs in; access is asked for, given, used and taken back."""
        robin = DemoPerson("robin", self._folder, self._details)
        self._heading(number, "A contractor logs in, has no access, and is told how to ask for it")
        self._say("$ sallyport login")
        said = robin.log_in(self._say)
        self._judge(number, said, (r"robin is logged in at \S+ by demo",), ())
        # the token of that login, as `sallyport connect` gives it to a client
        password = robin.run("connect", "shop", "--password").strip()
        postgres = {**self._details["postgres"], "password": password}
        refused = self._paste(PsqlSession(postgres, self._binaries), "SELECT 1;")
        self._judge(number, refused, (r"given on request", r"sallyport access request shop"), ())

        number += 1
        self._heading(number, "Access is asked for; a person gives it, for half an hour")
        request = ("access", "request", "shop", "--for", "30m", "--reason", "ticket 4711")
        self._say(f"$ sallyport {shlex.join(request)}")
        said = robin.run(*request)
        self._say(said)
        self._judge(number, said, (_ASKS.pattern,), ())
        if (asked := _ASKS.search(said)) is None:
            return
        self._answer_access(asked[1], "approve", "looks at it and approves it")
        session = PsqlSession(postgres, self._binaries)
        try:
            output = self._paste(session, "SELECT count(*) FROM orders;")
            self._judge(number, output, (r"\(1 row\)",), ())

            number += 1
            self._heading(number, "It is taken back, and the open session ends")
            self._answer_access(asked[1], "revoke", "takes it back")
            self._wait_closed("robin")
            output = self._paste(session, "SELECT count(*) FROM orders;")
            self._judge(number, output, (r"acc-\w+ is revoked",), (r"\(1 row\)",))
        finally:
            session.close()

    def _wait_closed(self, subject: str) -> None:
        until = time.monotonic() + STEP
        while self._admin.get("/sessions", subject=subject, state="open")["sessions"]:
            if time.monotonic() > until:
                self._failures.append(f"a session of {subject} stays open")
                return
            time.sleep(0.1)

    def _answer_access(self, identifier: str, verb: str, words: str) -> None:
        self._say(f"        (dana {words}: {identifier})")
        try:
            self._approver.post(path("access", identifier, verb), {"reason": "tour"})
        except CommandError as error:
            self._failures.append(f"{identifier} cannot be answered: {error}")

    def _paste(self, session: PsqlSession, sql: str) -> str:
        self._say(f"shop=> {sql}")
        lines = []
        for line in session.run(sql):
            self._say(line)
            lines.append(line)
        return "\n".join(lines)

    def _sallyport(self, token: str, *arguments: str) -> str:
        api = self._details["api"]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sallyport.cli", *arguments],
            env={**os.environ, "SALLYPORT_URL": api["url"], "SALLYPORT_TOKEN": token},
            capture_output=True,
            text=True,
            timeout=STEP,
            check=False,
        )
        return done.stdout + done.stderr

    def _judge(self, number: int, output: str, shows: Sequence[str], hides: Sequence[str]) -> None:
        for pattern in shows:
            if not re.search(pattern, output):
                self._failures.append(f"step {number} does not show `{pattern}`")
        for pattern in hides:
            if re.search(pattern, output):
                self._failures.append(f"step {number} shows `{pattern}`")

    def _heading(self, number: int, title: str) -> None:
        if number > 1 and sys.stdout.isatty():
            time.sleep(PAUSE)
        bold, plain = ("\x1b[1m", "\x1b[0m") if sys.stdout.isatty() else ("", "")
        self._say(f"\n{bold}{number}. {title}{plain}\n")


class PsqlSession:
    """One psql, fed a statement at a time; its output ends at an echoed mark."""

    def __init__(self, postgres: dict[str, Any], binaries: Path) -> None:
        self._process = subprocess.Popen(
            [
                binaries / "psql", "-X", "-P", "pager=off", "-h", postgres["host"],
                "-p", str(postgres["port"]), "-U", postgres["user"], postgres["database"],
            ],
            env={**os.environ, "PGPASSWORD": postgres["password"], "PGAPPNAME": "tour"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )  # fmt: skip
        self._lines: Queue[str | None] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self._count = 0

    def run(self, sql: str) -> Iterator[str]:
        """Send one statement and yield what psql prints for it, line by line as it comes."""
        self._count += 1
        mark = f"--- end of step {self._count} ---"
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("psql has no input")
        with contextlib.suppress(BrokenPipeError):  # it was refused, and is gone: read what it said
            stdin.write(f"{sql}\n\\echo '{mark}'\n")
            stdin.flush()
        while True:
            try:
                line = self._lines.get(timeout=STEP)
            except Empty:
                yield "(no answer in time)"
                return
            if line is None:
                yield "(psql ended)"
                return
            if line.rstrip() == mark:
                return
            if text := line.rstrip("\n"):
                yield text

    def close(self) -> None:
        """End the session."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(10)

    def _read(self) -> None:
        stdout = self._process.stdout
        if stdout is not None:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(None)
