"""A program with a key of its own, as the token endpoint meets it."""

from __future__ import annotations

import itertools
import json
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
JWT = "urn:ietf:params:oauth:token-type:jwt"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_NUMBERS = itertools.count(1)

ClientKey = RSAKey | ECKey | OKPKey
ALGORITHMS = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}


def new_key(kind: str = "OKP") -> ClientKey:
    """Return a fresh key pair."""
    if kind == "RSA":
        return RSAKey.generate_key(2048, private=True)
    if kind == "EC":
        return ECKey.generate_key("P-256", private=True)
    return OKPKey.generate_key("Ed25519", private=True)


def public_pem(key: ClientKey) -> str:
    """Return what the gateway is given of it."""
    return key.as_pem(private=False).decode()


def assertion(
    key: ClientKey, name: str, endpoint: str, now: float, header: Any = None, **claims: Any
) -> str:
    """Return a client assertion; ... as the value of a claim leaves it out."""
    payload = {
        "iss": name,
        "sub": name,
        "aud": endpoint,
        "exp": int(now) + 60,
        "iat": int(now),
        "jti": f"j-{next(_NUMBERS)}-{now}",
        **claims,
    }
    body = {claim: value for claim, value in payload.items() if value is not ...}
    alg = ALGORITHMS[key.key_type]
    head = {"alg": alg, "typ": "JWT", **(header or {})}
    return jws.serialize_compact(head, json.dumps(body).encode(), key, [head["alg"]])


def client_form(shown: str, **more: str) -> dict[str, list[str]]:
    """Return the form of a service account that shows an assertion."""
    fields = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": shown,
        **more,
    }
    return {name: [value] for name, value in fields.items()}


def exchange_form(shown: str, *targets: str, **more: str) -> dict[str, list[str]]:
    """Return the form of a token exchange."""
    fields = {
        "grant_type": EXCHANGE,
        "subject_token": shown,
        "subject_token_type": JWT,
        **more,
    }
    form = {name: [value] for name, value in fields.items()}
    return {**form, "audience": list(targets)} if targets else form
