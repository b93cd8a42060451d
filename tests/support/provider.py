"""A real OpenID provider (npm's oidc-provider) in a process of its own, and a browser for it.

It is installed once, into a folder of the user's cache, from the registry that npm is set to. Where
that cannot be done, the tests that need it are skipped, and say why.
"""

from __future__ import annotations

import fcntl
import hashlib
import html
import json
import os
import re
import shutil
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2
import pytest

from sallyport.demo.server import free_port

HERE = Path(__file__).parent / "oidc"
FILES = ("package.json", "package-lock.json")
CLIENT = "sallyport"
WEB_CLIENT, WEB_SECRET = "sallyport-web", "only-for-tests: 100%"
INSTALLING = 240.0
STARTING = 30.0

_FORM = re.compile(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", re.DOTALL)
_INPUT = re.compile(r"<input[^>]*>", re.DOTALL)
_ATTRIBUTE = re.compile(r"([a-z]+)=\"([^\"]*)\"")


def installed() -> Path:
    """Return the folder that the provider is installed in; skip the test where it cannot be."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("oidc-provider: node and npm are needed")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sallyport-tests"
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()
    folder = base / f"oidc-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in FILES:
                shutil.copy(HERE / name, folder / name)
            ran = subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=folder, capture_output=True, text=True, timeout=INSTALLING, check=False,
            )  # fmt: skip
            if ran.returncode:
                pytest.skip(f"oidc-provider: npm ci failed: {ran.stderr[-300:]}")
            (folder / "complete").touch()
    return folder


class OpenIdProvider:
    """The provider, running. `backchannel`: where it tells of logouts. `audience`: whom its access
    tokens are for, as JWTs; without one they are opaque. `tls`: files of its certificate and key.
    `web`: the origin that its client `sallyport-web` signs in at.
    """

    def __init__(
        self,
        folder: Path,
        backchannel: str = "",
        audience: str = "",
        tls: tuple[Path, Path] | None = None,
        web: str = "http://127.0.0.1:1",
    ) -> None:
        self.port = free_port()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._tls = dict(zip(("certificate", "key"), map(str, tls or ()), strict=False))
        self._log = folder / "provider.log"
        self._backchannel = backchannel
        self._web = web
        self._audience = audience
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> OpenIdProvider:
        where = installed()
        script = where / f"server-{os.getpid()}-{self.port}.mjs"
        shutil.copy(HERE / "server.mjs", script)
        settings = {
            "port": self.port,
            "backchannel": self._backchannel,
            "audience": self._audience,
            "web": self._web,
            **self._tls,
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["node", str(script)], cwd=where, stdout=log, stderr=log,
                env={**os.environ, "SETTINGS": json.dumps(settings)},
            )  # fmt: skip
        until = time.monotonic() + STARTING
        while "listening" not in self.log():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(self.log())
            time.sleep(0.05)
        script.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def rotate(self) -> None:
        """Sign with another key from now; the old one is forgotten."""
        self._post("rotate")

    def set_groups(self, subject: str, groups: list[str]) -> None:
        """Put somebody into other groups from now."""
        self._post(f"groups?sub={subject}", json.dumps(groups))

    def _post(self, path: str, body: str = "") -> None:
        answer = httpx2.post(f"{self.url}/test/{path}", content=body, trust_env=False)
        assert answer.status_code == 200, answer.text


class Browser:
    """Somebody's browser: keeps cookies, follows redirects, fills in forms. `ca`: whom it
    believes; absent: the system's authorities.
    """

    def __init__(self, person: str, ca: Path | None = None) -> None:
        self.person = person
        believed = True if ca is None else ssl.create_default_context(cafile=str(ca))
        self._http = httpx2.Client(
            follow_redirects=False, trust_env=False, timeout=20.0, verify=believed
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def visit(self, url: str, **fields: str) -> httpx2.Response:
        """Open a page and go on, logging in and consenting, until nothing is left to fill in."""
        answer = self._http.get(url)
        for _ in range(20):
            if answer.is_redirect:
                answer = self._http.get(urljoin(str(answer.url), answer.headers["location"]))
                continue
            form = self.form(answer)
            if form is None:
                return answer
            action, inputs = form
            where = urlsplit(action)
            said = {"origin": f"{where.scheme}://{where.netloc}"}  # as browsers say of their forms
            answer = self._http.post(action, data={**inputs, **fields}, headers=said)
        raise AssertionError(f"no end of pages: {answer.text[:500]}")

    def form(self, page: httpx2.Response) -> tuple[str, dict[str, str]] | None:
        """Return where the page's form goes, and what this person fills in."""
        found = _FORM.search(page.text)
        if found is None or page.status_code >= 400:
            return None
        values: dict[str, str] = {}
        for tag in _INPUT.findall(found[2]):
            attributes: dict[str, Any] = dict(_ATTRIBUTE.findall(tag))
            values[attributes["name"]] = html.unescape(attributes.get("value", ""))
        if "login" in values:
            values |= {"login": self.person, "password": "whatever"}
        return urljoin(str(page.url), html.unescape(found[1])), values

    def get(self, url: str, **more: Any) -> httpx2.Response:
        """Ask once, with its cookies."""
        return self._http.get(url, **more)

    def post(self, url: str, **more: Any) -> httpx2.Response:
        """Likewise."""
        return self._http.post(url, **more)

    def forget(self, cookie: str) -> None:
        """Lose a cookie."""
        self._http.cookies.delete(cookie)

    def log_out(self, provider: OpenIdProvider) -> None:
        """Log out at the provider, which tells whoever the person was logged in at."""
        page = self.visit(f"{provider.url}/session/end", logout="yes")
        assert page.status_code < 400, page.text
