"""The code flow: what the browser opens, and every answer of it that is not to this login."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec import structs

from sallyport.identity.relying import code
from sallyport.identity.relying.errors import OAuthError, ProviderError
from sallyport.identity.relying.provider import Endpoints, Web, discover
from tests.support.hostile import Hostile

ISSUER = "https://login.example.com"
PLACE = Endpoints(ISSUER, f"{ISSUER}/token", f"{ISSUER}/jwks", f"{ISSUER}/auth")
NAMED = Endpoints(ISSUER, f"{ISSUER}/token", f"{ISSUER}/jwks", names_itself=True)
STATE = "s-1"
ME = f"iss={ISSUER}"


def test_rfc_7636_appendix_b() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert code.challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_each_attempt_has_secrets_of_its_own() -> None:
    one, two = code.new_attempt(), code.new_attempt()
    values = {one.state, one.nonce, one.verifier, two.state, two.nonce, two.verifier}
    assert len(values) == 6 and all(len(value) == 43 for value in values)
    assert one.verifier not in repr(one)


def test_what_the_browser_opens(hostile: Hostile) -> None:
    attempt = code.new_attempt()
    url = code.address(PLACE, hostile.provider, attempt, "http://127.0.0.1:7/callback")
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert query == {
        "response_type": "code",
        "client_id": "sallyport-cli",
        "redirect_uri": "http://127.0.0.1:7/callback",
        "scope": "openid offline_access",
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": code.challenge(attempt.verifier),
        "code_challenge_method": "S256",
        "prompt": "consent",
    }
    assert attempt.verifier not in url


def test_a_provider_without_that_scope_is_asked_in_googles_way(hostile: Hostile) -> None:
    place = Endpoints(**{**structs.asdict(PLACE), "scopes": ("openid", "email")})
    url = code.address(place, hostile.provider, code.new_attempt(), "http://127.0.0.1:7/callback")
    query = parse_qs(urlsplit(url).query)
    assert (query["scope"], query["access_type"], query["prompt"]) == (
        ["openid"],
        ["offline"],
        ["consent"],
    )
    never = structs.replace(hostile.provider, scopes=("openid",))
    url = code.address(place, never, code.new_attempt(), "http://127.0.0.1:7/callback")
    assert not {"access_type", "prompt"} & set(parse_qs(urlsplit(url).query))


def test_a_provider_without_s256_is_refused(hostile: Hostile, web: Web) -> None:
    hostile.document = {"code_challenge_methods_supported": ["plain"]}
    with pytest.raises(ProviderError, match="S256"):
        code.address(discover(web), hostile.provider, code.new_attempt(), "http://127.0.0.1:7/")
    hostile.document = {"authorization_endpoint": ...}
    with pytest.raises(ProviderError, match="no login in a browser"):
        code.address(discover(web), hostile.provider, code.new_attempt(), "http://127.0.0.1:7/")


def test_the_answer_to_this_login_holds_its_code() -> None:
    assert code.read_answer("code=abc&state=s-1", STATE, PLACE) == "abc"
    assert code.read_answer(f"code=abc&state=s-1&{ME}&session_state=x", STATE, NAMED) == "abc"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("code=abc", "state"),
        ("code=abc&state=", "state"),
        ("code=abc&state=other", "state"),
        ("code=abc&state=s-1&state=s-1", "twice"),
        ("code=abc&code=def&state=s-1", "twice"),
        ("code=abc&state=s-1&iss=https://evil.example", "another issuer"),
        ("code=abc&state=s-1&iss=https://login.example.com/", "another issuer"),
        ("code=&state=s-1", "no code"),
        ("code=abc&state=&state=s-1", "twice"),
        ("state=s-1", "no code"),
        ("code=a%0ab&state=s-1", "no code"),
        ("code=" + "x" * 5000 + "&state=s-1", "no code"),
        ("", "state"),
        ("%ff", "cannot be read"),
        ("code=%ff&state=s-1", "cannot be read"),
        ("&".join(f"a{n}=1" for n in range(100)), "cannot be read"),
        ("state=s%C3%A9", "state"),
        ("error=access_denied&state=other", "state"),
        ("error=access_denied&state=s-1&iss=https://evil.example", "another issuer"),
        ("error=access_denied&error_description=no&state=s-1", "access_denied: no"),
    ],
)
def test_another_answer_is_refused(query: str, said: str) -> None:
    with pytest.raises(ProviderError, match=said):
        code.read_answer(query, STATE, PLACE)


def test_a_provider_that_names_itself_must_always_do_so() -> None:
    """RFC 9207, 2.4: a mix-up leaves the name out."""
    for query in ("code=abc&state=s-1", "error=access_denied&state=s-1"):
        with pytest.raises(ProviderError, match="does not name its issuer") as why:
            code.read_answer(query, STATE, NAMED)
        assert not isinstance(why.value, OAuthError)
