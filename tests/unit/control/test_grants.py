"""Access on request: nothing without a yes, never one's own, and over at its instant."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.approvals.grants import MAXIMUM_PENDING
from sallyport.control.access import NO_ACCESS, NOTHING_TO_ASK
from sallyport.core.messages import Access, EndSession
from sallyport.core.subject import Refused, Subject
from tests.unit.control.harness import BASE, Gateway, WorkerPeer
from tests.unit.identity.clients import exchange_form
from tests.unit.identity.issuer import FIRST, IssuerServer

RULE: dict[str, Any] = {
    "name": "shop-on-request",
    "subjects": {"groups": ["engineers"]},
    "targets": {"names": ["shop"]},
    "logins": ["app"],
    "request": {"approvers": ["dba"], "longest": "2h", "wait": "10m"},
}
DANA = Subject("dana", ("dba",), "sallyport", "t-dana", roles=("approver",))
DORA = Subject("dora", ("dba",), "sallyport", "t-dora", roles=("approver",))
ROOT = Subject("root", (), "sallyport", "t-root", roles=("admin",))


def access_rules(**request: Any) -> list[dict[str, Any]]:
    asked = {**RULE, "request": {**RULE["request"], **request}}
    return [*BASE["access"], asked]


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path, access=access_rules()) as gateway:
        yield gateway


async def engineer(
    gateway: Gateway, worker: WorkerPeer, name: str = "erin", **fields: Any
) -> Subject:
    token = await gateway.token(name, **{"groups": ["engineers"], "lifetime": 86_400.0, **fields})
    subject = await worker.login(token)
    assert isinstance(subject, Subject)
    return subject


async def ask(
    gateway: Gateway, subject: Subject, selector: str = "shop", login: str | None = None,
    why: str = "ticket 4711", duration: float = 3600.0,
) -> AccessRequest | Refused:  # fmt: skip
    return await gateway.control.ask_access(subject, selector, login, why, duration)


async def asked(gateway: Gateway, subject: Subject, **fields: Any) -> AccessRequest:
    request = await ask(gateway, subject, **fields)
    assert isinstance(request, AccessRequest), request
    return request


async def given(gateway: Gateway, subject: Subject, **fields: Any) -> AccessRequest:
    request = await asked(gateway, subject, **fields)
    answered = await gateway.control.access.answer(request.id, DANA, True, "on call")
    assert isinstance(answered, AccessRequest), answered
    assert answered.state is AccessState.APPROVED
    return answered


def refusals(answers: list[AccessRequest | Refused]) -> list[str]:
    return [answer.reason for answer in answers if isinstance(answer, Refused)]


# --- asking


async def test_nothing_is_given_before_somebody_says_yes(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    erin = await engineer(gateway, worker)
    refused = await worker.authorize(erin)
    assert isinstance(refused, Refused)
    assert "sallyport access request shop --login app" in refused.hint
    request = await asked(gateway, erin)
    assert request.state is AccessState.PENDING
    assert isinstance(await worker.authorize(erin), Refused)
    denied = await gateway.control.access.answer(request.id, DANA, False, "no")
    assert isinstance(denied, AccessRequest) and denied.state is AccessState.DENIED
    assert isinstance(await worker.authorize(erin), Refused)


async def test_others_learn_nothing_of_what_can_be_asked_for(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    stranger = await engineer(gateway, worker, "sam", groups=["strangers"])
    assert await worker.authorize(stranger) == NO_ACCESS
    for selector in ("shop", "billing", "nowhere", "shop/none", ""):
        assert await ask(gateway, stranger, selector) == NOTHING_TO_ASK
    erin = await engineer(gateway, worker)
    for selector, login in (("billing", None), ("shop", "trusting"), ("shop", "nobody")):
        assert await ask(gateway, erin, selector, login) == NOTHING_TO_ASK


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"why": "  "}, "why the access is needed"),
        ({"why": "x" * 1001}, "longer than"),
        ({"duration": 7201.0}, "given for 2h at most"),
        ({"duration": 59.0}, "a minute at least"),
        ({"duration": float("inf")}, "at most"),
        ({"duration": float("nan")}, "most|least"),
    ],
    ids=str,
)
async def test_what_cannot_be_asked_says_why(
    gateway: Gateway, worker: WorkerPeer, fields: dict[str, Any], says: str
) -> None:
    answer = await ask(gateway, await engineer(gateway, worker), **fields)
    assert isinstance(answer, Refused)
    assert any(word in answer.reason for word in says.split("|"))


async def test_the_same_wish_waits_once_and_only_so_many_do(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    erin = await engineer(gateway, worker)
    first = await asked(gateway, erin)
    assert await ask(gateway, erin) == first
    for number in range(MAXIMUM_PENDING - 1):
        await asked(gateway, erin, why=f"ticket {number}")
    answer = await ask(gateway, erin, why="one more")
    assert isinstance(answer, Refused) and "too many" in answer.reason
    await asked(gateway, await engineer(gateway, worker, "else"))
    assert isinstance(await gateway.control.access.withdraw(first.id, erin), AccessRequest)
    await asked(gateway, erin, why="one more")


# --- answering


async def test_access_is_given_until_its_instant(gateway: Gateway, worker: WorkerPeer) -> None:
    erin = await engineer(gateway, worker)
    request = await given(gateway, erin)
    assert request.ends == gateway.clock.now + 3600
    access = await worker.authorize(erin)
    assert isinstance(access, Access)
    assert (access.ends, access.request) == (request.ends, request.id)
    gateway.clock.now += 3599.5
    erin = await engineer(gateway, worker)
    last = await worker.authorize(erin)
    assert isinstance(last, Access) and last.ends == request.ends
    gateway.clock.now += 0.5
    assert isinstance(await worker.authorize(erin), Refused)
    await worker.pushed(EndSession, session=access.session)
    await worker.pushed(EndSession, session=last.session)
    await gateway.control.access.expire_due()
    shown = await gateway.control.access.show(request.id)
    assert shown is not None and shown.state is AccessState.OVER


async def test_it_is_for_this_target_database_login_and_subject_alone(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    erin = await engineer(gateway, worker)
    await given(gateway, erin)
    assert isinstance(await worker.authorize(erin, selector="shop/shop_eu"), Refused)
    assert isinstance(await worker.authorize(await engineer(gateway, worker, "eve")), Refused)
    twin = Subject("erin", ("engineers",), "https://other.issuer", "jwt-1")
    assert gateway.control.access.given(twin, "shop", "shop", "app") == []


@pytest.mark.parametrize(
    "actor",
    [
        Subject("erin", ("dba",), "sallyport", "t-1", roles=("approver",)),
        Subject("ERIN", ("dba",), "elsewhere", "t-1", roles=("approver",)),
        Subject("olga", ("dba",), "sallyport", "t-1", roles=("approver",)),
        Subject("bot", ("dba",), "sallyport", "t-1", owner="erin", roles=("approver",)),
        Subject("dan", ("dba",), "sallyport", "t-1", actors=("erin",), roles=("approver",)),
        Subject("dan", ("other",), "sallyport", "t-1", roles=("approver",)),
    ],
    ids=["oneself", "spelled", "owner", "own-token", "acts-through", "other-group"],
)
async def test_nobody_answers_what_they_have_a_part_in(
    gateway: Gateway, worker: WorkerPeer, actor: Subject
) -> None:
    request = await asked(gateway, await engineer(gateway, worker))
    assert isinstance(await gateway.control.access.answer(request.id, actor, True), Refused)
    shown = await gateway.control.access.show(request.id)
    assert shown is not None and shown.state is AccessState.PENDING and not shown.votes


async def test_whoever_has_another_token_of_that_name_answers_nothing(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    request = await asked(gateway, await engineer(gateway, worker))
    await gateway.token("erin", groups=["engineers"], owner="dana")
    answer = await gateway.control.access.answer(request.id, DANA, True)
    assert isinstance(answer, Refused) and "own a part in" in answer.reason
    assert isinstance(await gateway.control.access.answer(request.id, DORA, True), AccessRequest)


async def test_two_people_are_two_people(tmp_path: Path) -> None:
    async with Gateway(tmp_path, access=access_rules(people=2)) as gateway:
        worker = await gateway.worker()
        erin = await engineer(gateway, worker)
        request = await asked(gateway, erin)
        answer = gateway.control.access.answer
        first = await answer(request.id, DANA, True)
        assert isinstance(first, AccessRequest) and first.state is AccessState.PENDING
        assert isinstance(await answer(request.id, DANA, True), Refused)
        assert isinstance(await worker.authorize(erin), Refused)
        second = await answer(request.id, DORA, True)
        assert isinstance(second, AccessRequest) and second.state is AccessState.APPROVED
        assert isinstance(await worker.authorize(erin), Access)
        worker.close()


async def test_of_two_answers_at_once_one_counts(gateway: Gateway, worker: WorkerPeer) -> None:
    request = await asked(gateway, await engineer(gateway, worker))
    answer = gateway.control.access.answer
    answers = await asyncio.gather(
        answer(request.id, DANA, True), answer(request.id, DORA, False), return_exceptions=False
    )
    assert len(refusals(list(answers))) == 1
    shown = await gateway.control.access.show(request.id)
    assert shown is not None and len(shown.votes) == 1


async def test_nobody_answers_after_its_time(gateway: Gateway, worker: WorkerPeer) -> None:
    request = await asked(gateway, await engineer(gateway, worker))
    gateway.clock.now += 600
    late = await gateway.control.access.answer(request.id, DANA, True)
    assert isinstance(late, Refused)
    shown = await gateway.control.access.show(request.id)
    assert shown is not None and shown.state is AccessState.EXPIRED


# --- ending


@pytest.mark.parametrize("who", ["erin", "dana", "root"])
async def test_what_is_revoked_ends_its_sessions(
    gateway: Gateway, worker: WorkerPeer, who: str
) -> None:
    erin = await engineer(gateway, worker)
    request = await given(gateway, erin)
    access = await worker.authorize(erin)
    assert isinstance(access, Access)
    actor = {"erin": erin, "dana": DANA, "root": ROOT}[who]
    assert isinstance(await gateway.control.access.revoke(request.id, actor, "done"), AccessRequest)
    assert isinstance(await worker.authorize(erin), Refused)
    ended = await worker.pushed(EndSession, session=access.session)
    assert "revoked" in ended.reason
    again = await gateway.control.access.revoke(request.id, actor)
    assert isinstance(again, Refused)


async def test_others_can_neither_revoke_nor_withdraw(gateway: Gateway, worker: WorkerPeer) -> None:
    erin, eve = await engineer(gateway, worker), await engineer(gateway, worker, "eve")
    waiting = await asked(gateway, erin, why="another")
    request = await given(gateway, erin)
    plain = Subject("dan", ("dba",), "sallyport", "t-1")
    for actor in (eve, plain, Subject("erin", (), "elsewhere", "t-2")):
        assert isinstance(await gateway.control.access.revoke(request.id, actor), Refused)
        assert isinstance(await gateway.control.access.withdraw(waiting.id, actor), Refused)
    assert isinstance(await gateway.control.access.revoke("acc-nothing", ROOT), Refused)


async def test_a_revocation_while_a_session_is_opened_meets_it(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    erin = await engineer(gateway, worker)
    for _ in range(10):
        request = await given(gateway, erin)
        opened, _ = await asyncio.gather(
            worker.authorize(erin), gateway.control.access.revoke(request.id, DANA)
        )
        if isinstance(opened, Access):
            await worker.pushed(EndSession, session=opened.session)


async def test_revoking_a_subject_takes_what_was_given_on_request(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    erin = await engineer(gateway, worker)
    request = await given(gateway, erin)
    waiting = await asked(gateway, erin, why="more")
    await gateway.control.tokens.revoke("subject", "erin", "root")
    async with asyncio.timeout(20):
        while gateway.control.access.given(erin, "shop", "shop", "app"):
            await asyncio.sleep(0.01)
    for identifier, state in ((request.id, "revoked"), (waiting.id, "withdrawn")):
        shown = await gateway.control.access.show(identifier)
        assert shown is not None and shown.state.value == state


@pytest.mark.parametrize(
    "rules",
    [
        access_rules(people=2),
        access_rules(approvers=["security"]),
        access_rules(longest="30m"),
        [*BASE["access"], {**RULE, "subjects": {"groups": ["others"]}}],
        [*BASE["access"], {key: value for key, value in RULE.items() if key != "request"}
         | {"name": "another", "subjects": {"groups": ["others"]}}],
        BASE["access"],
    ],
    ids=["people", "approvers", "longest", "subjects", "renamed", "gone"],
)  # fmt: skip
async def test_a_rule_that_grew_stricter_ends_what_it_gave(
    gateway: Gateway, worker: WorkerPeer, rules: list[dict[str, Any]]
) -> None:
    erin = await engineer(gateway, worker)
    await given(gateway, erin)
    access = await worker.authorize(erin)
    assert isinstance(access, Access)
    await gateway.reload(access=rules)
    await worker.pushed(EndSession, session=access.session)
    assert isinstance(await worker.authorize(erin), Refused)


async def test_whoever_left_the_group_has_nothing(gateway: Gateway, worker: WorkerPeer) -> None:
    await given(gateway, await engineer(gateway, worker))
    left = await engineer(gateway, worker, groups=["nobodies"])
    assert await worker.authorize(left) == NO_ACCESS


async def test_a_grant_outlives_a_restart_and_not_its_instant(tmp_path: Path) -> None:
    async with Gateway(tmp_path, access=access_rules()) as gateway:
        worker = await gateway.worker()
        token = await gateway.token("erin", groups=["engineers"], lifetime=86_400.0)
        subject = await worker.login(token)
        assert isinstance(subject, Subject)
        request = await given(gateway, subject)
        worker.close()
    async with Gateway(tmp_path, place_store=False, access=access_rules()) as again:
        worker = await again.worker()
        subject = await worker.login(token)
        assert isinstance(subject, Subject)
        access = await worker.authorize(subject)
        assert isinstance(access, Access) and access.ends == request.ends
        again.clock.now += 3600
        assert isinstance(await worker.authorize(subject), Refused)
        worker.close()


async def test_more_time_takes_another_yes(gateway: Gateway, worker: WorkerPeer) -> None:
    erin = await engineer(gateway, worker)
    first = await given(gateway, erin)
    opened = await worker.authorize(erin)
    assert isinstance(opened, Access)
    gateway.clock.now += 3000
    erin = await engineer(gateway, worker)
    more = await asked(gateway, erin, why="not done yet")
    await gateway.control.access.answer(more.id, DORA, True)
    longer = await worker.authorize(erin)
    assert isinstance(longer, Access)
    assert longer.ends == gateway.clock.now + 3600 and longer.request == more.id
    gateway.clock.now = first.ends or 0.0
    await worker.pushed(EndSession, session=opened.session)
    assert not gateway.control.registry.is_ending(longer.session)
    assert isinstance(await worker.authorize(await engineer(gateway, worker)), Access)


async def test_everything_is_on_record(gateway: Gateway, worker: WorkerPeer) -> None:
    erin = await engineer(gateway, worker)
    request = await given(gateway, erin)
    await gateway.control.access.revoke(request.id, DANA, "done")
    seen = [(event.action, event.actor) for event in gateway.audited if event.object == request.id]
    assert seen == [
        ("access-requested", "erin"), ("access-approved", "dana"), ("access-revoked", "dana")
    ]  # fmt: skip


async def test_a_revocation_meets_a_grant_of_this_very_moment(
    gateway: Gateway, worker: WorkerPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    erin = await engineer(gateway, worker)
    request = await asked(gateway, erin)
    database, committed, go_on = gateway.control.database, asyncio.Event(), asyncio.Event()
    write = database.write

    @contextlib.asynccontextmanager
    async def lingering() -> AsyncIterator[AsyncConnection]:
        async with write() as connection:
            yield connection
        committed.set()
        await go_on.wait()

    monkeypatch.setattr(database, "write", lingering)
    answering = asyncio.create_task(gateway.control.access.answer(request.id, DANA, True))
    await committed.wait()
    monkeypatch.setattr(database, "write", write)
    await gateway.control.tokens.revoke("subject", "erin", "root")
    await asyncio.sleep(0.2)
    go_on.set()
    await answering
    await asyncio.gather(*gateway.control._tidying)
    found = await gateway.control.access.show(request.id)
    assert found is not None and found.state is AccessState.REVOKED
    assert not gateway.control.access.given(erin, "shop", "shop", "app")


async def test_a_grant_is_for_one_subject_of_one_issuer_exchanged_or_not(tmp_path: Path) -> None:
    servers = [IssuerServer(), IssuerServer()]
    for each in servers:
        each.keys = [FIRST]
        await each.start()
    issuers = [
        {"name": f"i{number}", "issuer": each.url, "audience": ["sallyport"]}
        for number, each in enumerate(servers)
    ]
    rules = [{**one, "subjects": {"groups": ["dba"]}} for one in access_rules() if "request" in one]
    async with Gateway(tmp_path, issuers=issuers, access=rules) as gateway:
        control, now = gateway.control, int(gateway.clock.now)
        worker = await gateway.worker()
        jwts = [one.token(FIRST, exp=now + 600, iat=now - 10, groups=["dba"]) for one in servers]

        async def exchanged(jwt: str) -> Subject:
            given = await control.oauth.give(exchange_form(jwt), "127.0.0.1", encrypted=True)
            return await worker.login(given.access_token)

        ann, other = await exchanged(jwts[0]), await exchanged(jwts[1])
        assert (ann.name, ann.issuer) == (other.name, servers[0].url)
        assert other.issuer == servers[1].url
        asked = await control.ask_access(ann, "shop", "app", "why", 3600.0)
        assert isinstance(asked, AccessRequest)
        boss = Subject("boss", tuple(asked.approvers), "sallyport", "t", roles=("approver",))
        assert isinstance(await control.access.answer(asked.id, boss, True), AccessRequest)
        assert isinstance(await worker.authorize(ann), Access)
        assert isinstance(await worker.authorize(other), Refused), "the other issuer's ann"
        as_it_is = await worker.login(jwts[0])
        assert isinstance(await worker.authorize(as_it_is), Access), "the same ann"
        assert isinstance(await worker.authorize(await worker.login(jwts[1])), Refused)
        own = await worker.login(await gateway.token("ann", groups=("dba",)))
        assert isinstance(await worker.authorize(own), Refused), "somebody else made that token"
        worker.close()
    for each in servers:
        await each.stop()
