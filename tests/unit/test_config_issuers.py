"""What is wrong with issuers, and what is allowed and hardly meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sallyport.config import Config, Vocabularies
from sallyport.config.issuer_checks import hints
from sallyport.config.loader import load_bytes
from sallyport.core.errors import ConfigError

GITHUB = {"preset": "github-actions", "subjects": ["repo:acme/*:ref:refs/heads/main"]}
OKTA = {"preset": "okta", "issuer": "https://acme.okta.example/oauth2/default"}
TENANT = "https://login.example/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0"


def load(*issuers: dict[str, Any], **more: Any) -> Config:
    listed = [
        {"name": f"i{number}", "audience": ["sallyport"], **one}
        for number, one in enumerate(issuers)
    ]
    whole = {
        "version": 1,
        "state": "state",
        "vault": {"key": "file:key", "generate": True},
        "issuers": listed,
        **more,
    }
    return load_bytes(
        json.dumps(whole).encode(),
        file="f",
        folder=Path("/tmp"),
        vocabularies=Vocabularies({}, frozenset()),
    )


def test_a_preset_fills_in_what_is_left_out_and_nothing_else() -> None:
    github, okta, plain = load(
        GITHUB, {**OKTA, "algorithms": ["ES256"], "groups_claim": "teams"}, {"issuer": "https://x"}
    ).issuers
    assert github.issuer == "https://token.actions.githubusercontent.com"
    assert (github.algorithms, github.groups_claim) == (("RS256",), "")
    assert (okta.algorithms, okta.groups_claim) == (("ES256",), "teams")
    assert (plain.algorithms, plain.groups_claim) == (("RS256", "ES256"), "groups")
    assert plain.keys_kept == 3600.0


def when(**claims: Any) -> dict[str, Any]:
    return {**OKTA, "groups": [{"when": claims, "groups": ["x"]}]}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"preset": "okta"}, "expected the `iss` of its tokens"),
    "no issuer and no preset": ({}, "expected the `iss` of its tokens"),
    "an unknown preset": ({"preset": "oktaa", "issuer": "https://x"}, "okta"),
    "the whole world": ({"preset": "github-actions"}, "everybody in the world"),
    "the whole world of GitLab": ({"preset": "gitlab-ci"}, "everybody in the world"),
    "no subjects at all": ({**GITHUB, "subjects": []}, "at least one entry"),
    "every tenant": (
        {"preset": "entra", "issuer": "https://login.example/common/v2.0"},
        "one tenant",
    ),
    "every organisation": (
        {"preset": "entra", "issuer": "https://login.example/Organizations/v2.0"},
        "one tenant",
    ),
    "plain http": ({"issuer": "http://login.example"}, "https"),
    "a shared secret": ({"issuer": "https://x", "algorithms": ["HS256"]}, "HS256"),
    "a bad glob": ({**OKTA, "subjects": ["{a"]}, "`{` without `}`"),
    "a bad glob over a claim": (when(groups="{a"), "`{` without `}`"),
    "a rule without a condition": (
        {**OKTA, "groups": [{"when": {}, "groups": ["x"]}]},
        "for everybody",
    ),
    "a claim without values": (when(groups=[]), "for everybody"),
    "a claim of the token itself": (when(aud="sallyport"), "expected a claim about the subject"),
    "a claim without a name": (when(**{"": "x"}), "expected a claim about the subject"),
    "a rule that gives nothing": (
        {**OKTA, "groups": [{"when": {"groups": "x"}}]},
        "gives nothing",
    ),
    "a role that is none": (
        {**OKTA, "groups": [{"when": {"groups": "x"}, "roles": ["root"]}]},
        "admin",
    ),
    "a group that shows nothing": (
        {**OKTA, "groups": [{"when": {"groups": "x"}, "groups": ["a\u200bb"]}]},
        "printable",
    ),
    "groups of a provider that has none": ({**GITHUB, "take_groups": True}, "groups_claim"),
    "a prefix that does not show": ({**OKTA, "group_prefix": " x"}, "printable"),
}


@pytest.mark.parametrize(("issuer", "message"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_told(issuer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        load(issuer)
    assert message in str(told.value)


def test_two_issuers_of_one_address_are_told() -> None:
    with pytest.raises(ConfigError, match="expected an issuer of its own"):
        load(OKTA, OKTA)


HINTS: dict[str, tuple[dict[str, Any], str]] = {
    "groups of Google": (
        {"preset": "google", "groups": [{"when": {"groups": "x"}, "groups": ["y"]}]},
        "no groups",
    ),
    "groups taken from Google": ({"preset": "google", "groups_claim": "groups"}, "no groups"),
    "anybody at Google": ({"preset": "google"}, "any Google account"),
    "an address of Entra": (
        {"preset": "entra", "issuer": TENANT, "subject_claim": "email"},
        "`oid` stays",
    ),
    "every service account": (
        {"preset": "kubernetes", "issuer": "https://cluster.example"},
        "every service account",
    ),
    "owners alike": ({**GITHUB, "subjects": ["repo:acme*/x:**"]}, "others than one owner's"),
    "any owner": ({**GITHUB, "subjects": ["**"]}, "others than one owner's"),
    "any owner of GitLab": (
        {"preset": "gitlab-ci", "subjects": ["project_path:**:ref:main"]},
        "others than one owner's",
    ),
    "a time to live beyond the longest": (
        {**OKTA, "session_ttl": "13h"},
        "`sessions.max_session`",
    ),
    "a prefix of nothing": (
        {
            **OKTA,
            "group_prefix": "okta-",
            "groups": [{"when": {"groups": "x"}, "groups": ["y"]}],
        },
        "does nothing",
    ),
}


@pytest.mark.parametrize(("issuer", "hint"), HINTS.values(), ids=HINTS)
def test_what_is_hardly_meant_is_a_hint(issuer: dict[str, Any], hint: str) -> None:
    found = hints(load(issuer))
    assert any(hint in one and one.startswith("issuer `i0`: ") for one in found), found


def test_what_is_meant_gives_no_hint() -> None:
    google = {
        "preset": "google",
        "groups": [{"when": {"hd": "acme.example"}, "groups": ["staff"]}],
    }
    entra = {"preset": "entra", "issuer": TENANT}
    assert hints(load(GITHUB, OKTA, google, entra)) == []


# --- where people log in


def test_a_login_has_defaults_that_most_providers_take() -> None:
    login = load({**OKTA, "login": {"client_id": "sallyport"}}).issuers[0].login
    assert login is not None
    assert login.scopes == ("openid", "profile", "email", "offline_access")
    assert login.flow == "auto"
    assert load(OKTA).issuers[0].login is None


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ({}, "`client_id` is missing"),
        ({"client_id": ""}, "expected printable ASCII"),
        ({"client_id": "a b"}, "expected printable ASCII"),
        ({"client_id": "c", "scopes": ["email"]}, "expected `openid` among them"),
        ({"client_id": "c", "scopes": ["openid", "a b"]}, "expected one scope, not `a b`"),
        ({"client_id": "c", "scopes": ["openid", 'a"']}, "expected one scope"),
        ({"client_id": "c", "flow": "implicit"}, "expected one of"),
        ({"client_id": "c", "client_secret": "env:S"}, "register a public (native) client"),
    ],
)
def test_a_login_that_cannot_be_is_refused(login: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as why:
        load({**OKTA, "login": login})
    assert said in str(why.value)


def test_a_secret_of_a_client_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as why:
        load({**OKTA, "login": {"client_id": "c", "client_secret": "hunter2"}})
    assert "hunter2" not in str(why.value)


WEB = {"web": {"client_id": "sallyport-web"}}
ORIGINS: dict[str, tuple[dict[str, Any], str]] = {
    "a path": ({"url": "https://gateway.example.com/x"}, "expected `https://HOST`"),
    "a query": ({"url": "https://gateway.example.com?x"}, "expected `https://HOST`"),
    "plain, elsewhere": ({"url": "http://gateway.example.com"}, "expected `https://HOST`"),
    "somebody in it": ({"url": "https://a@gateway.example.com"}, "expected `https://HOST`"),
    "capitals": ({"url": "https://Gateway.example.com"}, "expected `https://HOST`"),
    "an odd port": ({"url": "https://gateway.example.com:x"}, "expected `https://HOST`"),
    "no scheme": ({"url": "gateway.example.com"}, "expected `https://HOST`"),
    "every address": (
        {"address": "0.0.0.0:8642", "tls": {"certificate": "file:c", "key": "file:k"}},
        "expected a `url` that browsers call it by",
    ),
    "a socket": ({"address": "/run/x.sock"}, "expected a `url` that browsers call it by"),
}


@pytest.mark.parametrize(("api", "said"), ORIGINS.values(), ids=ORIGINS)
def test_where_browsers_come_back_to_must_be_known(api: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as why:
        load({**OKTA, **WEB}, api=api)
    assert said in str(why.value)


def test_browsers_call_the_api_by_its_address_or_its_url() -> None:
    assert load({**OKTA, **WEB}).api.origin == "http://127.0.0.1:8642"
    named = load({**OKTA, **WEB}, api={"url": "https://gateway.example.com:8443/"})
    assert named.api.origin == "https://gateway.example.com:8443"
    tls = {"certificate": "file:c", "key": "file:k"}
    assert load(api={"address": "[::1]:9", "tls": tls}).api.origin == "https://[::1]:9"


@pytest.mark.parametrize("scopes", [["profile"], ["openid", "a b"], ["openid", "\u00e9"]])
def test_what_a_browsers_login_asks_for(scopes: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"expected one scope|expected `openid`"):
        load({**OKTA, "web": {"client_id": "x", "scopes": scopes}})
