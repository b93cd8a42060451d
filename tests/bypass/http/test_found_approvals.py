"""What was approved, and what was then sent: they have to be one and the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bypass.http.found import Target, ask, wait
from tests.support.gateway import EVERYTHING
from tests.support.http_gateway import HttpGateway

HOLD = {"approvers": ["dba"], "people": 1, "timeout": "5m"}
RULES = [
    *EVERYTHING,
    {
        "name": "tickets",
        "effect": "hold",
        "operations": {"verbs": ["patch"]},
        "hold": {**HOLD, "ticket": True},
    },
    {"name": "waits", "effect": "hold", "operations": {"verbs": ["put"]}, "hold": HOLD},
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
    ("asked", "sent"),
    [
        (["Prefer: tx=rollback"], ["Prefer: tx=commit"]),
        (["Prefer: tx=rollback, wait=5"], ["Prefer: respond-async"]),
        (["X-Tenant: ours", "X-Tenant: theirs"], ["X-Tenant: theirs", "X-Tenant: ours"]),
    ],
    ids=["preference", "none", "order"],
)
def test_a_ticket_is_for_what_the_target_would_act_on(
    gateway: HttpGateway, target: Target, asked: list[str], sent: list[str]
) -> None:
    """Preferences change what a target does (`tx=rollback`), and of two fields one counts."""
    target.clear()
    line, body = "PATCH /t/told/people", b"{}"
    identifier = ask(gateway, line, *asked, body=body).told["approval"]
    gateway.approve(identifier)
    other = ask(gateway, line, *sent, body=body)
    assert other.status == 403
    assert other.told["approval"] != identifier
    assert target.seen == []
    assert ask(gateway, line, *asked, "User-Agent: another", body=body).status == 200


def test_how_long_a_client_waits_is_no_part_of_what_is_approved(
    gateway: HttpGateway, target: Target
) -> None:
    target.clear()
    line, body = "PATCH /t/told/waiting", b"{}"
    identifier = ask(gateway, line, "Prefer: respond-async", body=body).told["approval"]
    gateway.approve(identifier)
    assert ask(gateway, line, body=body).status == 200


def test_a_request_is_sent_with_the_preferences_that_were_shown(
    gateway: HttpGateway, target: Target
) -> None:
    target.clear()
    prefer = "Prefer: respond-async, tx=rollback, wait=9"
    assert ask(gateway, "PUT /t/told/people", prefer, body=b"{}").status == 202
    gateway.approve(gateway.wait_pending()["id"])
    assert wait(lambda: len(target.seen) == 1)
    assert "prefer: tx=rollback\n" in target.seen[0].head
