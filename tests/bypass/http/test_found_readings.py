"""What a request is for: ways of asking that were decided as something else than was done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bypass.http.found import Target, ask
from tests.support.http_gateway import HttpGateway

RULES = [
    {"name": "all", "effect": "allow", "operations": {"effects": ["read", "write"]}},
    {
        "name": "no-admin",
        "effect": "deny",
        "operations": {"resources": {"path": ["/admin", "/admin/**"]}},
    },
]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with Target(tmp_path_factory.mktemp("told")) as peer:
        assert isinstance(peer, Target)
        yield peer


@pytest.fixture(scope="module")
def gateway(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpGateway]:
    with HttpGateway(tmp_path_factory.mktemp("gateway"), {"told": target}, rules=RULES) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    [
        "//x/admin/users",
        "//x:1/admin",
        "///x/admin/users",
        "/%5Cx/admin/users",
        "/%2Fx/admin/users",
        "/admin%3Fa",
        "/admin%23a",
        "/admin/users%253Fa",
    ],
)
def test_a_path_is_read_as_an_address_or_decoded_before_its_query(
    gateway: HttpGateway, target: Target, path: str
) -> None:
    target.clear()
    assert ask(gateway, f"GET /t/told{path}").status in (400, 403)
    assert target.seen == []
