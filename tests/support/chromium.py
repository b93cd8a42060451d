"""A real browser: Debian's Chromium without a screen, by its driver (W3C WebDriver)."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from sallyport.demo.server import free_port
from tests.support.processes import PATIENCE

ARGUMENTS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server",
)  # fmt: skip
ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""What WebDriver calls a reference to an element by."""


class Chromium:
    """The browser, with a profile of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
        if driver is None or browser is None:
            pytest.skip("chromium and chromium-driver (Debian packages) are needed")
        self._port, self._folder, self._browser = free_port(), folder, browser
        self._process = subprocess.Popen(
            [driver, f"--port={self._port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        base = f"http://127.0.0.1:{self._port}"
        self._http = httpx2.Client(base_url=base, trust_env=False, timeout=60.0)

    def __enter__(self) -> Chromium:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                if self._http.get("/status").json()["value"]["ready"]:
                    break
            except httpx2.TransportError:
                assert time.monotonic() < until, "chromedriver does not start"
            time.sleep(0.05)
        profile = f"--user-data-dir={self._folder / 'profile'}"
        options = {"binary": self._browser, "args": [*ARGUMENTS, profile]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options}
        begun = self._post("/session", capabilities={"alwaysMatch": wanted})
        self._session = f"/session/{begun['sessionId']}"
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_session"):
            self._http.delete(self._session)
        self._process.terminate()
        self._process.wait(20)
        self._http.close()

    def visit(self, url: str) -> None:
        """Open a page, as if its address was typed."""
        self._post(f"{self._session}/url", url=url)

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self._http.get(f"{self._session}/url").json()["value"])

    @property
    def text(self) -> str:
        """What the page says."""
        return str(self.run("return document.body.innerText"))

    def type(self, selector: str, words: str) -> None:
        """Fill in a field."""
        self._post(f"{self._session}/element/{self._find(selector)}/value", text=words)

    def click(self, selector: str) -> None:
        """Press a button, or follow a link."""
        self._post(f"{self._session}/element/{self._find(selector)}/click")

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page; what it promises is waited for."""
        return self._post(f"{self._session}/execute/sync", script=script, args=list(arguments))

    def forget_csp(self) -> None:
        """Let scripts of a test run in pages that allow none, from the next page on."""
        said = {"cmd": "Page.setBypassCSP", "params": {"enabled": True}}
        self._post(f"{self._session}/goog/cdp/execute", **said)

    def cookies(self) -> dict[str, dict[str, Any]]:
        """Return the page's cookies, by name."""
        found = self._http.get(f"{self._session}/cookie").json()["value"]
        return {one["name"]: one for one in found}

    def _find(self, selector: str) -> str:
        found = self._post(f"{self._session}/element", using="css selector", value=selector)
        return str(found[ELEMENT])

    def _post(self, path: str, **body: object) -> Any:
        answer = self._http.post(path, json=body)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value
