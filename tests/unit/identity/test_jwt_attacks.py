"""Attacks on JWTs and on the key sets behind them, as cases of data; none lets anybody in."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from sallyport.identity.jwks import FRESH_DEFAULT, REFETCH, Jwks, KeysError
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.store.database import Database
from tests.support.clock import Clock
from tests.unit.identity.issuer import CURVE, FIRST, NOW, OTHER, IssuerServer
from tests.wire.rig import Certificates


def setting(server: IssuerServer, name: str = "corp", **options: Any) -> IssuerSettings:
    options = {"audience": ("sallyport",), "jwks": f"{server.url}/jwks", **options}
    return IssuerSettings(name=name, issuer=server.url, **options)


@pytest.fixture
def corp(server: IssuerServer, database: Database) -> Issuers:
    return Issuers([setting(server)], database, clock=lambda: NOW)


def segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def part(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(found, dict)
    return found


# --- headers: the token is signed by `FIRST`, and its header is what a case makes of it

KIDS = {
    "a path": "../../../../dev/null",
    "an absolute path": "/proc/self/environ",
    "SQL": "first' OR '1'='1",
    "a union": "x' UNION SELECT 'AAAA'--",
    "a URL": "https://evil.example/jwks#first",
    "a command": "first; touch /tmp/x",
    "a null": "first\0",
    "another case": "FIRST",
    "a blank": "first ",
    "nothing": "",
    "a template": "{{7*7}}",
    "a format": "%s%s%n",
    "a list": ["first"],
    "a mapping": {"first": 1},
    "a number": 0,
    "much": "k" * 257,
}


@pytest.mark.parametrize("kid", KIDS.values(), ids=KIDS)
async def test_a_key_id_is_only_ever_compared(
    corp: Issuers, server: IssuerServer, kid: object
) -> None:
    body = json.dumps(part(server.token(FIRST), 1)).encode()
    if isinstance(kid, str):
        assert await corp.check(server.signed(FIRST, body, kid=kid)) is None
        assert await corp.check(server.signed(OTHER, body, kid=kid)) is None
    _, claims, signature = server.token(FIRST).split(".")
    head = segment({"alg": "RS256", "kid": kid})
    assert await corp.check(f"{head}.{claims}.{signature}") is None
    assert set(server.requests) <= {"/jwks"}


def _brought(server: IssuerServer) -> dict[str, dict[str, Any]]:
    public = OTHER.as_dict(private=False)
    return {
        "its key": {"jwk": public},
        "its key under a known id": {"jwk": public, "kid": "first"},
        "the address of a set": {"jku": f"{server.url}/evil"},
        "the address of a set under a known id": {"jku": f"{server.url}/evil", "kid": "first"},
        "the address of a certificate": {"x5u": f"{server.url}/evil"},
        "a certificate": {"x5c": ["MIIB"], "kid": "first"},
        "a thumbprint": {"x5t#S256": "AAAA", "kid": "first"},
        "an issuer in the header": {"iss": server.url, "kid": "first"},
        "an extension": {"crit": ["exp"], "exp": NOW + 60},
        "an extension that is none": {"crit": []},
        "an unencoded body": {"b64": False, "crit": ["b64"]},
        "another type": {"typ": "logout+jwt", "kid": "first"},
        "a nested token": {"cty": "JWT", "kid": "first"},
    }


async def test_what_a_header_brings_along_counts_for_nothing(
    corp: Issuers, server: IssuerServer
) -> None:
    body = json.dumps(part(server.token(FIRST), 1)).encode()
    assert await corp.check(server.signed(FIRST, body)) is not None
    for name, header in _brought(server).items():
        head = segment({"alg": "RS256", "kid": "other", **header})
        claims = segment(body)
        tail = server.signed(OTHER, body).split(".")[2]
        assert await corp.check(f"{head}.{claims}.{tail}") is None, name
    assert "/evil" not in server.requests


ALGORITHMS = ("none", "None", "NONE", "", "HS256", "HS384", "HS512", "RS1", "dir", "RSA-OAEP")


@pytest.mark.parametrize("alg", ALGORITHMS)
async def test_an_algorithm_that_is_not_on_the_list(
    corp: Issuers, server: IssuerServer, alg: str
) -> None:
    token = server.token(FIRST)
    _, claims, signature = token.split(".")
    head = segment({"alg": alg, "kid": "first", "typ": "JWT"})
    public: list[bytes] = [FIRST.as_pem(private=False), FIRST.as_der(private=False), b""]
    public.append(json.dumps(FIRST.as_dict(private=False)).encode())
    macs = [hmac.digest(key, f"{head}.{claims}".encode(), "sha256") for key in public if key]
    for tail in ("", signature, *(segment(mac) for mac in macs)):
        assert await corp.check(f"{head}.{claims}.{tail}") is None


async def test_a_signature_of_another_algorithm_by_the_right_key(
    corp: Issuers, server: IssuerServer
) -> None:
    for alg in ("RS384", "RS512", "PS256"):
        assert await corp.check(server.token(FIRST, alg)) is None
    body, tail = server.token(FIRST, "PS256").split(".")[1:]
    assert await corp.check(f"{segment({'alg': 'RS256', 'kid': 'first'})}.{body}.{tail}") is None
    crossed = segment({"alg": "ES256", "kid": "first"})
    assert await corp.check(f"{crossed}.{body}.{tail}") is None


async def test_a_signature_of_nothing_on_a_curve(corp: Issuers, server: IssuerServer) -> None:
    """r = s = 0 verified everything in some libraries."""
    head, body, _ = server.token(CURVE, "ES256").split(".")
    for tail in (bytes(64), bytes(63) + b"\1", b""):
        assert await corp.check(f"{head}.{body}.{segment(tail)}") is None


# --- bodies: signed by the right key, and still not what a token is

_WHOLE = '"iss":"ISS","aud":"sallyport","sub":"ann","exp":1800000600'
BODIES = {
    "a subject twice": "{" + _WHOLE + ',"sub":"root"}',
    "an issuer twice": "{" + _WHOLE + ',"iss":"ISS"}',
    "a group twice, deep": "{" + _WHOLE + ',"realm":{"roles":[],"roles":["admin"]}}',
    "a key twice in another spelling": "{" + _WHOLE + ',"\\u0073ub":"root"}',
    "a huge number": "{" + _WHOLE + ',"n":' + "9" * 5000 + "}",
    "a number of more than 64 bits": "{" + _WHOLE + ',"n":18446744073709551616}',
    "a number without end": "{" + _WHOLE + ',"n":[{"m":-1e999}]}',
    "no number": "{" + _WHOLE + ',"n":NaN}',
    "no end": "{" + _WHOLE + ',"n":Infinity}',
    "expiry without end": '{"iss":"ISS","aud":"sallyport","sub":"ann","exp":1e999}',
    "expiry as text": '{"iss":"ISS","aud":"sallyport","sub":"ann","exp":"1800000600"}',
    "expiry below zero": '{"iss":"ISS","aud":"sallyport","sub":"ann","exp":-1}',
    "a list": "[{" + _WHOLE + "}]",
    "text": '"' + "x" * 20 + '"',
    "a token in a token": '"TOKEN"',
    "nothing": "",
    "two objects": "{" + _WHOLE + "}{}",
    "a comment": "{" + _WHOLE + "/* */}",
    "deep": "{" + _WHOLE + ',"n":' + "[" * 3000 + "]" * 3000 + "}",
    "half a pair": "{" + _WHOLE.replace('"ann"', '"\\ud800"') + "}",
    "a byte order mark": "\ufeff{" + _WHOLE + "}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_an_odd_body_is_refused_although_it_is_signed(
    corp: Issuers, server: IssuerServer, body: str
) -> None:
    good = ("{" + _WHOLE + "}").replace("ISS", server.url)
    assert await corp.check(server.signed(FIRST, good.encode())) is not None
    text = body.replace("ISS", server.url).replace("TOKEN", server.token(FIRST))
    assert await corp.check(server.signed(FIRST, text.encode())) is None


async def test_a_body_in_another_coding_is_refused(corp: Issuers, server: IssuerServer) -> None:
    good = ("{" + _WHOLE + "}").replace("ISS", server.url)
    for raw in (good.encode("utf-16"), good.encode() + b"\xff", good.encode("utf-32")):
        assert await corp.check(server.signed(FIRST, raw)) is None


async def test_a_token_that_is_spelled_otherwise_is_refused(
    corp: Issuers, server: IssuerServer
) -> None:
    token = server.token(FIRST)
    head, body, tail = token.split(".")
    for other in (
        f"{head}=.{body}.{tail}",
        f"{head}.{body}==.{tail}",
        f" {token}",
        f"{token}\n",
        f"{head}.{body[:4]}\n{body[4:]}.{tail}",
        f"{head}.{body[:4]}*{body[4:]}.{tail}",
        f"{token}.",
        f"{head}..{tail}",
        f"{head}.{body}.{tail}.{tail}.{tail}",
        f"{head}.{body}",
        "..",
        "",
    ):
        assert await corp.check(other) is None, other
    assert await corp.check(token) is not None


CLAIMS: dict[str, dict[str, Any]] = {
    "an audience list of others": {"aud": ["a", "b"]},
    "an audience list with ours, for another": {"aud": ["sallyport", "b"], "azp": "b"},
    "an audience list with ours, for nobody": {"aud": ["sallyport", "b"]},
    "an audience that begins like ours": {"aud": "sallyport.evil"},
    "an audience in another case": {"aud": "Sallyport"},
    "an empty audience": {"aud": []},
    "an audience of lists": {"aud": [["sallyport"]]},
    "an audience of null": {"aud": [None, "sallyport"]},
    "an issuer with a slash": {"iss": "SLASH"},
    "an issuer as a list": {"iss": ["x"]},
    "expired by the leeway": {"exp": NOW - 30},
    "in force later": {"nbf": NOW + 31},
    "issued later": {"iat": NOW + 31},
    "issued without end": {"iat": True},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
async def test_claims_that_are_not_for_us(
    corp: Issuers, server: IssuerServer, claims: dict[str, Any]
) -> None:
    given = {k: f"{server.url}/" if v == "SLASH" else v for k, v in claims.items()}
    assert await corp.check(server.token(FIRST, **given)) is None


# --- two issuers


async def test_one_issuers_key_signs_nothing_for_another(
    server: IssuerServer, database: Database
) -> None:
    """Both call their key the same; what is signed by one says that it is the other's."""
    second = IssuerServer()
    theirs = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
    second.keys = [theirs]
    await second.start()
    try:
        both = Issuers([setting(server), setting(second, "second")], database, clock=lambda: NOW)
        assert await both.check(server.token(FIRST)) is not None
        assert await both.check(second.token(theirs)) is not None
        assert await both.check(server.token(theirs)) is None
        assert await both.check(second.token(FIRST)) is None
        assert await both.check(second.token(theirs, iss=server.url)) is None
    finally:
        await second.stop()


async def test_what_one_issuer_may_map_another_may_not(
    server: IssuerServer, database: Database
) -> None:
    second = IssuerServer()
    second.keys = [OTHER]
    await second.start()
    try:
        strict = setting(second, "second", subjects=("ci-*",), take_groups=False)
        both = Issuers([setting(server), strict], database, clock=lambda: NOW)
        assert await both.check(second.token(OTHER)) is None
        ci = await both.check(second.token(OTHER, sub="ci-1"))
        assert ci is not None and ci.groups == ()
        ann = await both.check(server.token(FIRST))
        assert ann is not None and ann.groups == ("dba",)
    finally:
        await second.stop()


# --- the key set is swapped behind our back

SWAPPED = {
    "garbage": b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n\x00\xff<html",
    "a page": b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n<html></html>",
    "no keys": b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"keys": {}}',
    "an error": b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n",
    "not there": b"HTTP/1.1 404 Gone\r\ncontent-length: 2\r\n\r\n{}",
    "a redirect": b"HTTP/1.1 307 Go\r\nlocation: /evil\r\ncontent-length: 0\r\n\r\n",
    "too much": b"HTTP/1.1 200 OK\r\ncontent-length: 999999\r\n\r\n" + b" " * 999_999,
    "too many keys": b"HTTP/1.1 200 OK\r\n\r\n" + b'{"keys":[' + b"{}," * 80 + b"{}]}",
    "a hang-up": b"",
}


@pytest.mark.parametrize("answer", SWAPPED.values(), ids=SWAPPED)
async def test_known_keys_serve_for_a_while_and_unknown_ones_do_not(
    server: IssuerServer, answer: bytes
) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    jwks.kept = 600.0
    assert await jwks.find("first", "RS256") is not None
    server.answer, server.keys = answer, [OTHER]
    clock.now += FRESH_DEFAULT + 599
    assert await jwks.find("first", "RS256") is not None
    assert await jwks.find("other", "RS256") is None
    clock.now += 2
    with pytest.raises(KeysError):
        await jwks.find("first", "RS256")
    assert "/evil" not in server.requests
    server.answer = None
    clock.now += REFETCH
    assert await jwks.find("other", "RS256") is not None
    assert await jwks.find("first", "RS256") is None, "a change is honoured at the next fetch"


async def test_a_set_without_keys_takes_all_of_them_back(server: IssuerServer) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    assert await jwks.find("first", "RS256") is not None
    server.keys = []
    clock.now += FRESH_DEFAULT
    with pytest.raises(KeysError):
        await jwks.find("first", "RS256")


async def test_an_issuer_that_is_away_is_not_asked_at_every_login(server: IssuerServer) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock)
    assert await jwks.find("first", "RS256") is not None
    server.answer = SWAPPED["an error"]
    clock.now += FRESH_DEFAULT
    for _ in range(20):
        assert await jwks.find("first", "RS256") is not None
        assert await jwks.find("made-up", "RS256") is None
    assert len(server.requests) == 2
    clock.now += REFETCH
    await jwks.find("first", "RS256")
    assert len(server.requests) == 3


@pytest.mark.parametrize("how", ["delay", "drip"])
async def test_a_slow_issuer_holds_a_login_up_for_so_long_and_no_longer(
    server: IssuerServer, how: str
) -> None:
    clock = Clock(1000.0)
    jwks = Jwks(server.url, f"{server.url}/jwks", monotonic=clock, deadline=0.3)
    assert await jwks.find("first", "RS256") is not None
    setattr(server, how, 5.0 if how == "delay" else 0.01)
    clock.now += FRESH_DEFAULT
    begun = time.monotonic()
    found = await asyncio.gather(*(jwks.find("first", "RS256") for _ in range(20)))
    assert all(key is not None for key in found)
    assert time.monotonic() - begun < 3.0
    assert len(server.requests) == 2


async def test_how_long_keys_are_kept_is_a_setting_that_a_reload_changes(
    server: IssuerServer, database: Database
) -> None:
    first = Issuers([setting(server, keys_kept=60.0)], database, clock=lambda: NOW)
    (keys,) = first.keys.values()
    assert keys.kept == 60.0
    Issuers([setting(server, keys_kept=7.0)], database, clock=lambda: NOW, previous=first)
    assert keys.kept == 7.0


async def test_an_issuers_own_authority_vouches_for_it_and_no_other_does(tmp_path: Path) -> None:
    ours, other = Certificates(), Certificates()
    server, pem = IssuerServer(), tmp_path / "issuer.pem"
    server.keys = [FIRST]
    pem.write_bytes(ours.certificate + ours.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    await server.start(context)
    try:
        trusting = Jwks(server.url, f"{server.url}/jwks", ca=ours.ca.decode())
        assert await trusting.find("first", "RS256") is not None
        for ca in (None, other.ca.decode()):
            with pytest.raises(KeysError):
                await Jwks(server.url, f"{server.url}/jwks", ca=ca).find("first", "RS256")
    finally:
        await server.stop()
    for ca in ("", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises(ValueError, match="PEM"):
            Jwks(server.url, None, ca=ca)
