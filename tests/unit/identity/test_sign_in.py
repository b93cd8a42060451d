"""Browsers that sign in: whose session begins, how it is renewed, and all that ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sallyport.core.event import Audited
from sallyport.identity import browser_sessions
from sallyport.identity.logged_out import Logout
from sallyport.identity.logouts import Logouts
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.relying.asking import Client
from sallyport.identity.sign_in import RETRY, SignInRefused, SignInSettings
from sallyport.store.database import Database
from tests.support.hostile import CLIENT, Answer, Form, Hostile, answer
from tests.unit.identity.browsers import DAY, HERE, ORIGIN, World


@pytest.fixture
async def world(database: Database, hostile: Hostile) -> AsyncIterator[World]:
    yield World(database, hostile)


async def test_whoever_logs_in_there_is_known_here(world: World) -> None:
    world.claims["groups"] = ["agents", "dba"]
    query, attempt = await world.begin("/approvals?state=pending")
    signed_in = await world.sign_ins.finish("corp", query, attempt, HERE)
    assert (signed_in.back, signed_in.seconds) == ("/approvals?state=pending", 12 * 3600.0)
    who = await world.who(signed_in.cookie)
    assert who is not None
    assert (who.name, who.groups, who.roles) == ("ann", ("agents", "dba"), ("approver",))
    (form,) = world.asked()
    assert (form["grant_type"], form["code"]) == ("authorization_code", "abc")
    assert form["client_id"] == CLIENT and len(form["code_verifier"]) == 43
    told = [(one.actor, one.action) for one in world.audited]
    assert told == [("ann", "token-created"), ("ann", "signed-in")]
    assert world.audited[1].details["source"] == HERE


async def test_another_process_with_the_same_key_goes_on(world: World) -> None:
    query, attempt = await world.begin()
    signed_in = await world.another().finish("corp", query, attempt, HERE)
    assert await world.another().authenticate(signed_in.cookie, HERE) is not None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"state": "forged"}, "not to this login"),
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"error": "access_denied"}, "access_denied"),
        ({"code": ""}, "no code"),
    ],
)
async def test_an_answer_that_is_not_to_this_login_is_refused(
    world: World, changed: dict[str, str], said: str
) -> None:
    query, attempt = await world.begin(**changed)
    assert said in await world.refused(query, attempt)
    assert not world.asked()


async def test_an_attempt_counts_in_its_browser_for_its_provider_and_for_ten_minutes(
    world: World,
) -> None:
    query, attempt = await world.begin()
    _, of_another_browser = await world.begin()
    stolen = "not begun here"
    assert "not to this login" in await world.refused(query, of_another_browser)
    for cookie in ("", "x", attempt[:-4], "A" * 4000, f"{attempt[:40]}AAAA{attempt[44:]}", "é"):
        assert stolen in await world.refused(query, cookie)
    assert stolen in await world.refused(query, attempt, "other")
    world.sign_ins = world.another(b"k" * 32)
    assert stolen in await world.refused(query, attempt)
    world.sign_ins = world.another()
    world.clock.now += 601
    assert stolen in await world.refused(query, attempt)
    assert not world.asked()


async def test_an_attempt_begins_one_session(world: World) -> None:
    query, attempt = await world.begin()
    outcomes = await asyncio.gather(
        *(world.sign_ins.finish("corp", query, attempt, HERE) for _ in range(4)),
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, SignInRefused)]
    assert len(refused) == 3 and await world.kept() == 1
    live = await world.tokens.list(live=True)
    assert len(live) == 1, "what was made for the others is taken back"
    with pytest.raises(SignInRefused, match="finished already"):
        await world.another().finish("corp", query, attempt, HERE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"nonce": "replayed"},
        {"nonce": ...},
        {"aud": "another-client"},
        {"aud": [CLIENT, "another-client"]},
        {"azp": "another-client"},
        {"iss": "https://evil.example"},
        {"exp": time.time() - 600},
        {"iat": time.time() + 6000},
        {"at_hash": "wrong"},
        {"sub": ...},
        {"events": {}},
    ],
)
async def test_an_id_token_that_is_not_the_answer_is_refused(
    world: World, wrong: dict[str, Any]
) -> None:
    query, attempt = await world.begin()
    world.claims |= wrong
    assert "ID token" in await world.refused(query, attempt)


async def test_a_forged_signature_is_refused(world: World) -> None:
    query, attempt = await world.begin()
    world.hostile.forge()
    assert "ID token" in await world.refused(query, attempt)


async def test_whom_the_gateway_does_not_take_is_not_signed_in(world: World) -> None:
    settings = IssuerSettings(
        "corp", world.hostile.url, ("x",), ("RS256",), clients=(CLIENT,), subjects=("bob",)
    )
    world.identity.configure(Issuers([settings], world.database, world.clock), {})
    query, attempt = await world.begin()
    assert "does not take" in await world.refused(query, attempt)


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\tevil",
        "/ x",
        "/é",
        "javascript:alert(1)",
        "",
        "/" * 2000,
        "/\r\nset-cookie: x=1",
    ],
)
async def test_nobody_is_sent_elsewhere(world: World, back: str) -> None:
    query, attempt = await world.begin(back)
    assert (await world.sign_ins.finish("corp", query, attempt, HERE)).back == "/"


async def test_what_a_provider_gave_opens_with_the_cookie_alone(world: World) -> None:
    await world.sign_in()
    path = world.database.path
    stored = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert b"browser_sessions" in stored
    for secret in (b"refresh-1", world.hostile.id_token(**world.claims).encode()[:40]):
        assert secret not in stored


# --- renewing


async def test_a_token_that_is_over_is_had_anew_with_the_groups_of_now(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901
    world.claims |= {"groups": ["fewer"], "nonce": ...}
    world.refresh = "refresh-2"
    who = await world.who(cookie)
    assert who is not None and who.groups == ("fewer",)
    assert world.asked()[-1]["refresh_token"] == "refresh-1"
    world.clock.now += 901
    assert await world.who(cookie) is not None
    assert world.asked()[-1]["refresh_token"] == "refresh-2", "the one of the last answer"
    assert len(world.asked()) == 3
    assert await world.who(cookie) is not None and len(world.asked()) == 3


async def test_one_asks_while_others_wait(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901
    found = await asyncio.gather(*(world.who(cookie) for _ in range(12)))
    assert {one.name for one in found if one is not None} == {"ann"} and None not in found
    assert len(world.asked()) == 2


async def test_a_caller_that_goes_loses_no_refresh_token(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901
    world.refresh = "refresh-2"
    gone = asyncio.create_task(world.who(cookie))
    while len(world.asked()) < 2:
        await asyncio.sleep(0.005)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert await world.who(cookie) is not None
    assert len(world.asked()) == 2


async def test_a_rotated_refresh_token_is_kept_before_anything_else(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901
    world.refresh = "refresh-2"
    world.claims["sub"] = "somebody-else"
    assert await world.who(cookie) is None
    world.claims["sub"] = "ann"
    world.clock.now += RETRY + 1
    assert await world.who(cookie) is not None
    assert world.asked()[-1]["refresh_token"] == "refresh-2"


async def test_a_provider_that_says_no_ends_it_and_one_that_is_away_does_not(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901
    world.hostile.paths["/token"] = lambda _: answer({}, 502)
    assert await world.who(cookie) is None
    assert await world.who(cookie) is None
    assert len(world.asked()) == 2, "it is not asked again at once"
    world.clock.now += RETRY + 1
    world.hostile.paths["/token"] = world.give
    assert await world.who(cookie) is not None
    world.clock.now += 901
    for word in ("invalid_client", "server_error", "temporarily_unavailable"):
        world.hostile.paths["/token"] = lambda _, word=word: answer({"error": word}, 400)
        assert await world.who(cookie) is None
        world.clock.now += RETRY + 1
    world.hostile.paths["/token"] = world.give
    assert await world.who(cookie) is not None, "that was not about this session"
    world.clock.now += 901
    world.hostile.paths["/token"] = lambda _: answer({"error": "invalid_grant"}, 400)
    assert await world.who(cookie) is None and await world.kept() == 0


async def test_without_a_refresh_token_it_lasts_as_the_login_does(world: World) -> None:
    world.refresh = ""
    world.claims["exp"] = time.time() + 3000
    cookie = await world.sign_in()
    world.clock.now += 1000
    assert await world.who(cookie) is not None
    world.clock.now += 2001
    assert await world.who(cookie) is None and await world.kept() == 0
    assert len(world.asked()) == 1


async def test_without_a_refresh_token_no_session_ttl_makes_it_longer(world: World) -> None:
    settings = IssuerSettings(
        "corp", world.hostile.url, ("x",), ("RS256",), clients=(CLIENT,), session_ttl=DAY
    )
    world.identity.configure(Issuers([settings], world.database, world.clock), {})
    world.refresh = ""
    world.claims["exp"] = time.time() + 600
    cookie = await world.sign_in()
    assert await world.who(cookie) is not None
    world.clock.now += 601
    assert await world.who(cookie) is None and await world.kept() == 0


# --- ending


@pytest.mark.parametrize("over", [False, True], ids=["in-force", "over"])
@pytest.mark.parametrize("what", ["subject", "all", "logout-sub", "logout-sid"])
async def test_what_was_taken_back_is_not_renewed(world: World, what: str, over: bool) -> None:
    cookie = await world.sign_in()
    world.clock.now += 901 if over else 1
    if what.startswith("logout"):
        logouts = Logouts(
            world.database, world.identity, world.tokens, world.audited.append, world.clock
        )
        named = ("ann", None) if what == "logout-sub" else (None, "s-1")
        await logouts._end(Logout(world.hostile.url, *named), b"j" * 32, world.clock.now)
    else:
        await world.tokens.revoke(what, "ann", "admin")
    world.clock.now += 2
    assert await world.who(cookie) is None
    world.clock.now += 901
    assert await world.who(cookie) is None and await world.kept() == 0
    assert len(world.asked()) == 1


async def test_a_token_revoked_by_its_id_ends_the_session(world: World) -> None:
    cookie = await world.sign_in()
    (record,) = await world.tokens.list(live=True)
    assert (record.via, record.subject) == ("sign-in", "ann")
    await world.tokens.revoke("id", record.id, "admin")
    assert await world.who(cookie) is None and await world.kept() == 0


async def test_a_login_elsewhere_with_fewer_groups_ends_it(world: World) -> None:
    world.claims["groups"] = ["agents", "dba"]
    first = await world.sign_in()
    world.clock.now += 60
    world.claims |= {"groups": ["agents"], "iat": int(world.clock.now)}
    second = await world.sign_in()
    assert await world.who(first) is None
    assert await world.who(second) is not None


async def test_it_ends_when_unused_and_in_any_case_after_its_time(world: World) -> None:
    cookie = await world.sign_in()
    world.clock.now += 3700
    assert await world.who(cookie) is None and await world.kept() == 0
    cookie = await world.sign_in()
    for _ in range(11):
        world.clock.now += 3500
        assert await world.who(cookie) is not None
    world.clock.now += 12 * 3600 - 11 * 3500
    assert await world.who(cookie) is None and await world.kept() == 0


async def test_what_is_over_is_forgotten(world: World) -> None:
    await world.sign_in()
    await world.sign_ins.prune()
    assert await world.kept() == 1
    world.clock.now += 3700
    await world.sign_ins.prune()
    assert await world.kept() == 0


async def test_a_subject_has_so_many_sessions_and_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_sessions, "MAXIMUM_SESSIONS", 3)
    cookies = []
    for _ in range(5):
        world.clock.now += 1
        cookies.append(await world.sign_in())
    assert [await world.who(cookie) is not None for cookie in cookies] == [False] * 2 + [True] * 3


async def test_signing_out_tells_the_provider_and_where_to_end_it_there(world: World) -> None:
    world.hostile.document = {"end_session_endpoint": f"{world.hostile.url}/end?x=1"}
    world.hostile.paths["/revoke"] = lambda _: answer({})
    cookie = await world.sign_in()
    there = urlsplit(await world.sign_ins.end(cookie))
    query = {name: values[0] for name, values in parse_qs(there.query).items()}
    assert there.path == "/end" and query["x"] == "1"
    assert query["client_id"] == CLIENT and query["id_token_hint"].count(".") == 2
    assert query["post_logout_redirect_uri"] == f"{ORIGIN}/logout"
    assert world.asked("/revoke")[0]["token"] == "refresh-1"
    assert await world.who(cookie) is None and await world.kept() == 0
    assert not await world.tokens.list(live=True)
    assert await world.sign_ins.end(cookie) == "" and len(world.asked("/revoke")) == 1


async def test_signing_out_counts_here_whatever_the_provider_says(world: World) -> None:
    world.hostile.paths["/revoke"] = lambda _: answer({}, 500)
    cookie = await world.sign_in()
    assert await world.sign_ins.end(cookie) == ""
    assert await world.who(cookie) is None and not await world.tokens.list(live=True)


async def test_a_provider_that_is_no_more_configured_ends_it(world: World) -> None:
    cookie = await world.sign_in()
    world.sign_ins.settings = SignInSettings(ORIGIN)
    assert await world.who(cookie) is None
    with pytest.raises(SignInRefused, match="no provider"):
        await world.sign_ins.begin("corp", "/")


async def test_what_is_no_cookie_is_nobodys(world: World) -> None:
    cookie = await world.sign_in()
    (record,) = await world.tokens.list(live=True)
    for wrong in ("", cookie[:-1], f"{cookie}A", cookie.swapcase(), record.id, "é", "\ud800"):
        assert await world.who(wrong) is None
    assert await world.who(cookie) is not None


# --- the client


async def test_a_confidential_client_proves_itself(world: World) -> None:
    secret = Client(world.hostile.provider, "s:e c%ret")
    world.sign_ins.settings = SignInSettings(ORIGIN, {"corp": secret})
    heads: list[str] = []
    give = world.give

    def listening(form: Form) -> Answer:
        heads.append(world.hostile.headers.get("authorization", ""))
        return give(form)

    world.hostile.paths["/token"] = listening
    await world.sign_in()
    assert heads == ["Basic c2FsbHlwb3J0LWNsaTpzJTNBZStjJTI1cmV0"]
    assert "client_secret" not in world.asked()[-1] and "s:e" not in repr(secret)
    world.hostile.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    world.sign_ins = world.another()
    world.sign_ins.settings = SignInSettings(ORIGIN, {"corp": secret})
    await world.sign_in()
    assert heads[-1] == "" and world.asked()[-1]["client_secret"] == "s:e c%ret"


async def test_a_provider_that_is_away_is_not_asked_by_everybody(world: World) -> None:
    world.hostile.document = {"issuer": "https://evil.example"}
    for _ in range(5):
        with pytest.raises(SignInRefused, match="another issuer"):
            await world.sign_ins.begin("corp", "/")
    assert len(world.asked("/.well-known/openid-configuration")) == 1


async def test_nothing_is_kept_of_a_sign_in_that_is_not_on_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(event: Audited) -> None:
        if event.action == "signed-in":
            raise OSError("no space left")

    query, attempt = await world.begin()
    monkeypatch.setattr(world.sign_ins, "_audit", lost)
    with pytest.raises(OSError, match="no space"):
        await world.sign_ins.finish("corp", query, attempt, HERE)
    assert await world.kept() == 0
