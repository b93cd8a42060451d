"""A real gateway before a real database, for tests: started, asked and stopped as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2

from sallyport.cli.client import Client, path
from sallyport.demo.server import EmbeddedPostgres, free_port

READY = 30.0

EVERYTHING = [
    {
        "name": "everything",
        "effect": "allow",
        "operations": {"effects": ["read", "write", "admin", "unknown"]},
    }
]


class Gateway:
    """One `sallyport serve` on free ports over `server`'s database `database`."""

    def __init__(
        self,
        folder: Path,
        server: EmbeddedPostgres,
        *,
        database: str = "postgres",
        login: str = "app",
        password: str = "app-password",
        rules: list[dict[str, Any]] | None = None,
        guardrails: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        listener: dict[str, Any] | None = None,
        sources: Path | None = None,
    ) -> None:
        self.sources = sources
        self.folder = folder
        self.server = server
        self.port = free_port()
        self.api_port = free_port()
        self.password = password
        self.config: dict[str, Any] = {
            "version": 1,
            "state": str(folder / "state"),
            "api": {"address": f"127.0.0.1:{self.api_port}"},
            "listeners": [
                {
                    "name": "postgres",
                    "protocol": "postgres",
                    "address": f"127.0.0.1:{self.port}",
                    **(listener or {}),
                }
            ],
            "vault": {"key": f"file:{folder}/state/master.key", "generate": True},
            "targets": [
                {
                    "name": "db",
                    "protocol": "postgres",
                    "labels": {"env": "test"},
                    "address": f"127.0.0.1:{server.port}",
                    "database": database,
                    "databases": ["*"],
                    "login": login,
                    "logins": {login: {"credential": "vault:db"}},
                    **(target or {}),
                }
            ],
            "roles": {"approver": ["dba"]},
            "access": [
                {
                    "name": "all",
                    "subjects": {"groups": ["agents"]},
                    "targets": {"names": ["*"]},
                    "logins": ["*"],
                }
            ],
            "policy": {
                "guardrails": guardrails or {"enabled": True},
                "rules": EVERYTHING if rules is None else rules,
            },
            **(extra or {}),
        }
        self.path = folder / "sallyport.yaml"
        self.process: subprocess.Popen[bytes] | None = None
        self.agent = ""
        self.approver_token = ""
        self.admin_token = ""

    # --- running

    def write_config(self) -> None:
        self.path.write_text(json.dumps(self.config, indent=1))  # JSON is YAML

    def launch(self) -> None:
        log = (self.folder / "gateway.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sallyport.cli", "serve", "-c", str(self.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | ({"PYTHONPATH": str(self.sources)} if self.sources else {}),
        )
        log.close()
        self.wait_ready()

    def start(self) -> Gateway:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        self.launch()
        self.admin_token = (self.folder / "state" / "admin.token").read_text().strip()
        self.admin.put(path("credentials", "db"), {"value": self.password})
        self.agent = self.token("agent-one", groups=["agents"])
        self.approver_token = self.token("dana", groups=["dba"], roles=["approver"])
        return self

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def reload(self) -> None:
        """Write the changed `config` and have it taken; raises CommandError when it is not."""
        self.write_config()
        self.admin.post("/policy/reload")

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                break
            try:
                if (
                    httpx2.get(f"{self.url}/readyz", timeout=2.0, trust_env=False).status_code
                    == 200
                ):
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"the gateway did not start:\n{self.log()[-5000:]}")

    def log(self) -> str:
        return (self.folder / "gateway.log").read_text(errors="replace")

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- asking

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def admin(self) -> Client:
        return Client(self.url, self.admin_token)

    @property
    def approver(self) -> Client:
        return Client(self.url, self.approver_token)

    def token(self, subject: str, **more: Any) -> str:
        body = {"name": subject, "subject": subject, "lifetime": 86_400, **more}
        return str(self.admin.post("/tokens", body)["secret"])

    def dsn(self, token: str | None = None, *, target: str = "db", **options: str) -> str:
        words = {
            "host": "127.0.0.1",
            "port": str(self.port),
            "user": "app",
            "dbname": target,
            "password": token or self.agent,
            **options,
        }
        return " ".join(f"{name}='{value}'" for name, value in words.items())

    def wait_pending(self, seconds: float = 10.0) -> dict[str, Any]:
        """Return the newest pending approval as soon as there is one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pending = self.approver.get("/approvals", state="pending")["approvals"]
            if pending:
                return dict(pending[0])
            time.sleep(0.03)
        raise AssertionError("nothing is pending")

    def approve(self, identifier: str) -> None:
        self.approver.post(path("approvals", identifier, "approve"), {"reason": "looked at"})

    def deny(self, identifier: str) -> None:
        self.approver.post(path("approvals", identifier, "deny"), {"reason": "not now"})
