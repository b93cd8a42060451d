"""The operator's tools before an HTTP target: a look at it, and what a request would meet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.e2e.http_gate.conftest import Begin
from tests.e2e.http_gate.test_holds import held
from tests.support.http_gateway import HttpGateway


def run(gateway: HttpGateway, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sallyport.cli", *words],
        env={**os.environ, "SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_target_is_looked_at(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    told = json.loads(run(gateway, "target", "check", "orders", "--json").stdout)
    assert told["reachable"] is True
    assert told["facts"]["status"] in ("404", "405")
    assert told["facts"]["server"] == "uvicorn"
    assert told["findings"] == []


def test_a_wrong_credential_is_told(begin: Begin, orders: Any) -> None:
    gateway = begin({"orders": orders})
    from sallyport.cli.client import path

    gateway.admin.put(path("credentials", "web"), {"value": "another"})
    done = run(gateway, "target", "check", "orders")
    assert "it does not take the credential" in done.stdout + done.stderr


def test_a_request_is_explained(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    asked = ("explain", "--subject", "a", "--group", "agents", "--target", "orders", "--json")
    (one,) = json.loads(run(gateway, *asked, "DELETE /orders/5\nx-a: 1").stdout)["operations"]
    assert one["verb"] == "delete"
    assert one["verdict"]["outcome"] == "hold"
    for text in ("nonsense", "GET orders", "GET /a\nno field", "GET /a/../b"):
        done = run(gateway, *asked, text)
        assert done.returncode != 0
        assert "error" in done.stderr


def test_what_to_paste(shared: Begin, orders: Any) -> None:
    gateway = shared({"orders": orders}, rules=held())
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "connect", "orders", "--", "sh", "-c",
         'curl -s -u "app:$SALLYPORT_HTTP_TOKEN" "$SALLYPORT_HTTP_URL/orders/30"'],
        env={**os.environ, "SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.agent},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["id"] == 30
