"""The code flow: RFC 6749, 4.1 with PKCE (RFC 7636).

`state` ties the browser's answer to this attempt, `code_verifier` the code to who began it, `nonce`
the ID token to this login; and where the provider says that its answers name it (`iss`, RFC 9207),
one that does not is refused, so that no answer of another provider is taken for its.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from sallyport.identity.relying.errors import MAXIMUM_ERROR, OAuthError, ProviderError
from sallyport.identity.relying.provider import Endpoints, Provider, scopes_for

MAXIMUM_FIELDS: Final = 32
MAXIMUM_CODE: Final = 4096


class Attempt(Struct, frozen=True):
    """The secrets of one login."""

    state: str
    nonce: str
    verifier: str

    def __repr__(self) -> str:
        return "Attempt(...)"


def new_attempt() -> Attempt:
    """Return fresh secrets, 256 bits each."""
    return Attempt(*(secrets.token_urlsafe(32) for _ in range(3)))


def address(endpoints: Endpoints, provider: Provider, attempt: Attempt, redirect: str) -> str:
    """Return what the browser opens. Raises: ProviderError where the provider has no S256."""
    if not endpoints.authorization:
        raise ProviderError(f"`{endpoints.issuer}` offers no login in a browser")
    if endpoints.challenges is not None and "S256" not in endpoints.challenges:
        raise ProviderError(f"`{endpoints.issuer}` has no PKCE with S256")
    scope = scopes_for(provider, endpoints)
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect,
        "scope": scope,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": challenge(attempt.verifier),
        "code_challenge_method": "S256",
    }
    if "offline_access" in provider.scopes:
        query["prompt"] = "consent"  # else no refresh token is given (OpenID Connect Core 11)
        if "offline_access" not in scope.split():
            query["access_type"] = "offline"  # as Google has it, which has no such scope
    joint = "&" if urlsplit(endpoints.authorization).query else "?"
    return f"{endpoints.authorization}{joint}{urlencode(query)}"


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return urlsafe_b64encode(digest).decode("ascii").rstrip("=")


def read_answer(query: str, state: str, endpoints: Endpoints) -> str:
    """Return the code in the browser's answer. FAILS CLOSED. Raises: ProviderError.

    `state` and `iss` are looked at first: an answer that is not this provider's says nothing.
    """
    try:
        pairs = parse_qsl(
            query,
            keep_blank_values=True,
            strict_parsing=bool(query),
            errors="strict",
            max_num_fields=MAXIMUM_FIELDS,
        )
    except ValueError:
        raise ProviderError("the browser's answer cannot be read") from None
    answer = dict(pairs)
    if len(answer) != len(pairs):
        raise ProviderError("the browser's answer has a parameter twice")
    given, issuer = answer.get("state", ""), answer.get("iss")
    if not hmac.compare_digest(given.encode(), state.encode()):
        raise ProviderError(
            "the browser's answer is not to this login (`state`)",
            hint="somebody else may have sent it: try again",
        )
    if issuer is None and endpoints.names_itself:
        raise ProviderError("the browser's answer does not name its issuer (`iss`)")
    if issuer is not None and issuer != endpoints.issuer:
        raise ProviderError("the browser's answer is another issuer's (`iss`)")
    if "error" in answer:
        description = answer.get("error_description", "")
        raise OAuthError(endpoints.issuer, answer["error"], description[:MAXIMUM_ERROR])
    code = answer.get("code", "")
    if not 0 < len(code) <= MAXIMUM_CODE or not code.isprintable():
        raise ProviderError("the browser's answer has no code")
    return code
