"""JWTs of a real issuer over real HTTP: who gets in, and the many that must not."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc.jwk import OctKey, OKPKey

from sallyport.approvals.access import AccessRequest, AccessState
from sallyport.approvals.requests import may_answer
from sallyport.core.subject import Subject
from sallyport.identity.jwks import FRESH_DEFAULT, KEPT, REFETCH, Jwks, KeysError
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.tokens import TokenService
from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.unit.identity.issuer import CURVE, FIRST, NOW, OTHER, IssuerServer, rsa


def issuers(server: IssuerServer, database: Database, **options: Any) -> Issuers:
    options = {"audience": ("sallyport",), "jwks": f"{server.url}/jwks", **options}
    setting = IssuerSettings(name="corp", issuer=server.url, **options)
    return Issuers([setting], database, clock=lambda: NOW)


@pytest.fixture
def corp(server: IssuerServer, database: Database) -> Issuers:
    return issuers(server, database)


async def test_a_good_token_becomes_its_subject(corp: Issuers, server: IssuerServer) -> None:
    token = server.token(FIRST, department="shop", act={"sub": "bot", "act": {"sub": "tool"}})
    subject = await corp.check(token)
    assert subject is not None
    assert (subject.name, subject.groups, subject.issuer) == ("ann", ("dba",), server.url)
    assert subject.expires == NOW + 600
    assert subject.actors == ("bot", "tool")
    assert subject.claims["department"] == "shop"
    assert subject.token.startswith("jwt-") and token not in repr(subject)


async def test_who_acts_is_called_what_they_are_called_themselves(
    server: IssuerServer, database: Database
) -> None:
    corp = issuers(server, database, subject_claim="login")
    chain = {"sub": "1", "login": "bo", "act": {"sub": "tool"}}
    subject = await corp.check(server.token(FIRST, login="ann", act=chain))
    assert subject is not None and subject.actors == ("bo", "tool")
    asked = AccessRequest(
        id="acc-1", state=AccessState.PENDING, version=1, subject="ann", issuer=server.url,
        owner="", actors=subject.actors, groups=(), target="shop", database="shop", login="app",
        why="x", duration=60.0, rule="ask", approvers=("dba",), people=1, opened=NOW,
        expires=NOW + 60,
    )  # fmt: skip
    bo = await corp.check(server.token(FIRST, sub="1", login="bo"))
    assert bo is not None and may_answer(asked, bo) is not None, "they had a part in asking"
    assert await corp.check(server.token(FIRST, login="ann", act={"login": 7})) is None


async def test_elliptic_curves_are_taken_too(corp: Issuers, server: IssuerServer) -> None:
    assert await corp.check(server.token(CURVE, "ES256")) is not None


async def test_edwards_curves_where_the_list_names_them(
    server: IssuerServer, database: Database
) -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "ed"}, private=True)
    server.keys.append(key)
    listed = issuers(server, database, algorithms=("Ed25519",))
    token = server.token(key, "Ed25519")
    assert await listed.check(token) is not None
    assert await issuers(server, database).check(token) is None


async def test_session_ttl_takes_the_place_of_the_tokens_expiry(
    server: IssuerServer, database: Database
) -> None:
    subject = await issuers(server, database, session_ttl=3600.0).check(server.token(FIRST))
    assert subject is not None and subject.expires == NOW + 3600


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"exp": NOW - 31},
    "no expiry": {"exp": ...},
    "expiry is a word": {"exp": "never"},
    "expiry is true": {"exp": True},
    "expiry is beyond time": {"exp": 1e300},
    "expiry is a huge integer": {"exp": 10**400},
    "not yet": {"nbf": NOW + 31},
    "issued in the future": {"iat": NOW + 3600},
    "issued at a word": {"iat": "today"},
    "another audience": {"aud": "billing"},
    "no audience": {"aud": ...},
    "an audience that is a mapping": {"aud": {"sallyport": 1}},
    "several audiences, made for another": {"aud": ["sallyport", "billing"], "azp": "billing"},
    "several audiences, made for nobody": {"aud": ["sallyport", "billing"]},
    "an odd party": {"azp": 7},
    "another issuer": {"iss": "https://elsewhere.example"},
    "no issuer": {"iss": ...},
    "no subject": {"sub": ...},
    "an empty subject": {"sub": ""},
    "a subject that is a number": {"sub": 1},
    "a subject with a line feed": {"sub": "ann\nroot"},
    "a subject that reads backwards": {"sub": "ann\u202etoor"},
    "a subject with an invisible letter": {"sub": "an\u200bn"},
    "a subject too long": {"sub": "a" * 257},
    "groups that are a mapping": {"groups": {"dba": True}},
    "a group that is a number": {"groups": ["dba", 1]},
    "too many groups": {"groups": [f"g{n}" for n in range(600)]},
    "groups kept elsewhere": {"groups": ..., "_claim_names": {"groups": "src1"}},
    "an actor without a name": {"act": {"name": "bot"}},
    "an endless chain of actors": {
        "act": json.loads('{"sub":"a","act":' * 9 + '{"sub":"a"}' + "}" * 9)
    },
}


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED.keys())
async def test_odd_claims_are_refused(
    corp: Issuers, server: IssuerServer, claims: dict[str, Any]
) -> None:
    assert await corp.check(server.token(FIRST)) is not None
    assert await corp.check(server.token(FIRST, **claims)) is None


async def test_leeway_and_parties_are_given_where_they_are_due(
    corp: Issuers, server: IssuerServer
) -> None:
    for claims in (
        {"exp": NOW - 29},
        {"nbf": NOW + 29},
        {"aud": ["sallyport", "billing"], "azp": "sallyport"},
        {"aud": ["sallyport"], "azp": "the-agent"},
        {"groups": ...},
        {"groups": "dba"},
        {"iat": ...},
    ):
        assert await corp.check(server.token(FIRST, **claims)) is not None, claims


async def test_groups_may_stand_at_the_end_of_a_path(
    server: IssuerServer, database: Database
) -> None:
    corp = issuers(server, database, groups_claim="realm_access.roles")
    subject = await corp.check(server.token(FIRST, realm_access={"roles": ["x"]}, groups=...))
    assert subject is not None and subject.groups == ("x",)


async def test_an_unverified_email_names_nobody(server: IssuerServer, database: Database) -> None:
    corp = issuers(server, database, subject_claim="email")
    assert await corp.check(server.token(FIRST, email="a@b.c", email_verified=False)) is None
    subject = await corp.check(server.token(FIRST, email="a@b.c", email_verified=True))
    assert subject is not None and subject.name == "a@b.c"


# --- signatures


def _segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_alg_none_is_refused(corp: Issuers, server: IssuerServer) -> None:
    _, body, signature = server.token(FIRST).split(".")
    for alg in ("none", "None", "NONE", "nOnE", ""):
        head = _segment({"alg": alg, "kid": "first"})
        for tail in ("", signature):
            assert await corp.check(f"{head}.{body}.{tail}") is None


async def test_hs256_with_the_public_key_is_refused(corp: Issuers, server: IssuerServer) -> None:
    head = _segment({"alg": "HS256", "kid": "first", "typ": "JWT"})
    _, body, _ = server.token(FIRST).split(".")
    public = json.dumps(FIRST.as_dict(private=False)).encode()
    for secret in (FIRST.as_pem(private=False), FIRST.as_der(private=False), public):
        mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
        tail = base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
        assert await corp.check(f"{head}.{body}.{tail}") is None


async def test_hs256_cannot_be_configured_at_all(database: Database, server: IssuerServer) -> None:
    for algorithm in ("HS256", "none", "RS1", "ES256K"):
        with pytest.raises(ValueError, match="is not taken"):
            issuers(server, database, algorithms=("RS256", algorithm))


async def test_a_shared_key_in_the_set_signs_nothing(corp: Issuers, server: IssuerServer) -> None:
    key = OctKey.generate_key(256, {"kid": "shared"})
    server.extra_entries = [dict(key.as_dict(private=True))]
    assert await corp.check(server.token(key, "HS256")) is None
    assert await corp.check(server.token(FIRST)) is not None


async def test_another_key_under_a_known_id_is_refused(corp: Issuers, server: IssuerServer) -> None:
    imposter = rsa("first")
    assert await corp.check(server.token(imposter)) is None


async def test_a_key_that_the_token_brings_along_is_not_used(
    corp: Issuers, server: IssuerServer
) -> None:
    for header in (
        {"jwk": OTHER.as_dict(private=False)},
        {"jku": f"{server.url}/evil"},
        {"x5u": f"{server.url}/evil"},
        {"jwk": OTHER.as_dict(private=False), "kid": "first"},
    ):
        assert await corp.check(server.token(OTHER, header=header)) is None
    assert "/evil" not in server.requests


async def test_a_changed_token_is_refused(corp: Issuers, server: IssuerServer) -> None:
    head, body, signature = server.token(FIRST).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = _segment({**claims, "sub": "root"})
    assert await corp.check(f"{head}.{forged}.{signature}") is None
    assert await corp.check(f"{head}.{body}.{signature[:-4]}AAAA") is None
    assert await corp.check(f"{head}.{body}.") is None


async def test_a_key_is_used_for_its_own_algorithm_only(
    corp: Issuers, server: IssuerServer, database: Database
) -> None:
    server.extra_entries = [{**dict(OTHER.as_dict(private=False)), "alg": "PS256"}]
    assert await corp.check(server.token(OTHER)) is None
    both = issuers(server, database, algorithms=("RS256", "PS256"))
    assert await both.check(server.token(OTHER)) is None
    assert await both.check(server.token(OTHER, "PS256")) is not None


async def test_an_encryption_key_signs_nothing(corp: Issuers, server: IssuerServer) -> None:
    server.extra_entries = [{**dict(OTHER.as_dict(private=False)), "use": "enc"}]
    assert await corp.check(server.token(OTHER)) is None


async def test_a_short_rsa_key_is_not_used(corp: Issuers, server: IssuerServer) -> None:
    with pytest.warns():
        weak = rsa("weak", 1024)
        server.keys.append(weak)
        token = server.token(weak)
        assert await corp.check(token) is None


@pytest.mark.parametrize(
    "header",
    [{"crit": ["exp"]}, {"typ": "logout+jwt"}, {"typ": 1}, {"kid": 1}, {"kid": "k" * 300}],
)
async def test_odd_headers_are_refused(corp: Issuers, server: IssuerServer, header: Any) -> None:
    head, body, signature = server.token(FIRST).split(".")
    decoded = json.loads(base64.urlsafe_b64decode(head + "=="))
    assert await corp.check(f"{_segment({**decoded, **header})}.{body}.{signature}") is None


async def test_without_a_key_id_only_where_there_is_no_choice(
    corp: Issuers, server: IssuerServer
) -> None:
    token = server.token(FIRST, header={"kid": ...})
    assert await corp.check(token) is not None


async def test_without_a_key_id_two_keys_are_a_guess(corp: Issuers, server: IssuerServer) -> None:
    server.keys = [FIRST, OTHER]
    assert await corp.check(server.token(FIRST, header={"kid": ...})) is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(token=st.one_of(st.text(max_size=200), st.from_regex(r"[\w-]{0,40}\.[\w-]{0,40}\.[\w-]*")))
async def test_garbage_is_refused_and_never_raises(corp: Issuers, token: str) -> None:
    assert await corp.check(token) is None


async def test_a_deep_or_long_token_is_refused(corp: Issuers) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 9000).rstrip(b"=").decode()
    assert await corp.check(f"{deep}.{deep}.x") is None
    assert await corp.check("a" * 5000 + "." + "b" * 20000 + ".c") is None


# --- keys


async def test_rotation_is_seen_at_once_and_made_up_ids_cost_one_request(
    server: IssuerServer,
) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    assert await jwks.find("first", "RS256") is not None
    assert len(server.requests) == 1
    server.keys = [OTHER]
    clock.now += REFETCH
    assert await jwks.find("other", "RS256") is not None
    assert len(server.requests) == 2
    for number in range(50):
        assert await jwks.find(f"made-up-{number}", "RS256") is None
    assert len(server.requests) == 2
    assert await jwks.find("first", "RS256") is None


async def test_keys_serve_while_the_issuer_is_away_but_not_for_ever(server: IssuerServer) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    assert await jwks.find("first", "RS256") is not None
    await server.stop()
    server.answer = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"
    clock.now += FRESH_DEFAULT + KEPT - 1
    assert await jwks.find("first", "RS256") is not None
    clock.now += 2 + REFETCH
    with pytest.raises(KeysError):
        await jwks.find("first", "RS256")


async def test_cache_control_is_followed_within_bounds(server: IssuerServer) -> None:
    for header, kept, gone in (
        ("cache-control: max-age=1\r\n", 59, 61),
        ("cache-control: public, max-age=999999\r\n", 3599, 3601),
        ("", 599, 601),
    ):
        server.headers, clock = header, Clock(1000.0)
        server.requests.clear()
        jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
        begun = clock.now
        for after, requests in ((0, 1), (kept, 1), (gone, 2)):
            clock.now = begun + after
            await jwks.find("first", "RS256")
            assert len(server.requests) == requests, (header, after)


BAD_ANSWERS = {
    "a redirect": b"HTTP/1.1 302 Found\r\nlocation: /jwks2\r\ncontent-length: 0\r\n\r\n",
    "no JSON": b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi!",
    "no keys": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "a list": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
    "too much": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 300_000 + b'{"keys":[]}',
    "a lie about its length": b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{}",
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a_bad_answer_lets_nobody_in(
    server: IssuerServer, database: Database, answer: bytes
) -> None:
    server.answer = answer
    corp = issuers(server, database)
    assert await corp.check(server.token(FIRST)) is None
    assert "/jwks2" not in server.requests


async def test_discovery_finds_the_keys(server: IssuerServer, database: Database) -> None:
    assert await issuers(server, database, jwks=None).check(server.token(FIRST)) is not None
    assert server.requests == ["/.well-known/openid-configuration", "/jwks"]


async def test_discovery_of_another_issuer_is_refused(
    server: IssuerServer, database: Database
) -> None:
    server.claimed_issuer = "https://elsewhere.example"
    assert await issuers(server, database, jwks=None).check(server.token(FIRST)) is None


@pytest.mark.parametrize(
    "url", ["http://login.example.com/jwks", "ftp://x/y", "https://a:b@host/", "file:///etc/x", "x"]
)
def test_keys_come_over_tls_or_not_at_all(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        Jwks("https://login.example.com", url)


async def test_keys_survive_a_reload(server: IssuerServer, database: Database) -> None:
    first = issuers(server, database)
    await first.check(server.token(FIRST))
    setting = IssuerSettings("corp", server.url, ("sallyport",), jwks=f"{server.url}/jwks")
    second = Issuers([setting], database, clock=lambda: NOW, previous=first)
    assert await second.check(server.token(FIRST)) is not None
    assert len(server.requests) == 1


# --- revocation


async def test_a_revoked_subject_needs_a_newer_token(
    corp: Issuers, server: IssuerServer, database: Database
) -> None:
    tokens = TokenService(database, print, clock=lambda: NOW)
    old = server.token(FIRST)
    before = await corp.check(old)
    assert isinstance(before, Subject)
    await tokens.revoke("subject", "ann", "root")
    assert await corp.revoked(before)
    assert await corp.check(old) is None
    assert await corp.check(server.token(FIRST, iat=...)) is None
    assert await corp.check(server.token(FIRST, sub="bob")) is not None
    assert await corp.check(server.token(FIRST, iat=NOW + 1)) is None, "its clock may be ahead"
    later = Issuers([corp._issuers[server.url].settings], database, lambda: NOW + 40)
    assert await later.check(server.token(FIRST, iat=NOW + 35)) is not None


async def test_one_jwt_can_be_revoked_by_its_id(
    corp: Issuers, server: IssuerServer, database: Database
) -> None:
    tokens = TokenService(database, print, clock=lambda: NOW)
    one, another = server.token(FIRST), server.token(FIRST, iat=NOW - 9)
    subject = await corp.check(one)
    assert subject is not None
    await tokens.revoke("id", subject.token, "root")
    assert await corp.check(one) is None
    assert await corp.check(another) is not None


# --- a hostile answer


def http(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "odd", [{"key_ops": 5}, {"key_ops": None}, {"use": ["sig"]}, {"alg": ["RS256"]}, {"kid": {}}]
)
async def test_an_odd_key_beside_a_good_one_is_passed_over(
    corp: Issuers, server: IssuerServer, odd: dict[str, Any]
) -> None:
    server.extra_entries = [{**OTHER.as_dict(private=False), **odd}]
    assert await corp.check(server.token(FIRST)) is not None


async def test_keys_nested_too_deep_are_a_bad_answer_and_the_old_ones_serve(
    server: IssuerServer,
) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    assert await jwks.find("first", "RS256") is not None
    server.answer = http(b'{"keys":' + b"[" * 200_000)
    clock.now += 3600
    assert await jwks.find("first", "RS256") is not None


async def test_a_packed_answer_is_refused_because_it_may_unpack_to_anything(
    corp: Issuers, server: IssuerServer
) -> None:
    packed = gzip.compress(json.dumps(server.key_set()).encode())
    server.answer = http(packed, "content-encoding: gzip")
    assert await corp.check(server.token(FIRST)) is None


async def test_what_is_on_this_machine_is_asked_here_and_not_by_a_proxy(
    corp: Issuers, server: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would answer in the place of loopback, over plain http, with keys of its own."""
    proxy = IssuerServer()
    proxy.keys = [OTHER]
    await proxy.start()
    try:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert await corp.check(server.token(FIRST)) is not None
    finally:
        await proxy.stop()
    assert proxy.requests == [] and server.requests


async def test_an_issuer_whose_clock_is_ahead_is_no_way_round_a_revocation(
    corp: Issuers, server: IssuerServer, database: Database
) -> None:
    ahead = server.token(FIRST, iat=NOW + 25)
    subject = await corp.check(ahead)
    assert subject is not None
    await TokenService(database, lambda _: None, lambda: NOW).revoke("subject", "ann", "root")
    assert await corp.check(ahead) is None and await corp.revoked(subject)
    later = Issuers([corp._issuers[server.url].settings], database, lambda: NOW + 40)
    assert await later.check(ahead) is None
