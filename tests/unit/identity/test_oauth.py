"""The token endpoint: what is given for what, and everything for which nothing is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import OKPKey

from sallyport.core.event import Audited
from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.identity import backoff, oauth
from sallyport.identity.accounts import ServiceAccounts
from sallyport.identity.assertions import ClientAssertions
from sallyport.identity.backoff import Backoff
from sallyport.identity.mapping import GroupRule
from sallyport.identity.oauth import Issued, OAuthRefused, OAuthSettings, TokenEndpoint
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.revocations import Revocation
from sallyport.identity.service import IdentityService
from sallyport.identity.tokens import REMEMBERED, TokenService
from sallyport.store.database import Database
from tests.unit.identity.clients import (
    JWT,
    assertion,
    client_form,
    exchange_form,
    new_key,
    public_pem,
)
from tests.unit.identity.issuer import FIRST, NOW, IssuerServer
from tests.unit.store.template import fresh

KEY = new_key()
OTHER = new_key()
HOME = "127.0.0.1"
ENDPOINT = "https://gateway.example/oauth/token"


@dataclass
class World:
    """Everything that the endpoint stands on."""

    server: IssuerServer
    database: Database
    now: float = NOW
    audited: list[Audited] = field(default_factory=list)
    ended: list[Revocation] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokens = TokenService(self.database, self.audited.append, self.clock)
        self.tokens.listen(self.ended.append)
        self.backoff = Backoff()
        self.identity = IdentityService(
            self.tokens, self.issuers(), {"admin": ["root"]}, self.backoff
        )
        self.accounts = ServiceAccounts(self.database, self.tokens, self.audited.append, self.clock)
        self.assertions = ClientAssertions(self.database, self.clock)
        self.endpoint = TokenEndpoint(
            self.database,
            self.identity,
            self.tokens,
            self.assertions,
            OAuthSettings(ENDPOINT),
            self.clock,
        )

    def clock(self) -> float:
        return self.now

    def issuers(self, **options: Any) -> Issuers:
        jwks = f"{self.server.url}/jwks"
        setting = IssuerSettings("corp", self.server.url, ("sallyport",), jwks=jwks, **options)
        return Issuers([setting], self.database, clock=self.clock)

    def use(self, **options: Any) -> None:
        self.identity.configure(self.issuers(**options), {"admin": ["root"]})

    async def give(self, form: Any, source: str = HOME, *, encrypted: bool = True) -> Issued:
        return await self.endpoint.give(form, source, encrypted=encrypted)

    async def refused(self, form: Any, source: str = HOME) -> str:
        """Give nothing for `form`, and return why in OAuth's word."""
        before = await self.tokens.count()
        with pytest.raises(OAuthRefused) as why:
            await self.give(form, source)
        assert await self.tokens.count() == before
        return why.value.error

    async def subject(self, given: Issued, source: str = HOME, protocol: str = "postgres") -> Any:
        shown = Evidence(protocol, "main", source, given.access_token, True)
        found = await self.identity.authenticate(shown)
        return None if isinstance(found, Refused) else found

    async def account(self, name: str = "nightly", **more: Any) -> None:
        options = {"groups": ["agents"], "keys": [public_pem(KEY)], "actor": "root", **more}
        await self.accounts.create(name, **options)

    def assertion(self, key: Any = KEY, name: str = "nightly", **claims: Any) -> str:
        return assertion(key, name, ENDPOINT, self.now, **claims)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.0)
    database = await fresh(tmp_path)
    server = IssuerServer()
    server.keys = [FIRST]
    await server.start()
    yield World(server, database)
    await server.stop()
    await database.close()


# --- exchange


async def test_a_jwt_is_exchanged_for_a_token_worth_the_same(world: World) -> None:
    shown = world.server.token(FIRST, department="shop", groups=["dba", "readers"])
    given = await world.give(exchange_form(shown))
    assert given.kind == oauth.ACCESS_TOKEN and given.expires_in == 600
    assert given.access_token not in repr(given) and given.access_token.startswith("sp_")
    subject = await world.subject(given)
    direct = await world.identity.issuers.check(shown)
    assert isinstance(subject, Subject) and direct is not None
    assert (subject.name, subject.groups, subject.expires) == ("ann", direct.groups, NOW + 600)
    assert subject.claims == direct.claims, "a rule about claims holds for it as well"
    (made,) = world.audited
    assert (made.action, made.actor) == ("token-created", "ann")
    assert made.details["via"] == "exchange"
    assert made.details["origins"] == [f"{world.server.url} {direct.token}"]
    assert given.access_token not in str(world.audited) and shown not in str(world.audited)


async def test_it_lasts_no_longer_than_what_was_shown_and_than_its_setting(world: World) -> None:
    long = world.server.token(FIRST, exp=NOW + 86_400)
    assert (await world.give(exchange_form(long))).expires_in == 900
    world.endpoint.settings = OAuthSettings(ENDPOINT, lifetime=60.0)
    assert (await world.give(exchange_form(long))).expires_in == 60
    world.endpoint.settings = OAuthSettings(ENDPOINT)
    short = world.server.token(FIRST, exp=NOW + 5)
    given = await world.give(exchange_form(short))
    assert given.expires_in == 5 and await world.subject(given) is not None
    world.now += 5
    assert await world.subject(given) is None
    assert await world.refused(exchange_form(short)) == "invalid_request"


async def test_with_a_time_to_live_a_short_jwt_gives_a_longer_token(world: World) -> None:
    world.use(session_ttl=1800.0)
    short = world.server.token(FIRST, exp=NOW + 5)
    assert (await world.give(exchange_form(short))).expires_in == 900
    world.now += 36
    assert await world.refused(exchange_form(short)) == "invalid_request"


async def test_an_actor_is_in_the_chain_before_all_others(world: World) -> None:
    shown = world.server.token(FIRST, act={"sub": "tool"})
    actor = world.server.token(FIRST, sub="bot", exp=NOW + 40, act={"sub": "runner"})
    form = exchange_form(shown, actor_token=actor, actor_token_type=JWT)
    given = await world.give(form)
    subject = await world.subject(given)
    assert (subject.name, subject.actors) == ("ann", ("bot", "runner", "tool"))
    assert given.expires_in == 40
    assert world.audited[-1].details["actors"] == ("bot", "runner", "tool")


async def test_who_may_act_is_asked_of_the_subjects_token(world: World) -> None:
    bot = world.server.token(FIRST, sub="bot")
    for may_act, taken in (
        ({"sub": "bot"}, True),
        ({"sub": "bot", "iss": world.server.url}, True),
        ({"sub": "cat"}, False),
        ({"sub": "bot", "iss": "https://elsewhere.example"}, False),
        ({}, False),
        ("bot", False),
        (["bot"], False),
    ):
        shown = world.server.token(FIRST, may_act=may_act)
        form = exchange_form(shown, actor_token=bot, actor_token_type=JWT)
        if taken:
            assert (await world.give(form)).expires_in
        else:
            assert await world.refused(form) == "invalid_request", may_act


@pytest.mark.parametrize(
    "options", [{"subjects": ("bob",)}, {"group_prefix": "x-"}, None], ids=["not", "other", "gone"]
)
async def test_a_reload_meanwhile_counts(world: World, options: dict[str, Any] | None) -> None:
    shown = exchange_form(world.server.token(FIRST))
    async with world.database.write():  # so that the token is not made yet
        giving = asyncio.create_task(world.give(shown))
        while not world.server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        if options is None:
            world.identity.configure(Issuers([], world.database, world.clock), {})
        else:
            world.use(**options)
    with pytest.raises(OAuthRefused):
        await giving
    assert not await world.tokens.count()


@pytest.mark.parametrize("may_act", [{}, {"sub": None}, {"email": "bot@example.com"}])
async def test_who_has_no_sub_is_nobody_who_may_act(world: World, may_act: Any) -> None:
    world.use(subject_claim="name")
    shown = world.server.token(FIRST, name="ann", may_act=may_act)
    bot = world.server.token(FIRST, sub=..., name="bot")
    form = exchange_form(shown, actor_token=bot, actor_token_type=JWT)
    assert await world.refused(form) == "invalid_request"


async def test_an_audience_narrows_it_to_targets_and_keeps_it_from_the_api(world: World) -> None:
    shown = world.server.token(FIRST, groups=["root"])
    narrow = await world.give(exchange_form(shown, "shop", "stock"))
    subject = await world.subject(narrow)
    assert await world.identity.still_valid(subject, "shop", HOME) is None
    assert await world.identity.still_valid(subject, "stock", HOME) is None
    assert isinstance(await world.identity.still_valid(subject, "payroll", HOME), Refused)
    assert await world.subject(narrow, protocol="api") is None
    wide = await world.subject(await world.give(exchange_form(shown)), protocol="api")
    assert wide.roles == ("admin",)


async def test_a_token_can_be_bound_to_where_it_was_given(world: World) -> None:
    world.endpoint.settings = OAuthSettings(ENDPOINT, bind_source=True)
    shown = world.server.token(FIRST)
    for source, home, elsewhere in (
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::1", "2001:db8::2"),
        ("unix", "unix", HOME),
    ):
        given = await world.give(exchange_form(shown), source)
        assert await world.subject(given, home) is not None, source
        assert await world.subject(given, elsewhere) is None, source


async def test_what_cannot_be_exchanged(world: World) -> None:
    good = world.server.token(FIRST)
    mine = (await world.give(exchange_form(good))).access_token
    cases: dict[str, tuple[Any, str]] = {
        "nothing": ({}, "invalid_request"),
        "no grant": ({"subject_token": [good]}, "invalid_request"),
        "another grant": ({"grant_type": ["password"]}, "unsupported_grant_type"),
        "a code": ({"grant_type": ["authorization_code"]}, "unsupported_grant_type"),
        "its own token again": (exchange_form(mine), "invalid_request"),
        "no token": (exchange_form(""), "invalid_request"),
        "not a JWT's type": (
            exchange_form(good, subject_token_type="urn:ietf:params:oauth:token-type:saml2"),
            "invalid_request",
        ),
        "no type": (exchange_form(good, subject_token_type=""), "invalid_request"),
        "a refresh token wanted": (
            exchange_form(
                good, requested_token_type="urn:ietf:params:oauth:token-type:refresh_token"
            ),
            "invalid_request",
        ),
        "an actor without a type": (exchange_form(good, actor_token=good), "invalid_request"),
        "a type without an actor": (exchange_form(good, actor_token_type=JWT), "invalid_request"),
        "an actor who is nobody": (
            exchange_form(good, actor_token="x.y.z", actor_token_type=JWT),
            "invalid_request",
        ),
        "an actor that is left out by a blank": (
            exchange_form(good, actor_token="", actor_token_type=JWT),
            "invalid_request",
        ),
        "a parameter twice": (
            {**exchange_form(good), "subject_token": [good, good]},
            "invalid_request",
        ),
        "a resource": (exchange_form(good, resource="https://x.example"), "invalid_target"),
        "an audience that does not show": (exchange_form(good, "a\nb"), "invalid_target"),
        "very many audiences": (
            exchange_form(good, *(f"t{n}" for n in range(65))),
            "invalid_target",
        ),
        "garbage": (exchange_form("\ud800" * 9), "invalid_request"),
        "for another audience": (
            exchange_form(world.server.token(FIRST, aud="x")),
            "invalid_request",
        ),
        "expired": (exchange_form(world.server.token(FIRST, exp=NOW - 31)), "invalid_request"),
    }
    for name, (form, error) in cases.items():
        assert await world.refused(form) == error, name


async def test_too_many_actors_are_refused(world: World) -> None:
    chain: Any = None
    for number in range(8):
        chain = {"sub": f"a{number}", **({"act": chain} if chain else {})}
    shown = world.server.token(FIRST, act=chain)
    assert (await world.give(exchange_form(shown))).expires_in
    bot = world.server.token(FIRST, sub="bot")
    form = exchange_form(shown, actor_token=bot, actor_token_type=JWT)
    assert await world.refused(form) == "invalid_request"


async def test_nothing_is_given_in_the_clear_off_loopback(world: World) -> None:
    form = exchange_form(world.server.token(FIRST))
    with pytest.raises(OAuthRefused, match="TLS"):
        await world.give(form, "192.0.2.1", encrypted=False)
    assert (await world.give(form, HOME, encrypted=False)).expires_in


async def test_what_takes_the_jwt_back_takes_the_token_back(world: World) -> None:
    shown = world.server.token(FIRST)
    jwt = await world.identity.issuers.check(shown)
    assert jwt is not None
    given = await world.give(exchange_form(shown))
    subject = await world.subject(given)
    assert await world.tokens.revoke("id", jwt.token, "root") == 1
    assert await world.subject(given) is None
    assert {one.value for one in world.ended} == {jwt.token, subject.token}
    assert await world.refused(exchange_form(shown)) == "invalid_request"


async def test_what_takes_the_subject_or_the_issuer_back_takes_it_back(world: World) -> None:
    given = await world.give(exchange_form(world.server.token(FIRST)))
    assert await world.tokens.distrust([world.server.url]) == 0
    assert await world.subject(given) is not None
    assert await world.tokens.distrust([]) == 1
    assert await world.subject(given) is None
    again = await world.give(exchange_form(world.server.token(FIRST)))
    assert await world.tokens.revoke("subject", "ann", "root") == 1
    assert await world.subject(again) is None
    made, secret = await world.tokens.create("n", "bob", lifetime=60.0, owner="root")
    assert await world.tokens.distrust([]) == 0
    assert made.via == "" and await world.tokens.check(secret, HOME) is not None


async def test_one_subject_cannot_fill_the_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oauth, "MAXIMUM_LIVE", 3)
    form = exchange_form(world.server.token(FIRST))
    for _ in range(3):
        await world.give(form)
    assert await world.refused(form) == "invalid_request"
    assert (await world.give(exchange_form(world.server.token(FIRST, sub="bob")))).expires_in
    world.now += 600
    later = world.server.token(FIRST, exp=world.now + 60, iat=world.now)
    assert (await world.give(exchange_form(later))).expires_in == 60
    await world.tokens.create("kept", "bob", lifetime=1.0, owner="root")
    world.now += REMEMBERED + 601
    await world.tokens.prune()
    assert [one.name for one in await world.tokens.list()] == ["kept"]


async def test_a_role_for_minutes_does_not_make_a_gateway_administrated(world: World) -> None:
    rule = GroupRule({"groups": ("dba",)}, roles=("admin",))
    world.use(groups=(rule,))
    given = await world.give(exchange_form(world.server.token(FIRST)))
    assert (await world.subject(given)).roles == ("admin",)
    assert not await world.tokens.any_admin()
    await world.tokens.create("n", "root", roles=["admin"], lifetime=60.0)
    assert await world.tokens.any_admin()


async def test_more_groups_than_a_token_by_hand_may_have(world: World) -> None:
    groups = [f"g{number}" for number in range(200)]
    given = await world.give(exchange_form(world.server.token(FIRST, groups=groups)))
    assert (await world.subject(given)).groups == tuple(groups)


# --- service accounts


@pytest.mark.parametrize("kind", ["RSA", "EC", "OKP"])
async def test_an_account_shows_an_assertion_and_gets_a_token(world: World, kind: str) -> None:
    key = new_key(kind)
    await world.account(keys=[public_pem(key)])
    given = await world.give(client_form(world.assertion(key)))
    assert given.kind is None and given.expires_in == 900
    subject = await world.subject(given)
    assert (subject.name, subject.groups, subject.owner) == ("nightly", ("agents",), "root")
    assert subject.roles == ()
    made = world.audited[-1]
    assert (made.action, made.actor, made.details["account"]) == (
        "token-created",
        "nightly",
        "nightly",
    )
    (account,) = await world.accounts.list()
    assert made.details["account_key"] == account.keys[0].id


async def test_an_assertion_is_used_once_also_at_the_same_time(world: World) -> None:
    await world.account()
    form = client_form(world.assertion())
    many = await asyncio.gather(*(world.give(form) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(one, Issued) for one in many) == 1
    assert all(isinstance(one, Issued | OAuthRefused) for one in many)
    again = ClientAssertions(world.database, world.clock)  # after a restart
    world.endpoint._assertions = again
    assert await world.refused(form) == "invalid_client"
    await again.prune()
    assert await world.refused(form) == "invalid_client"


async def test_an_assertion_of_an_account_that_was_made_anew_is_still_used(world: World) -> None:
    await world.account()
    form = client_form(world.assertion())
    await world.give(form)
    await world.accounts.remove("nightly", "root")
    await world.account()
    assert await world.refused(form) == "invalid_client"


ASSERTIONS: dict[str, dict[str, Any]] = {
    "another endpoint": {"aud": "https://other.example/oauth/token"},
    "an endpoint that begins alike": {"aud": ENDPOINT + "/x"},
    "two audiences": {"aud": [ENDPOINT, "https://other.example"]},
    "no audience": {"aud": ...},
    "an empty audience": {"aud": ""},
    "another issuer": {"iss": "daily"},
    "another subject": {"sub": "daily"},
    "no issuer": {"iss": ...},
    "no subject": {"sub": ...},
    "an issuer that is a number": {"iss": 7},
    "expired": {"exp": NOW - 31},
    "no expiry": {"exp": ...},
    "for more than five minutes": {"exp": NOW + 331},
    "for ever": {"exp": 1e11},
    "not yet": {"nbf": NOW + 31},
    "issued in the future": {"iat": NOW + 31},
    "no id": {"jti": ...},
    "an empty id": {"jti": ""},
    "an id that is a number": {"jti": 7},
    "a long id": {"jti": "j" * 257},
    "an unknown key's id": {"header": {"kid": "../../key"}},
    "an extension": {"header": {"crit": ["exp"]}},
    "another type": {"header": {"typ": "logout+jwt"}},
    "an access token": {"header": {"typ": "dpop+jwt"}},
}


@pytest.mark.parametrize("claims", ASSERTIONS.values(), ids=ASSERTIONS)
async def test_an_odd_assertion_is_refused(world: World, claims: dict[str, Any]) -> None:
    await world.account()
    assert (await world.give(client_form(world.assertion()))).expires_in
    header = claims.get("header") == {"crit": ["exp"]}
    shown = world.assertion() if header else world.assertion(**claims)
    if header:  # no library signs that: the header is put in its place
        shown = "eyJhbGciOiJFZDI1NTE5IiwiY3JpdCI6WyJleHAiXX0." + shown.partition(".")[2]
    assert await world.refused(client_form(shown)) == "invalid_client"


async def test_what_is_taken_beside_the_least(world: World) -> None:
    await world.account()
    (account,) = await world.accounts.list()
    for claims in (
        {"aud": [ENDPOINT]},
        {"header": {"kid": account.keys[0].id}},
        {"header": {"typ": "client-authentication+jwt"}},
        {"iat": ...},
        {"exp": NOW + 300},
    ):
        assert (await world.give(client_form(world.assertion(**claims)))).expires_in, claims
    named = client_form(world.assertion(), client_id="nightly")
    assert (await world.give(named)).expires_in
    assert await world.refused(client_form(world.assertion(), client_id="daily"))


async def test_unknown_accounts_and_wrong_keys_get_one_same_answer(world: World) -> None:
    await world.account()
    answers = set()
    for shown in (
        world.assertion(OTHER),
        world.assertion(KEY, "nobody"),
        world.assertion(new_key("RSA")),
        world.assertion(new_key("EC"), "nobody"),
        world.assertion(exp=NOW - 60),
        "x.y.z",
        "",
    ):
        with pytest.raises(OAuthRefused) as why:
            await world.give(client_form(shown or "a.b.c"))
        answers.add((why.value.error, str(why.value)))
    assert len(answers) == 1
    assert len(world.backoff) > 1, "failures are counted"


async def test_failures_are_answered_later_and_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def delay(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(backoff, "FIRST_DELAY", 0.1)
    monkeypatch.setattr(world.backoff, "delay", delay)
    await world.account()
    for _ in range(6):
        await world.refused(client_form(world.assertion(OTHER)))
        await world.refused(exchange_form("x.y.z"))
    assert waited == sorted(waited) and waited[-1] > waited[0]
    before = len(waited)
    assert (await world.give(client_form(world.assertion()))).expires_in
    assert len(waited) == before, "who shows what is right does not wait"


async def test_an_account_of_certain_targets_and_networks(world: World) -> None:
    await world.account(targets=["shop", "stock"], sources=["192.0.2.0/24"])
    near = "192.0.2.7"
    whole = await world.give(client_form(world.assertion()), near)
    assert await world.subject(whole, near) is not None
    assert await world.subject(whole, HOME) is None
    (record,) = await world.tokens.list()
    assert (record.targets, record.sources) == (("shop", "stock"), ("192.0.2.0/24",))
    form = {**client_form(world.assertion()), "audience": ["shop"]}
    await world.give(form, near)
    records = await world.tokens.list()
    assert sorted(one.targets or () for one in records) == [("shop",), ("shop", "stock")]
    form = {**client_form(world.assertion()), "audience": ["shop", "payroll"]}
    assert await world.refused(form, near) == "invalid_target"
    assert await world.refused(client_form(world.assertion()), HOME) == "invalid_client"


async def test_an_account_takes_its_tokens_and_sessions_with_it(world: World) -> None:
    await world.account()
    await world.account("other", keys=[public_pem(OTHER)])
    mine = await world.give(client_form(world.assertion()))
    theirs = await world.give(client_form(world.assertion(OTHER, "other")))
    _, by_hand = await world.tokens.create("n", "nightly", lifetime=60.0, owner="root")
    identifier = (await world.subject(mine)).token
    assert await world.accounts.remove("nightly", "root") == 1
    assert await world.accounts.remove("nightly", "root") is None
    assert [(one.kind, one.value) for one in world.ended] == [("id", identifier)]
    assert await world.subject(mine) is None
    assert await world.subject(theirs) is not None
    assert await world.tokens.check(by_hand, HOME) is not None, "what somebody made stays theirs"
    assert await world.refused(client_form(world.assertion())) == "invalid_client"
    assert [each.action for each in world.audited].count("service-account-removed") == 1


async def test_a_key_takes_only_what_it_gave(world: World) -> None:
    await world.account()
    old = await world.give(client_form(world.assertion()))
    added = await world.accounts.add_key("nightly", public_pem(OTHER), "root")
    assert added is not None
    new = await world.give(client_form(world.assertion(OTHER)))
    (account,) = await world.accounts.list()
    first = next(key.id for key in account.keys if key.id != added.id)
    assert await world.accounts.remove_key("nightly", first, "root") == 1
    assert await world.subject(old) is None and await world.subject(new) is not None
    assert await world.refused(client_form(world.assertion())) == "invalid_client"
    assert await world.accounts.remove_key("nightly", first, "root") is None
    assert await world.accounts.add_key("nobody", public_pem(KEY), "root") is None
    actions = [each.action for each in world.audited if each.action.startswith("service")]
    assert actions == [
        "service-account-created",
        "service-account-key-added",
        "service-account-key-removed",
    ]


async def test_an_account_that_goes_meanwhile_gets_nothing(world: World) -> None:
    """It is removed after its assertion was checked and before its token is made."""
    await world.account()
    used = await world.assertions.check(world.assertion(), ENDPOINT, None)
    await world.accounts.remove("nightly", "root")

    async def checked(*_: object) -> Any:
        return used

    world.assertions.check = checked  # type: ignore[method-assign]
    assert await world.refused(client_form("a.b.c")) == "invalid_client"
    await world.account()
    world.accounts._clock = lambda: NOW + 1
    await world.accounts.remove("nightly", "root")
    await world.account()
    assert await world.refused(client_form("a.b.c")) == "invalid_client"


KEYS: dict[str, str] = {
    "nothing": "",
    "words": "ssh-ed25519 AAAA nightly",
    "a private key": "PEM",
    "a private JWK": "JWK",
    "a shared secret": '{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}',
    "a short key": "SHORT",
    "a curve that signs nothing here": "X25519",
    "half a key": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "a list": "[]",
    "deep": '{"kty":' + "[" * 5000,
    "long": "x" * 20_000,
}


@pytest.mark.parametrize("text", KEYS.values(), ids=KEYS)
async def test_what_is_no_public_key(world: World, text: str) -> None:
    weak = generate_private_key(65537, 1024).public_key()
    made = {
        "PEM": KEY.as_pem(private=True).decode(),
        "JWK": json.dumps(KEY.as_dict(private=True)),
        "SHORT": weak.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "X25519": OKPKey.generate_key("X25519").as_pem(private=False).decode(),
    }
    given = made.get(text, text)
    with pytest.raises(ValueError, match=r"public key|private key") as why:
        await world.account(keys=[given])
    assert given not in str(why.value) or not given
    assert await world.accounts.list() == []


async def test_what_is_no_account(world: World) -> None:
    await world.account()
    for name in ("", "a/b", "-a", "a b", "ann\u200b", "a" * 129):
        with pytest.raises(ValueError, match="name"):
            await world.account(name)
    with pytest.raises(ValueError, match="already"):
        await world.account()
    with pytest.raises(ValueError, match="network"):
        await world.account("b", sources=["here"])
    with pytest.raises(ValueError, match="at most 8"):
        await world.account("b", keys=[public_pem(new_key("EC")) for _ in range(9)])
    with pytest.raises(ValueError, match="already"):
        await world.accounts.add_key("nightly", public_pem(KEY), "root")
    assert [one.name for one in await world.accounts.list()] == ["nightly"]


async def test_a_jwt_of_before_brings_no_group_back(world: World) -> None:
    """Whoever was demoted may keep the ID token of before, which is in force for long."""
    world.use(clients=("cli",))
    issuers = world.identity.issuers

    def login(at: float, *groups: str, sub: str = "ann") -> str:
        return world.server.token(FIRST, aud="cli", sub=sub, iat=at, groups=list(groups))

    first, poor = login(NOW - 20, "dba", "agents"), login(NOW - 20, "agents")
    program = world.server.token(FIRST, iat=NOW - 15, groups=["dba"])
    await world.give(exchange_form(first))
    before = await issuers.check(first)
    assert before is not None and await issuers.check(program) is not None
    await world.give(exchange_form(login(NOW - 10, "agents")))
    assert [one.groups for one in await world.tokens.list(live=True)] == [("agents",)]
    for old in (first, program, login(NOW - 11, "dba")):
        assert await issuers.check(old) is None
        assert await world.refused(exchange_form(old)) == "invalid_request"
    assert await issuers.revoked(before), "who was let in just before opens nothing more"
    assert await issuers.check(poor) is not None, "it gives no more than the newest one"
    assert await issuers.check(login(NOW - 20, "dba", sub="bob")) is not None
    await world.give(exchange_form(poor))
    assert await issuers.check(first) is None, "an older login makes nothing of before newer"
    await world.give(exchange_form(login(NOW - 5, "dba", "agents")))
    assert await issuers.check(first) is not None, "promoted again"
