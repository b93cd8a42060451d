"""ID tokens: the answer to this login, and everything that is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sallyport.cli.login.renewing import key_finder
from sallyport.identity.relying.id_token import at_hash, check_id_token
from sallyport.identity.relying.provider import ProviderError, Web, discover
from tests.support.hostile import CLIENT, Hostile


def check(hostile: Hostile, web: Web, token: str, **more: Any) -> dict[str, Any]:
    given = {"access_token": "access", "nonce": "n-1", "now": time.time(), **more}
    find = key_finder(web, discover(web))
    return check_id_token(token, find_key=find, issuer=hostile.url, client_id=CLIENT, **given)


def test_the_answer_to_this_login(hostile: Hostile, web: Web) -> None:
    assert check(hostile, web, hostile.id_token(nonce="n-1"))["sub"] == "ann"
    assert check(hostile, web, hostile.id_token(nonce="n-1", at_hash=...))["sub"] == "ann"
    both = hostile.id_token(nonce="n-1", aud=[CLIENT, "other"], azp=CLIENT)
    assert check(hostile, web, both)["sub"] == "ann"
    assert check(hostile, web, hostile.id_token(), nonce=None)["sub"] == "ann", "by device"


WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": "n-2"},
    "no nonce": {"nonce": ...},
    "a nonce that is a number": {"nonce": 1},
    "another access token's hash": {"at_hash": at_hash("other", "RS256")},
    "a hash in another size": {"at_hash": at_hash("access", "RS512")},
    "a hash that is no text": {"at_hash": 1},
    "another issuer": {"iss": "https://evil.example"},
    "another client": {"aud": "other"},
    "several clients": {"aud": [CLIENT, "other"]},
    "made for another client": {"aud": [CLIENT], "azp": "other"},
    "expired": {"exp": int(time.time()) - 3600},
    "without an end": {"exp": ...},
    "from the future": {"iat": int(time.time()) + 3600},
    "undated": {"iat": ...},
    "about nobody": {"sub": ...},
    "about a number": {"sub": 7},
    "a logout token": {"events": {}},
}


@pytest.mark.parametrize("claims", WRONG.values(), ids=WRONG)
def test_another_answer_is_refused(hostile: Hostile, web: Web, claims: dict[str, Any]) -> None:
    token = hostile.id_token(**{"nonce": "n-1", **claims})
    with pytest.raises(ProviderError, match="ID token") as why:
        check(hostile, web, token)
    assert token not in why.value.message


def test_a_nonce_that_nobody_sent_is_refused(hostile: Hostile, web: Web) -> None:
    with pytest.raises(ProviderError, match="nonce"):
        check(hostile, web, hostile.id_token(nonce="n-1"), nonce=None)


def test_a_token_that_another_has_signed_is_refused(hostile: Hostile, web: Web) -> None:
    hostile.forge()
    with pytest.raises(ProviderError, match="ID token"):
        check(hostile, web, hostile.id_token(nonce="n-1"))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_is_refused(hostile: Hostile, web: Web, token: str) -> None:
    with pytest.raises(ProviderError):
        check(hostile, web, token)


def test_one_that_is_had_anew_is_of_the_same_person(hostile: Hostile, web: Web) -> None:
    """OpenID Connect Core 12.2."""
    again = hostile.id_token()
    assert check(hostile, web, again, subject="ann"), "its nonce may be left out"
    with pytest.raises(ProviderError, match="somebody else"):
        check(hostile, web, again, subject="bob")
    with pytest.raises(ProviderError, match="nonce"):
        check(hostile, web, hostile.id_token(nonce="n-2"), subject="ann")
    with pytest.raises(ProviderError, match="nonce"):
        check(hostile, web, hostile.id_token(nonce="n-2"), subject="ann", nonce=None)


def test_at_hash_is_the_left_half_of_the_algorithms_hash() -> None:
    """The example of OpenID Connect Core, A.3."""
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert at_hash(token, "RS256") == "77QmUPtjPfzWtF2AnpK9RQ"
    assert len(at_hash(token, "ES384")) == 32 and len(at_hash(token, "Ed25519")) == 43
