"""Who gets a session, for how long, with what credential; and what ends it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sallyport.control.access import NO_ACCESS, NO_CREDENTIAL, NO_DATABASE, OTHERWISE_NOW
from sallyport.control.control import FIXED
from sallyport.core.errors import ConfigError
from sallyport.core.messages import (
    Access,
    Cancel,
    CancelSession,
    Catalogue,
    Done,
    EndSession,
    RegisterCancel,
    SessionEnded,
    Snapshot,
)
from sallyport.core.subject import Refused, Subject
from tests.unit.control.harness import BASE, CREDENTIAL, Gateway, WorkerPeer
from tests.unit.identity.issuer import FIRST, IssuerServer, rsa


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path) as gateway:
        yield gateway


async def subject_of(gateway: Gateway, worker: WorkerPeer, **fields: Any) -> Subject:
    subject = await worker.login(await gateway.token(**fields))
    assert isinstance(subject, Subject)
    return subject


# --- opening


async def test_a_session_gets_its_target_and_credential(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    access = await worker.session(await gateway.token())
    assert (access.target.name, access.target.database, access.login) == ("shop", "shop", "app")
    assert access.credential == CREDENTIAL
    assert access.ends == gateway.clock.now + 3600
    assert access.write
    assert gateway.control.registry.live() == [access.session]
    assert await worker.ask(SessionEnded(access.session, "closed")) == Done()
    assert gateway.control.registry.live() == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"selector": "shop/shop_eu"}, ("shop_eu", "app")),
        ({"selector": "shop/shop"}, ("shop", "app")),
        ({"login": "app"}, ("shop", "app")),
        ({"login": "agent-1"}, ("shop", "app")),
    ],
)
async def test_the_selector_names_the_database_and_maybe_the_login(
    gateway: Gateway, worker: WorkerPeer, asked: dict[str, str], expected: tuple[str, str]
) -> None:
    access = await worker.session(await gateway.token(), **asked)
    assert (access.target.database, access.login) == expected


@pytest.mark.parametrize(
    "asked",
    [
        {"selector": "nowhere"},
        {"selector": "billing"},
        {"selector": "shop/postgres"},
        {"selector": "shop/"},
        {"selector": "shop/shop_eu/x\n"},
        {"selector": "SHOP"},
        {"selector": ""},
        {"selector": "x" * 10_000},
        {"login": "trusting"},
        {"source": "10.0.0.1"},
        {"protocol": "mysql"},
    ],
    ids=str,
)
async def test_what_is_not_there_and_what_is_closed_answer_alike(
    gateway: Gateway, worker: WorkerPeer, asked: dict[str, str]
) -> None:
    subject = await subject_of(gateway, worker)
    assert await worker.authorize(subject, **asked) == NO_ACCESS
    assert gateway.control.registry.live() == []


async def test_a_missing_credential_is_said_without_its_name(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    subject = await subject_of(gateway, worker)
    assert await worker.authorize(subject, login="lost") == NO_CREDENTIAL
    assert gateway.control.registry.live() == []


async def test_a_subject_that_control_did_not_vouch_for_gets_nothing(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    subject = await subject_of(gateway, worker)
    for forged in (
        msgspec.structs.replace(subject, name="root"),
        msgspec.structs.replace(subject, groups=("agents", "admins")),
        msgspec.structs.replace(subject, expires=None),
    ):
        assert isinstance(await worker.authorize(forged), Refused)
    other = await gateway.worker("w2", 2)
    assert isinstance(await other.authorize(subject), Refused)
    gateway.clock.now += 61
    assert isinstance(await worker.authorize(subject), Refused)
    assert gateway.control.registry.live() == []


async def test_a_token_bound_to_a_target_reaches_no_other(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    subject = await subject_of(gateway, worker, targets=["billing"])
    refused = await worker.authorize(subject)
    assert isinstance(refused, Refused) and "does not reach" in refused.reason
    assert gateway.control.registry.live() == []


async def test_the_earliest_end_counts(gateway: Gateway, worker: WorkerPeer) -> None:
    short = await worker.session(await gateway.token(lifetime=120.0))
    assert short.ends == gateway.clock.now + 120
    await gateway.reload(sessions={"max_session": "5m"})
    assert (await worker.session(await gateway.token())).ends == gateway.clock.now + 300


async def test_session_quotas_hold_over_workers_tokens_and_races(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    other = await gateway.worker("w2", 2)
    peers = [(peer, await subject_of(gateway, peer)) for peer in (worker, other) * 5]
    replies = await asyncio.gather(*(peer.authorize(subject) for peer, subject in peers))
    assert sum(isinstance(one, Access) for one in replies) == 3
    refused = next(one for one in replies if isinstance(one, Refused))
    assert "3 sessions" in refused.reason and refused.rules == ("limits",)
    await subject_of(gateway, worker, subject="agent-2")
    assert isinstance(
        await worker.authorize(await subject_of(gateway, worker, subject="agent-3")), Access
    )


async def test_the_catalogue_connection_never_writes(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.ask(Catalogue("shop", "shop_eu"))
    assert isinstance(access, Access)
    assert (access.write, access.login, access.target.database) == (False, "app", "shop_eu")
    assert gateway.control.registry.live() == []
    for target, database in (("shop", "postgres"), ("nowhere", "x")):
        assert await worker.ask(Catalogue(target, database)) == NO_DATABASE


async def test_the_catalogue_connection_says_how_a_missing_credential_is_given(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    await gateway.control.vault.delete("shop-app", "test")
    refused = await worker.ask(Catalogue("shop", ""))
    assert isinstance(refused, Refused)
    assert refused.reason == NO_CREDENTIAL.reason
    assert refused.hint == "`sallyport credential set shop-app` sets it"


# --- ending


async def test_revoking_a_token_ends_its_sessions_on_every_worker(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    other = await gateway.worker("w2", 2)
    token = await gateway.token()
    stays = await worker.session(await gateway.token("agent-2"))
    here, there = await worker.session(token), await other.session(token)
    identifier = token.split("_")[1]
    await gateway.control.tokens.revoke("id", identifier, "ann")
    assert "revoked" in (await worker.pushed(EndSession, session=here.session)).reason
    assert "revoked" in (await other.pushed(EndSession, session=there.session)).reason
    assert isinstance(await worker.login(token), Refused)
    assert not gateway.control.registry.is_ending(stays.session)


async def test_an_end_that_nobody_confirms_is_pushed_again(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    access = await worker.session(await gateway.token())
    assert gateway.control.registry.kill(access.session, "enough", "ann")
    first = await worker.pushed(EndSession, session=access.session)
    gateway.clock.now += 1
    assert await worker.pushed(EndSession, session=access.session) == first
    await worker.ask(SessionEnded(access.session, "killed"))
    assert not gateway.control.registry.kill(access.session, "again", "ann")
    killed = [one for one in gateway.audited if one.action == "session-killed"]
    assert [(one.actor, one.object) for one in killed] == [("ann", access.session)]


async def test_a_token_revoked_between_login_and_session_gives_none(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    subject = await subject_of(gateway, worker)
    await gateway.control.tokens.revoke("subject", "agent-1", "ann")
    assert isinstance(await worker.authorize(subject), Refused)
    assert gateway.control.registry.live() == []


async def test_a_revocation_at_any_moment_of_a_login_leaves_no_session(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    for turn in range(20):
        name = f"racer-{turn}"
        token = await gateway.token(name)

        async def revoke(turn: int = turn, name: str = name) -> None:
            for _ in range(turn * 2):
                await asyncio.sleep(0)
            await gateway.control.tokens.revoke("subject", name, "ann")

        subject = await worker.login(token)
        assert isinstance(subject, Subject)
        reply, _ = await asyncio.gather(worker.authorize(subject), revoke())
        if isinstance(reply, Access):
            await worker.pushed(EndSession, session=reply.session)
            await worker.ask(SessionEnded(reply.session, "revoked"))
        assert gateway.control.registry.count(name) == 0


async def test_a_session_ends_with_its_time(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    gateway.clock.now += 3600
    assert "time is over" in (await worker.pushed(EndSession, session=access.session)).reason


async def test_a_reload_ends_what_it_would_not_give(gateway: Gateway, worker: WorkerPeer) -> None:
    stays = await worker.session(await gateway.token())
    goes = await worker.session(await gateway.token("agent-2"))
    narrower = [{**BASE["access"][0], "subjects": {"names": ["agent-1"]}, "max_session": "30m"}]
    await gateway.reload(access=narrower)
    await worker.pushed(EndSession, session=goes.session)
    assert gateway.control.registry.is_ending(goes.session)
    assert not gateway.control.registry.is_ending(stays.session)
    kept = gateway.control.registry.get(stays.session)
    assert kept is not None and kept.ends == kept.opened + 1800
    await gateway.reload(targets=[], access=[])
    assert gateway.control.registry.is_ending(stays.session)


async def test_a_reload_is_pushed_whole_and_a_bad_one_not_at_all(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    before = gateway.control.state
    assert worker.snapshot is not None
    assert worker.snapshot.revision == before.policy.revision
    bad_issuer = {
        "name": "corp",
        "issuer": "http://login.example.com",
        "audience": ["sallyport"],
    }
    bad_ca = {**BASE["targets"][0], "tls": {"mode": "verify-full", "ca": "file:/nowhere.pem"}}
    for bad in ({"issuers": [bad_issuer]}, {"targets": [bad_ca]}, {"state": "elsewhere"}):
        with pytest.raises(ConfigError):
            await gateway.reload(**bad)
        assert gateway.control.state is before
    rules = [{"name": "nothing", "effect": "deny"}]
    await gateway.reload(policy={"guardrails": {"enabled": False}, "rules": rules})
    pushed = await worker.pushed(Snapshot)
    assert pushed.revision == gateway.control.state.policy.revision != before.policy.revision
    assert b"nothing" in pushed.policy
    assert CREDENTIAL not in msgspec.msgpack.encode(pushed)
    assert [one.object for one in gateway.audited if one.action == "policy-loaded"] == [
        pushed.revision
    ]


@pytest.mark.parametrize("name", FIXED)
async def test_a_reload_never_says_of_what_stays_that_it_changed(
    gateway: Gateway, name: str
) -> None:
    """A listener that turned TLS on, and yet takes plain connections, must not be `in force`."""
    before = gateway.control.state
    key = {"certificate": "file:./cert.pem", "key": "file:./key.pem"}
    change: dict[str, Any] = {
        "state": "elsewhere",
        "vault": {"key": "file:other.key", "generate": True},
        "api": {"address": "127.0.0.1:1"},
        "listeners": [{"name": "a", "protocol": "postgres", "address": "127.0.0.1:1", "tls": key}],
        "logging": {"level": "debug"},
        "recording.encrypt": not before.config.recording.encrypt,
        "recording.reserve": "1GiB",
        "recording.subject_bytes_per_hour": "1MiB",
        "sessions.maximum": 7,
        "sessions.idle": "1m",
    }[name]
    first, _, second = name.partition(".")
    with pytest.raises(ConfigError, match=f"`{name}` cannot change while the gateway runs"):
        await gateway.reload(**{first: {second: change} if second else change})
    assert gateway.control.state is before


def test_what_needs_a_restart_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "running.md").read_text()
    needs = page.partition("needs a restart: ")[2].partition(". A reload")[0]
    assert set(re.findall(r"`([a-z_.]+)`", needs)) == set(FIXED)


# --- JWTs


async def test_a_jwts_session_ends_with_it_and_with_its_issuer(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    server, key = IssuerServer(), rsa("k")
    server.keys = [key]
    await server.start()
    issuer = {
        "name": "corp",
        "issuer": server.url,
        "audience": ["sallyport"],
        "jwks": f"{server.url}/jwks",
    }
    await gateway.reload(issuers=[issuer])
    now = gateway.clock.now
    claims = {"groups": ["agents"], "iat": now - 1, "exp": now + 90}
    access = await worker.session(server.token(key, **claims))
    assert access.ends == now + 90
    await gateway.reload()
    assert gateway.control.registry.is_ending(access.session)
    assert isinstance(await worker.login(server.token(key, **claims)), Refused)
    await server.stop()


# --- cancel requests


async def test_a_cancel_reaches_its_own_session_and_no_other(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    other = await gateway.worker("w2", 2)
    access = await worker.session(await gateway.token())
    bystander = await worker.session(await gateway.token("agent-2"))
    assert await worker.ask(RegisterCancel(access.session, b"k" * 32)) == Done()
    assert await other.ask(Cancel(b"k" * 32, "10.0.0.1")) == Done()
    assert await worker.pushed(CancelSession) == CancelSession(access.session)
    assert await other.ask(Cancel(b"wrong", "10.0.0.1")) == Done()
    assert isinstance(await worker.ask(RegisterCancel(bystander.session, b"k" * 32)), Refused)
    assert isinstance(await other.ask(RegisterCancel(access.session, b"mine")), Refused)
    await worker.ask(SessionEnded(access.session, "closed"))
    assert await other.ask(Cancel(b"k" * 32, "10.0.0.1")) == Done()
    assert worker.pushes.empty()


async def test_cancels_from_one_source_are_limited(gateway: Gateway, worker: WorkerPeer) -> None:
    access = await worker.session(await gateway.token())
    await worker.ask(RegisterCancel(access.session, b"k" * 32))
    for _ in range(200):
        await worker.ask(Cancel(b"guess", "10.0.0.1"))
    await worker.ask(Cancel(b"k" * 32, "10.0.0.1"))
    assert worker.pushes.empty()
    await worker.ask(Cancel(b"k" * 32, "10.0.0.2"))
    assert await worker.pushed(CancelSession) == CancelSession(access.session)


@pytest.mark.parametrize(
    "changed",
    [
        {"groups": [{"when": {"groups": "dba"}, "groups": ["guests"]}]},
        {"subjects": ["bob"]},
        {"group_prefix": "corp-"},
    ],
    ids=["mapped", "not taken", "prefixed"],
)
async def test_a_reload_counts_for_who_has_just_been_authenticated(
    gateway: Gateway, worker: WorkerPeer, server: IssuerServer, changed: dict[str, Any]
) -> None:
    issuer = {"name": "corp", "issuer": server.url, "audience": ["sallyport"]}
    access = [{**BASE["access"][0], "subjects": {"groups": ["dba"]}}]
    await gateway.reload(issuers=[issuer], access=access)
    now = int(gateway.clock.now)
    subject = await worker.login(server.token(FIRST, iat=now - 10, exp=now + 600))
    assert isinstance(subject, Subject)
    assert isinstance(await worker.authorize(subject), Access)
    await gateway.reload(issuers=[{**issuer, **changed}], access=access)
    assert await worker.authorize(subject) == OTHERWISE_NOW


async def test_a_reload_is_over_when_every_worker_decides_by_it(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    await gateway.reload(access=[])
    assert worker.snapshot is not None
    assert worker.snapshot.revision == gateway.control.state.policy.revision
    hub = gateway.control.hub
    assert await hub.in_force(worker.snapshot.revision, 0.0)
    assert not await hub.in_force("another", 0.01)
