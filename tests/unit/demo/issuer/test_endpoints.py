"""What programs get: discovery, keys, tokens by code and by refresh token, revocation."""

from __future__ import annotations

import secrets
import time
from typing import Any

import pytest

from sallyport.demo.issuer.server import DevelopmentIssuer
from sallyport.demo.server import free_port
from sallyport.identity.relying.id_token import check_id_token
from sallyport.identity.relying.provider import Provider, Web, discover, find_key, scopes_for
from tests.support.demo_issuer import CALLBACK, Visitor, error


def claims(visitor: Visitor, given: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Check an ID token as the command line does: signature, names, times, nonce, `at_hash`."""
    web = Web(visitor.issuer.url)
    try:
        endpoints = discover(web)
        expected = {"nonce": "the nonce", "client_id": visitor.client, **more}
        return check_id_token(
            given["id_token"],
            find_key=lambda kid, algorithm: find_key(web, endpoints, kid, algorithm),
            issuer=visitor.issuer.url,
            access_token=given["access_token"],
            now=time.time(),
            **expected,
        )
    finally:
        web.close()


def test_the_command_line_finds_all_it_needs(issuer: DevelopmentIssuer) -> None:
    web = Web(issuer.url)
    try:
        found = discover(web)
    finally:
        web.close()
    assert found.names_itself and found.device and found.revocation
    assert found.challenges == ("S256",)
    known = Provider("demo", issuer.url, "c", ("openid", "email", "offline_access"))
    assert scopes_for(known, found) == "openid email offline_access"


def test_the_key_is_public_and_of_this_run_alone(visitor: Visitor) -> None:
    (key,) = visitor.get("/jwks").json()["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
    assert "d" not in key
    other = DevelopmentIssuer(free_port())
    other.start()
    try:
        with Visitor(other) as there:
            (another,) = there.get("/jwks").json()["keys"]
    finally:
        other.stop()
    assert another["kid"] != key["kid"] and another["x"] != key["x"]


@pytest.mark.parametrize(
    ("person", "group"),
    [("dana", "dba"), ("robin", "contractors"), ("alex", "agents"), ("sam", "auditors")],
)
def test_an_id_token_says_who_it_is(visitor: Visitor, person: str, group: str) -> None:
    found = claims(visitor, visitor.tokens(person))
    assert (found["sub"], found["groups"]) == (person, [group])
    assert (found["email"], found["email_verified"]) == (f"{person}@example.com", True)
    assert found["name"] and found["sid"] and found["at_hash"]
    assert found["exp"] - found["iat"] == 300
    assert found["iat"] >= found["auth_time"] > time.time() - 300


def test_each_login_has_a_name_of_its_own(visitor: Visitor) -> None:
    names = {claims(visitor, visitor.tokens())["sid"] for _ in "ab"}
    assert len(names) == 2


def test_the_wrong_verifier_ends_the_code(visitor: Visitor) -> None:
    for wrong in (secrets.token_urlsafe(32), "", "short"):
        code, verifier = visitor.authorize()
        assert error(visitor.code_grant(code, wrong)) == "invalid_grant"
        assert error(visitor.code_grant(code, verifier)) == "invalid_grant"


def test_a_code_that_is_used_twice_ends_its_login(visitor: Visitor) -> None:
    code, verifier = visitor.authorize()
    given = visitor.code_grant(code, verifier).json()
    assert error(visitor.code_grant(code, verifier)) == "invalid_grant"
    assert error(visitor.refresh(given["refresh_token"])) == "invalid_grant"


def test_a_code_is_for_its_client_and_its_address(visitor: Visitor) -> None:
    code, verifier = visitor.authorize()
    assert error(visitor.code_grant(code, verifier, client_id="sallyport-web")) == "invalid_grant"
    elsewhere = CALLBACK.replace("50001", "50002")
    assert error(visitor.code_grant(code, verifier, redirect_uri=elsewhere)) == "invalid_grant"
    assert error(visitor.code_grant(code, verifier)) == "invalid_grant", "it was spent"


def test_a_refresh_token_rotates_and_the_login_stays_the_same(visitor: Visitor) -> None:
    first = visitor.tokens()
    before = claims(visitor, first)
    second = visitor.refresh(first["refresh_token"]).json()
    after = claims(visitor, second, subject="robin")
    assert second["refresh_token"] != first["refresh_token"]
    assert (after["sid"], after["auth_time"]) == (before["sid"], before["auth_time"])
    assert "nonce" not in after


def test_a_refresh_token_that_was_used_ends_the_login_for_both(visitor: Visitor) -> None:
    first = visitor.tokens()
    second = visitor.refresh(first["refresh_token"]).json()
    assert error(visitor.refresh(first["refresh_token"])) == "invalid_grant"
    assert error(visitor.refresh(second["refresh_token"])) == "invalid_grant"


def test_a_refresh_token_is_for_its_client_alone(visitor: Visitor, issuer: Any) -> None:
    given = visitor.tokens()
    with Visitor(issuer, "sallyport-web") as other:
        assert error(other.refresh(given["refresh_token"])) == "invalid_grant"
        assert other.post("/revoke", token=given["refresh_token"]).status_code == 200
    assert visitor.refresh(given["refresh_token"]).status_code == 200


def test_a_refresh_token_is_given_to_who_asks_for_one(visitor: Visitor) -> None:
    assert "refresh_token" not in visitor.tokens(scope="openid")


def test_what_is_revoked_is_over(visitor: Visitor) -> None:
    token = visitor.tokens()["refresh_token"]
    assert visitor.post("/revoke", token="nobody's").status_code == 200
    assert visitor.refresh(token).status_code == 200
    assert visitor.post("/revoke", token=token).status_code == 200, "an old one of it, too"
    assert error(visitor.refresh(token)) == "invalid_grant"


@pytest.mark.parametrize("path", ["/token", "/device/code", "/revoke"])
def test_what_programs_call_is_not_for_pages(visitor: Visitor, path: str) -> None:
    form = {"client_id": visitor.client, "token": "x", "scope": "openid"}
    where = f"{visitor.issuer.url}{path}"
    for header in ({"origin": visitor.origin}, {"origin": "null"}, {"sec-fetch-site": "none"}):
        answer = visitor.http.post(where, data=form, headers=header)
        assert (answer.status_code, error(answer)) == (403, "invalid_request")
        assert "access-control-allow-origin" not in answer.headers
    assert visitor.http.get(where).status_code == 405


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"client_id": "other"}, "invalid_client"),
        ({"client_secret": "x"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "a.b"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "\ud7ff."}, "invalid_grant"),
    ],
)
def test_what_is_wrong_is_told_in_oauths_words(
    visitor: Visitor, form: dict[str, str], word: str
) -> None:
    assert error(visitor.post("/token", **form)) == word


def test_odd_bodies_are_refused(visitor: Visitor) -> None:
    where = f"{visitor.issuer.url}/token"
    kind = {"content-type": "application/x-www-form-urlencoded"}
    twice = b"client_id=sallyport-cli&grant_type=refresh_token&grant_type=x"
    for content, headers, status in (
        (twice, kind, 400),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"a" * 40_000, kind, 413),
        (b"\xff", kind, 400),
        (b"", kind, 401),
    ):
        answer = visitor.http.post(where, content=content, headers=headers)
        assert (answer.status_code, "error" in answer.json()) == (status, True), content[:20]


def test_a_secret_is_refused_in_a_header_too(visitor: Visitor) -> None:
    answer = visitor.http.post(f"{visitor.issuer.url}/token", auth=("sallyport-cli", "x"))
    assert (answer.status_code, error(answer)) == (401, "invalid_client")


def test_where_its_port_is_taken_it_takes_another(issuer: DevelopmentIssuer) -> None:
    other = DevelopmentIssuer(issuer.port)
    try:
        assert other.port != issuer.port
        assert other.url == f"http://127.0.0.1:{other.port}/development-issuer"
    finally:
        other.stop()
