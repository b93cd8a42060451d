"""A real gateway before real HTTP servers, for tests: as `Gateway`, with other targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sallyport.cli.client import path
from sallyport.demo.server import free_port
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.http_peers import Peer

CREDENTIAL = "the-credential-of-the-target"
"""What targets are shown, and no client ever is."""


class HttpGateway(Gateway):
    """One `sallyport serve` whose targets are servers of `http_peers`, each by its own name.

    `files`: a certificate, its key and its authority; then it listens with TLS too (`tls_port`).
    """

    def __init__(
        self,
        folder: Path,
        peers: dict[str, Peer],
        *,
        rules: list[dict[str, Any]] | None = None,
        settings: dict[str, Any] | None = None,
        listener: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        files: tuple[Path, Path, Path] | None = None,
        versions: dict[str, str] | None = None,
    ) -> None:
        self.sources = None
        self.folder = folder
        self.port, self.tls_port, self.api_port = free_port(), free_port(), free_port()
        self.path = folder / "sallyport.yaml"
        self.process = None
        self.agent = self.approver_token = self.admin_token = ""
        self.peers = peers
        listeners = [
            {
                "name": "web",
                "protocol": "http",
                "address": f"127.0.0.1:{self.port}",
                **(listener or {}),
            }
        ]
        if files is not None:
            secured = {"certificate": f"file:{files[0]}", "key": f"file:{files[1]}"}
            address = f"127.0.0.1:{self.tls_port}"
            listeners.append(
                {"name": "web-tls", "protocol": "http", "address": address, "tls": secured}
            )
        targets = []
        for name, peer in peers.items():
            target = {
                "name": name,
                "protocol": "http",
                "labels": {"env": "test"},
                "address": f"127.0.0.1:{peer.port}",
                "tls": {"mode": "require" if peer.tls else "disable"},
                "login": "app",
                "logins": {"app": {"credential": "vault:web"}},
                "settings": {"inject": {"as": "bearer"}, **(settings or {})},
            }
            if versions and name in versions:
                target["settings"]["version"] = versions[name]
            targets.append(target)
        self.config = {
            "version": 1,
            "state": str(folder / "state"),
            "api": {"address": f"127.0.0.1:{self.api_port}"},
            "listeners": listeners,
            "vault": {"key": f"file:{folder}/state/master.key", "generate": True},
            "targets": targets,
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
                "guardrails": {"enabled": False},
                "rules": EVERYTHING if rules is None else rules,
            },
            **(extra or {}),
        }

    def start(self) -> HttpGateway:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_config()
        self.launch()
        self.admin_token = (self.folder / "state" / "admin.token").read_text().strip()
        self.admin.put(path("credentials", "web"), {"value": CREDENTIAL})
        self.agent = self.token("agent-one", groups=["agents"])
        self.approver_token = self.token("dana", groups=["dba"], roles=["approver"])
        return self

    def wait_ready(self) -> None:
        """Wait twice as long as `Gateway` while it is alive: several may start at once."""
        try:
            super().wait_ready()
        except RuntimeError:
            if self.process is None or self.process.poll() is not None:
                raise
            super().wait_ready()

    def __enter__(self) -> HttpGateway:
        try:
            return self.start()
        except BaseException:  # a test's timeout too: nothing may be left running
            self.stop()
            raise

    def base(self, target: str) -> str:
        """Return where a target's paths begin."""
        return f"http://127.0.0.1:{self.port}/t/{target}"
