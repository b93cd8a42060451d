"""Mechanisms of listeners: what a file may say, and what it is told where that does not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sallyport.config import Config, Vocabularies, Vocabulary, load_bytes
from sallyport.core.errors import ConfigError

NOTHING: frozenset[str] = frozenset()
WORDS = Vocabularies(
    {
        "postgres": Vocabulary(
            NOTHING,
            NOTHING,
            NOTHING,
            mechanisms=frozenset({"token", "scram", "oauth", "certificate"}),
        ),
        "line": Vocabulary(NOTHING, NOTHING, NOTHING),
    },
    NOTHING,
)
TLS = {"certificate": "file:./server.crt", "key": "file:./server.key"}
CLIENTS = {**TLS, "client_ca": "file:./clients.pem"}


def read(**listener: Any) -> Config:
    whole = {
        "version": 1,
        "state": "./state",
        "vault": {"key": "file:./master.key"},
        "listeners": [
            {"name": "main", "protocol": "postgres", "address": "127.0.0.1:6432", **listener}
        ],
        "issuers": [
            {"name": "corp", "issuer": "https://login.example.com", "audience": ["sallyport"]}
        ],
    }
    text = json.dumps(whole).encode()
    return load_bytes(text, file="sallyport.yaml", folder=Path("/etc"), vocabularies=WORDS)


@pytest.mark.parametrize(
    "listener",
    [
        {},
        {"authentication": "token"},
        {"authentication": "scram"},
        {"authentication": "scram", "tls": TLS, "address": "0.0.0.0:6432"},
        {"authentication": "oauth", "oauth": {"issuer": "corp"}},
        {"authentication": "oauth", "oauth": {"issuer": "corp", "scope": "openid groups"}},
        {"authentication": "certificate", "tls": CLIENTS},
        {"authentication": "certificate", "tls": {**CLIENTS, "client_groups": True}},
    ],
)
def test_what_fits_is_taken(listener: dict[str, Any]) -> None:
    (read_,) = read(**listener).listeners
    assert read_.authentication == listener.get("authentication", "token")
    assert read_.oauth is None or read_.oauth.scope.startswith("openid")
    assert read_.tls is None or read_.tls.client_groups is ("client_groups" in listener["tls"])


@pytest.mark.parametrize(
    ("listener", "told"),
    [
        ({"authentication": "md5"}, "expected one of `token`, `scram`, `oauth`, `certificate`"),
        ({"protocol": "line", "authentication": "scram"}, "`line` does not speak `scram`"),
        ({"authentication": "oauth"}, "`oauth` needs `oauth: {issuer: NAME}`"),
        (
            {"authentication": "oauth", "oauth": {"issuer": "none"}},
            "no issuer is named `none`: expected one of `issuers` (`corp`)",
        ),
        (
            {"authentication": "oauth", "oauth": {"issuer": "corp", "scope": 'a"b'}},
            "such as `openid`",
        ),
        ({"authentication": "oauth", "oauth": {"issuer": "corp", "scope": ""}}, "such as `openid`"),
        ({"authentication": "scram", "oauth": {"issuer": "corp"}}, "only for"),
        ({"authentication": "certificate"}, "`certificate` needs `tls` with `client_ca`"),
        ({"authentication": "certificate", "tls": TLS}, "who signs client certificates"),
        (
            {"authentication": "certificate", "tls": {**CLIENTS, "required": False}},
            "`certificate` needs TLS",
        ),
        ({"authentication": "scram", "tls": CLIENTS}, "this listener takes `scram`"),
        ({"tls": {**TLS, "client_groups": True}}, "only for `authentication: certificate`"),
        (
            {"authentication": "certificate", "tls": {**CLIENTS, "client_ca": "vault:ca"}},
            "expected `env:NAME` or `file:PATH`",
        ),
    ],
)
def test_what_does_not_fit_is_told(listener: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**listener)
    assert told in str(caught.value)
