"""`sallyport demo`: a real database, the gateway before it, an issuer to log in at, a tour, and
lines to paste.

Everything that it starts is its own child and is stopped with it. The state folder is emptied at
each start; only a folder that a demo made (it holds `demo.json`) ever is, and never one in which
another demo runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from typing import Any

from sallyport.cli.client import Client, path
from sallyport.cli.errors import USAGE, CommandError
from sallyport.config.development import VARIABLE
from sallyport.demo import shop
from sallyport.demo.http_service import OrdersService
from sallyport.demo.issuer.server import DevelopmentIssuer
from sallyport.demo.server import EmbeddedPostgres, free_port
from sallyport.demo.tour import Tour

READY = 30.0
"""Seconds that the gateway has to start."""

_DAY = 86_400


class Demo:
    """One running demo. Make it, `start` it, use `details`, `stop` it."""

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.postgres = EmbeddedPostgres(self.state / "postgres")
        self.issuer = DevelopmentIssuer()
        self._credential = secrets.token_urlsafe(18)
        self.orders = OrdersService(self.state / "orders", self._credential)
        self._gateway: subprocess.Popen[bytes] | None = None
        self.details: dict[str, Any] = {}

    def start(self) -> None:
        """Start database and gateway and make the tokens. Raises: RuntimeError in words."""
        password = secrets.token_urlsafe(18)
        _say("starting PostgreSQL 18 and filling the database `shop` (50,000 rows) ...")
        self.postgres.start()
        shop.load(self.postgres, password)
        _say("starting the service `orders`, an HTTP API ...")
        self.orders.start()
        _say("starting the gateway, and a development issuer that asks for no password ...")
        self.issuer.start()
        config, (gateway_port, _, web_port), url, admin = self._start_gateway()
        client = Client(url, admin)
        client.put(path("credentials", "shop-app"), {"value": password})
        client.put(path("credentials", "orders-api"), {"value": self._credential})
        agent = _token(client, "demo agent", "agent-demo", groups=["agents"])
        approver = _token(client, "demo approver", "dana", groups=["dba"], roles=["approver"])
        contractor = _token(client, "demo contractor", "robin", groups=["contractors"])
        self.details = {
            "postgres": {
                "host": "127.0.0.1",
                "port": gateway_port,
                "database": "shop",
                "user": "app",
                "password": agent,
            },
            "http": {"url": f"http://127.0.0.1:{web_port}/t/orders", "token": agent},
            "direct": {"uri": self.postgres.uri("shop")},
            "api": {
                "url": url,
                "agent_token": agent,
                "approver_token": approver,
                "contractor_token": contractor,
                "admin_token": admin,
            },
            "issuer": {"url": self.issuer.url},
            "config": str(config),
        }
        _write_details(self.state, self.details)

    def stop(self) -> None:
        """Stop what was started."""
        if self._gateway is not None and self._gateway.poll() is None:
            self._gateway.terminate()
            try:
                self._gateway.wait(20)
            except subprocess.TimeoutExpired:
                self._gateway.kill()
                self._gateway.wait()
        self.issuer.stop()
        self.orders.stop()
        self.postgres.stop()

    def wait(self) -> None:
        """Return when the gateway ends by itself."""
        if self._gateway is not None:
            self._gateway.wait()

    def instructions(self) -> str:
        """Return the lines that a person pastes."""
        postgres, api = self.details["postgres"], self.details["api"]
        psql = shlex.quote(str(self.postgres.binaries / "psql"))
        sallyport = shlex.quote(str(Path(sys.executable).with_name("sallyport")))
        where = f"SALLYPORT_URL={api['url']}"
        approver = f"{where} SALLYPORT_TOKEN={api['approver_token']} {sallyport}"
        return "\n".join(
            (
                "",
                "Connect as the agent (masked, guarded, recorded):",
                f"  PGPASSWORD={postgres['password']} {psql} -h {postgres['host']} "
                f"-p {postgres['port']} -U {postgres['user']} {postgres['database']}",
                "",
                "Ask the HTTP API, with any client:",
                f"  curl -u agent:{self.details['http']['token']} "
                f"'{self.details['http']['url']}/orders?limit=2'",
                "",
                "See what waits, as the approver, and answer it by its id:",
                f"  {approver} approvals watch",
                f"  {approver} approvals approve apr-...",
                "",
                "Watch every session live, as the administrator:",
                f"  {where} SALLYPORT_TOKEN={api['admin_token']} {sallyport} sessions tail",
                "",
                "Log in as a person (no password: pick robin, who is a contractor), ask for access",
                "(dana approves it, by the third line), and connect with that login:",
                f"  {where} {sallyport} login",
                f"  {where} {sallyport} access request shop --for 30m --reason 'ticket 4711'",
                f"  {approver} access approve acc-...",
                f"  {where} {sallyport} connect shop -- {psql}",
                "",
                f"All of it for scripts: {self.state / 'demo.json'}",
            )
        )

    # --- inside

    def _write_config(self, gateway_port: int, api_port: int, web_port: int) -> Path:
        text = resources.files("sallyport.demo").joinpath("sallyport.yaml").read_text()
        for mark, value in (
            ("@API_PORT@", str(api_port)),
            ("@GATEWAY_PORT@", str(gateway_port)),
            ("@WEB_PORT@", str(web_port)),
            ("@ORDERS_PORT@", str(self.orders.port)),
            ("@DATABASE_PORT@", str(self.postgres.port)),
            ("@ISSUER_PORT@", str(self.issuer.port)),
        ):
            text = text.replace(mark, value)
        config = self.state / "sallyport.yaml"
        config.write_text(text)
        return config

    def _start_gateway(self) -> tuple[Path, tuple[int, int, int], str, str]:
        """Return the configuration, the ports (database, API, HTTP), the API's address and the
        admin token.

        A port is only known to be free until somebody else takes it: then others are tried.
        """
        tried = [(_port(6432), _port(8642), _port(8641))]
        tried += [(free_port(), free_port(), free_port()) for _ in "ab"]
        for ports in tried:
            config = self._write_config(*ports)
            url = f"http://127.0.0.1:{ports[1]}"
            self.issuer.serve_for(url)
            self._launch(config)
            if (admin := self._wait_ready(url)) is not None:
                return config, ports, url, admin
            if "cannot listen on" not in self._gateway_log():
                break
        raise RuntimeError(f"the gateway did not start:\n{self._gateway_log()}")

    def _launch(self, config: Path) -> None:
        with (self.state / "gateway.log").open("wb") as log:
            self._gateway = subprocess.Popen(
                [sys.executable, "-P", "-m", "sallyport.cli", "serve", "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, VARIABLE: "1"},
            )

    def _gateway_log(self) -> str:
        return (self.state / "gateway.log").read_text(errors="replace")[-3000:]

    def _wait_ready(self, url: str) -> str | None:
        """Return the admin token once the gateway is ready, or None when it is not to be."""
        token = self.state / "gateway" / "admin.token"
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            if self._gateway is not None and self._gateway.poll() is not None:
                break
            if token.exists() and _is_ready(url):
                return token.read_text().strip()
            time.sleep(0.05)
        return None


def run(tour: bool = True, exit: bool = False, state: Path | None = None) -> int:
    """Run the demo; return 0, or 1 when a step of the tour did not show what it should."""
    folder = (state or Path("demo-state")).resolve()
    held = _take(folder)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    demo: Demo | None = None
    code = 0
    try:
        demo = Demo(folder)
        demo.start()
        if tour:
            code = Tour(demo.details, demo.postgres.binaries, folder, _say).run()
        if not exit:
            _say(demo.instructions())
            _say("\nThe demo stays up. Ctrl-C (or `kill`) stops everything that it started.")
            demo.wait()
    except KeyboardInterrupt:
        _say("\nstopping ...")
    except (RuntimeError, CommandError) as error:
        _say(f"the demo failed: {error}")
        code = 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if demo is not None:
            demo.stop()
        os.close(held)
    return code


def _take(folder: Path) -> int:
    """Empty `folder` for this demo alone; return the descriptor that holds it.

    Raises: CommandError when it is another's, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        found = list(folder.iterdir())
    except OSError as error:
        raise CommandError(
            f"cannot use the folder `{folder}`: {(error.strerror or str(error)).lower()}",
            hint="name another with --state",
            code=USAGE,
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CommandError(
            f"another demo runs in `{folder}`", hint="name another folder with --state", code=USAGE
        ) from None
    if found and not (folder / "demo.json").exists():
        raise CommandError(
            f"`{folder}` is not empty and no demo made it",
            hint="name another with --state",
            code=USAGE,
        )
    for each in found:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    folder.chmod(0o700)
    _write_details(folder, {})
    return held


def _write_details(folder: Path, details: dict[str, Any]) -> None:
    """Write `demo.json`, whole or not at all: scripts may wait for it. It holds tokens: 0600."""
    partial = folder / "demo.json.partial"
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(details, file, indent=2)
    partial.replace(folder / "demo.json")


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, flush=True)


def _token(client: Client, name: str, subject: str, **more: object) -> str:
    body = {"name": name, "subject": subject, "lifetime": _DAY, **more}
    return str(client.post("/tokens", body)["secret"])


def _port(wanted: int) -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def _is_ready(url: str) -> bool:
    import httpx2

    try:
        return httpx2.get(f"{url}/readyz", timeout=2.0, trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False
