"""A corpus of what the clients of well-known APIs send meets no refusal that is not listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.e2e.http_gate.conftest import Begin, asking
from tests.support.http_gateway import HttpGateway

CORPUS: list[dict[str, Any]] = YAML(typ="safe").load(
    (Path(__file__).parent / "corpus" / "friction.yaml").read_text()
)
RULES = [
    {
        "name": "reads-and-writes", "effect": "allow",
        "operations": {"effects": ["read", "write"], "resources": {"api": ["*"], "path": ["**"]}},
    }
]  # fmt: skip


async def tell(request: Request) -> Response:
    await request.body()
    raw = request.scope["raw_path"].decode()
    return JSONResponse({"method": request.method, "path": raw, "query": request.url.query})


@pytest.fixture(scope="module")
def gateway(shared: Begin, serve: Any) -> HttpGateway:
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"]
    site = serve(Starlette(routes=[Route("/{rest:path}", tell, methods=methods)]))
    return shared({"api": site}, rules=RULES, extra={"policy": {"rules": RULES}})


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: f"{one['api']} {one['ask']}")
def test_it_passes_with_every_guardrail_on(gateway: HttpGateway, one: dict[str, Any]) -> None:
    method, _, path = one["ask"].partition(" ")
    more: dict[str, Any] = {}
    if "json" in one:
        more["json"] = one["json"]
    elif "form" in one:
        more["data"] = one["form"]
    elif "text" in one:
        more["content"] = one["text"]
    with asking(gateway) as client:
        found = client.request(method, f"/t/api{path}", **more)
    refused = one.get("refused")
    if refused:
        assert found.status_code == 403
        assert found.json()["rules"] == [refused]
    else:
        assert found.status_code == 200, found.text
        if method != "HEAD":
            assert found.json()["query"] == path.partition("?")[2]
