"""A provider as those who log in there ask it: discovery, keys and tokens.

OpenID Connect Discovery 1.0, RFC 6749. Nothing that it says is believed beyond its form: answers
are bounded in bytes and time, redirects are not followed, and every address that it names is https,
or on this machine.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlsplit

import httpx2
from msgspec import Struct

from sallyport.core.errors import SallyportError
from sallyport.identity.authorities import taken_authorities
from sallyport.identity.compact import strict_object
from sallyport.identity.jwks import PublicKey, choose_key, demand_private, parse_keys
from sallyport.identity.relying.deadline import Deadlines
from sallyport.identity.relying.errors import MAXIMUM_ERROR, OAuthError, ProviderError

MAXIMUM_BODY: Final = 256 * 1024
DEADLINE: Final = 15.0
"""Seconds within which a provider must have answered whole."""

MAXIMUM_TEXT: Final = 4096
"""Characters of an address or a code."""

MAXIMUM_SECRET: Final = 64 * 1024
"""Characters of a token."""

_NO: Final = frozenset({400, 401, 403, 428})
"""Statuses of a no in OAuth's form; 428 is Google's for a device code that still waits."""


class Provider(Struct, frozen=True):
    """An issuer where people log in, as the gateway names it. `public_secret`: what some demand of
    public clients, too."""

    name: str
    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    flow: str = "auto"
    ca: str = ""
    public_secret: str = ""


class Endpoints(Struct, frozen=True):
    """What discovery says. Empty: not there."""

    issuer: str
    token: str
    keys: str
    authorization: str = ""
    device: str = ""
    revocation: str = ""
    end_session: str = ""
    scopes: tuple[str, ...] | None = None
    names_itself: bool = False
    """Whether each answer of its authorization endpoint says `iss` (RFC 9207)."""
    challenges: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    """How clients may prove themselves at its token endpoint."""


class Tokens(Struct, frozen=True):
    """What a provider gave out. `refresh_token` empty: none."""

    id_token: str
    access_token: str
    refresh_token: str = ""

    def __repr__(self) -> str:
        return "Tokens(...)"


class Web:
    """One client of one provider. `clock` is monotonic.

    `ca`: the PEM of who alone vouches for its https, as the gateway tells; empty: the system's.
    INVARIANT: no other client believes it.
    """

    def __init__(
        self, issuer: str, clock: Callable[[], float] = time.monotonic, ca: str = ""
    ) -> None:
        _demand_private(issuer, issuer)
        try:
            authorities = taken_authorities(ca)
        except ValueError as error:
            raise ProviderError(f"who vouches for `{issuer}` is not taken: {error}") from None
        self.issuer = issuer
        self._clock = clock
        self._deadlines = Deadlines()
        self._http = httpx2.Client(
            timeout=httpx2.Timeout(DEADLINE, connect=5.0),
            follow_redirects=False,
            trust_env=urlsplit(issuer).scheme == "https",
            verify=True if authorities is None else authorities,
        )

    def get(self, url: str) -> bytes:
        """Return what is at `url`. Raises: ProviderError."""
        status, body = self._ask("GET", url, None)
        if status != 200:
            raise ProviderError(f"`{url}` answers with status {status}")
        return body

    def post(self, url: str, form: Mapping[str, str], basic: str = "") -> dict[str, Any]:
        """Return the object that a form is answered with; `basic`: credentials (RFC 7617).

        Raises: OAuthError, ProviderError.
        """
        status, body = self._ask("POST", url, form, basic)
        try:
            answer = strict_object(body)
        except (SallyportError, ValueError, RecursionError):
            answer = None
        if answer is not None and status in _NO and "error" in answer:
            raise OAuthError(
                self.issuer, _word(answer, "error"), _word(answer, "error_description")
            )
        if status != 200 or answer is None:
            raise ProviderError(f"`{url}` answers with status {status}, and no object of OAuth's")
        return answer

    def send(self, url: str, form: Mapping[str, str], basic: str = "") -> None:
        """Send a form whose answer is its status alone. Raises: ProviderError."""
        status, _ = self._ask("POST", url, form, basic)
        if status != 200:
            raise ProviderError(f"`{url}` answers with status {status}")

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _ask(
        self, method: str, url: str, form: Mapping[str, str] | None, basic: str = ""
    ) -> tuple[int, bytes]:
        _demand_private(self.issuer, url)
        wanted = {"accept": "application/json", "accept-encoding": "identity"}
        wanted |= {"authorization": f"Basic {basic}"} if basic else {}
        with self._deadlines.within(DEADLINE) as over:
            try:
                answered = self._answer(method, url, form, wanted)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
                if over.is_set():
                    raise ProviderError(f"`{url}` is too slow", unreachable=True) from None
                reason = str(error).lower() or type(error).__name__
                raise ProviderError(f"cannot reach `{url}`: {reason}", unreachable=True) from None
        if over.is_set():  # an answer without a length ends where it is cut off
            raise ProviderError(f"`{url}` is too slow", unreachable=True)
        return answered

    def _answer(
        self, method: str, url: str, form: Mapping[str, str] | None, wanted: dict[str, str]
    ) -> tuple[int, bytes]:
        until = self._clock() + DEADLINE
        body, traced = bytearray(), {"trace": self._deadlines.trace}
        with self._http.stream(
            method, url, data=form, headers=wanted, extensions=traced
        ) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ProviderError(f"`{url}` answers in an encoding that was not asked for")
            for chunk in response.iter_raw(16 * 1024):
                body += chunk
                if len(body) > MAXIMUM_BODY:
                    raise ProviderError(f"`{url}` answers more than {MAXIMUM_BODY} bytes")
                if self._clock() > until:
                    raise ProviderError(f"`{url}` is too slow", unreachable=True)
            return response.status_code, bytes(body)


def discover(web: Web) -> Endpoints:
    """Return what the provider says of itself. Raises: ProviderError."""
    url = f"{web.issuer.rstrip('/')}/.well-known/openid-configuration"
    body = web.get(url)
    try:
        document = strict_object(body)
    except (SallyportError, ValueError, RecursionError):
        raise ProviderError(f"`{url}` is no discovery document") from None
    if document.get("issuer") != web.issuer:
        raise ProviderError(f"`{url}` is of another issuer than `{web.issuer}`")
    endpoints = Endpoints(
        issuer=web.issuer,
        token=text(document, "token_endpoint"),
        keys=text(document, "jwks_uri"),
        authorization=text(document, "authorization_endpoint", required=False),
        device=text(document, "device_authorization_endpoint", required=False),
        revocation=text(document, "revocation_endpoint", required=False),
        end_session=text(document, "end_session_endpoint", required=False),
        scopes=_words(document, "scopes_supported"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        challenges=_words(document, "code_challenge_methods_supported"),
        methods=_words(document, "token_endpoint_auth_methods_supported"),
    )
    named = (endpoints.token, endpoints.keys, endpoints.authorization)
    for address in (*named, endpoints.device, endpoints.revocation, endpoints.end_session):
        if address:
            _demand_private(web.issuer, address)
    return endpoints


def scopes_for(provider: Provider, endpoints: Endpoints) -> str:
    """Return what to ask for: `offline_access` only where it is known, or nothing is said."""
    known = endpoints.scopes
    wanted = [
        scope
        for scope in provider.scopes
        if scope != "offline_access" or known is None or scope in known
    ]
    return " ".join(wanted)


def named(client_id: str, public_secret: str) -> dict[str, str]:
    """Return by what a public client says who it is."""
    return {"client_id": client_id} | ({"client_secret": public_secret} if public_secret else {})


def proven(
    endpoints: Endpoints, form: Mapping[str, str], secret: str
) -> tuple[Mapping[str, str], str]:
    """Return a form, and credentials beside it, by which its `client_id` proves itself.

    RFC 6749, 2.3.1. `secret` empty: a public client, which proves nothing.
    """
    if not secret:
        return form, ""
    known = endpoints.methods or ("client_secret_basic",)
    if "client_secret_basic" not in known and "client_secret_post" in known:
        return {**form, "client_secret": secret}, ""
    pair = f"{quote_plus(form['client_id'])}:{quote_plus(secret)}"
    return form, b64encode(pair.encode("ascii")).decode("ascii")


def ask_tokens(web: Web, endpoints: Endpoints, form: Mapping[str, str], secret: str = "") -> Tokens:
    """Return what the token endpoint gives for `form`. Raises: OAuthError, ProviderError."""
    answer = web.post(endpoints.token, *proven(endpoints, form, secret))
    if str(answer.get("token_type", "")).lower() != "bearer":
        raise ProviderError("the provider gives tokens of a kind that is not understood")
    return Tokens(
        id_token=text(answer, "id_token", MAXIMUM_SECRET),
        access_token=text(answer, "access_token", MAXIMUM_SECRET),
        refresh_token=text(answer, "refresh_token", MAXIMUM_SECRET, required=False),
    )


def find_key(web: Web, endpoints: Endpoints, kid: str | None, algorithm: str) -> PublicKey:
    """Return the one key of the provider's that is meant. Raises: ProviderError."""
    try:
        key = choose_key(parse_keys(web.get(endpoints.keys)), kid, algorithm)
    except ValueError:
        raise ProviderError(f"`{endpoints.keys}` is no set of keys") from None
    if key is None:
        raise ProviderError("the provider has no key that fits its ID token")
    return key


def text(
    answer: Mapping[str, Any], name: str, most: int = MAXIMUM_TEXT, *, required: bool = True
) -> str:
    """Return a member that is printable ASCII, "" where it may be absent. Raises: ProviderError."""
    value = answer.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise ProviderError(f"the provider's answer has no `{name}`, or an odd one")
    if not value.isascii() or not value.isprintable():
        raise ProviderError(f"the provider's answer has an odd `{name}`")
    return value


def _word(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    return value[:MAXIMUM_ERROR] if isinstance(value, str) else ""


def _words(document: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = document.get(name)
    if not isinstance(value, list):
        return None
    return tuple(word for word in value if isinstance(word, str))


def _demand_private(issuer: str, url: str) -> None:
    """An address on this machine is only an issuer's that is here itself."""
    try:
        demand_private(url)
        plain = urlsplit(url).scheme != "https" and urlsplit(issuer).scheme == "https"
    except ValueError as error:
        raise ProviderError(f"the provider's address is not taken: {error}") from None
    if plain:
        raise ProviderError(f"the provider's address `{url}` must be https")
