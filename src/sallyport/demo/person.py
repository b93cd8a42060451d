"""A person of the demo at a terminal and a browser of their own: how the tour logs in."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import httpx2

STEP: Final = 60.0
"""Seconds that a command of theirs may take."""

_OPEN: Final = "or open "


class DemoPerson:
    """One of the issuer's people. What they log in with is kept in `folder`, and nowhere else."""

    def __init__(self, subject: str, folder: Path, details: Mapping[str, Any]) -> None:
        self.subject = subject
        self._issuer: str = details["issuer"]["url"]
        home = folder / "people" / subject
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SALLYPORT_", "XDG_"))
        }
        self._environment = {
            **inherited,
            "HOME": str(home),
            "SALLYPORT_URL": details["api"]["url"],
            "SALLYPORT_KEYRING": "off",
        }

    def run(self, *words: str) -> str:
        """Run a `sallyport` command to its end; return what it says."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "sallyport.cli", *words],
            env=self._environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=STEP, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    def log_in(self, say: Callable[[str], None]) -> str:
        """Run `sallyport login`, and pick this person in a browser; return what the command says.

        `say` is told each line as it comes.
        """
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "sallyport.cli", "login", "--flow", "device"],
            env=self._environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as command:  # fmt: skip
            watch = threading.Timer(STEP, command.kill)
            watch.start()
            lines = []
            try:
                for line in command.stdout or ():
                    say(line.rstrip())
                    lines.append(line)
                    if line.startswith(_OPEN):
                        say(f"        ({self.subject} opens it in a browser, and says who it is)")
                        self._pick(line.split()[2])
            except BaseException:
                command.kill()
                raise
            finally:
                watch.cancel()
        return "".join(lines)

    def _pick(self, address: str) -> None:
        """Press this person's button on the page at `address`. Raises: RuntimeError."""
        if not address.startswith(f"{self._issuer}/"):
            raise RuntimeError(f"`{address}` is no page of the development issuer")
        try:
            with httpx2.Client(timeout=STEP, trust_env=False) as browser:
                shown = browser.get(address)
                action, fields = read_form(shown.text)
                origin = f"{shown.url.scheme}://{shown.url.netloc.decode('ascii')}"
                form = {**fields, "person": self.subject}
                answer = browser.post(action, data=form, headers={"origin": origin})
        except httpx2.HTTPError as error:
            raise RuntimeError(f"the development issuer does not answer: {error}") from None
        if answer.status_code != 200:
            raise RuntimeError(f"the development issuer answers with {answer.status_code}")


class _Form(HTMLParser):
    """The one form of a page: where it goes, and the fields that nobody fills in."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take what belongs to the form."""
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = given.get("action", "")
        elif tag == "input" and given.get("type") == "hidden":
            self.fields[given.get("name", "")] = given.get("value", "")


def read_form(text: str) -> tuple[str, dict[str, str]]:
    """Return where a page's form goes, and its hidden fields. Raises: RuntimeError."""
    parser = _Form()
    parser.feed(text)
    if not parser.action:
        raise RuntimeError("the development issuer's page has no form")
    return parser.action, parser.fields
