"""The device flow (RFC 8628): a code is shown here and typed in any browser, anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from sallyport.cli.errors import CommandError
from sallyport.identity.jwks import demand_private
from sallyport.identity.relying.errors import OAuthError, ProviderError
from sallyport.identity.relying.provider import (
    Endpoints,
    Provider,
    Tokens,
    Web,
    ask_tokens,
    named,
    scopes_for,
    text,
)

GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
INTERVAL: Final = 5.0
"""Seconds between two polls where the provider does not say, and what `slow_down` adds."""

LONGEST_INTERVAL: Final = 60.0
LONGEST: Final = 1800.0
"""Seconds that a code is waited for, whatever the provider says."""

MAXIMUM_CODE: Final = 64

_NOT_OFFERED: Final = frozenset(
    {"unauthorized_client", "unsupported_grant_type", "invalid_request", "invalid_client"}
)
_ENDED: Final = {
    "expired_token": "the code has expired before it was entered",
    "access_denied": "the login was refused in the browser",
}


class NotOffered(CommandError):
    """The provider has no device flow for this client."""


class Code(Struct, frozen=True):
    """What is shown, and how it is asked after. Seconds."""

    device_code: str
    user_code: str
    uri: str
    complete: str
    expires_in: float
    interval: float

    def __repr__(self) -> str:
        return f"Code({self.user_code})"


def begin(web: Web, endpoints: Endpoints, provider: Provider) -> Code:
    """Return a new code. Raises: NotOffered, ProviderError."""
    if not endpoints.device:
        raise NotOffered(f"`{provider.issuer}` offers no device flow")
    form = named(provider.client_id, provider.public_secret)
    form["scope"] = scopes_for(provider, endpoints)
    try:
        answer = web.post(endpoints.device, form)
    except OAuthError as error:
        if error.error in _NOT_OFFERED:
            raise NotOffered(error.message) from None
        raise
    return read_code(answer)


def read_code(answer: dict[str, Any]) -> Code:
    """Return what a device authorization response says (RFC 8628, 3.2). Raises: ProviderError.

    `verification_url` is what the drafts had, and Google has.
    """
    name = "verification_uri" if "verification_uri" in answer else "verification_url"
    complete = text(answer, "verification_uri_complete", required=False)
    code = Code(
        device_code=text(answer, "device_code"),
        user_code=text(answer, "user_code", MAXIMUM_CODE),
        uri=text(answer, name),
        complete=complete,
        expires_in=min(_seconds(answer, "expires_in", None), LONGEST),
        interval=min(_seconds(answer, "interval", INTERVAL), LONGEST_INTERVAL),
    )
    for address in (code.uri, complete):
        try:
            if address:
                demand_private(address)
        except ValueError:
            raise ProviderError("the provider names a page that is not https") from None
    return code


def wait(
    web: Web,
    endpoints: Endpoints,
    provider: Provider,
    code: Code,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Tokens:
    """Ask until somebody has entered the code (RFC 8628, 3.4 and 3.5). Raises: CommandError."""
    form = {
        "grant_type": GRANT,
        "device_code": code.device_code,
        **named(provider.client_id, provider.public_secret),
    }
    until, interval = clock() + code.expires_in, code.interval
    while clock() + interval < until:
        sleep(interval)
        try:
            return ask_tokens(web, endpoints, form)
        except OAuthError as error:
            if error.error == "slow_down":
                interval = min(interval + INTERVAL, LONGEST_INTERVAL)
            elif error.error != "authorization_pending":
                raise CommandError(_ENDED.get(error.error, error.message)) from None
        except ProviderError as error:
            if not error.unreachable:
                raise
            interval = min(interval * 2, LONGEST_INTERVAL)
    raise CommandError(_ENDED["expired_token"], hint="run `sallyport login` again")


def _seconds(answer: dict[str, Any], name: str, default: float | None) -> float:
    value = answer.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ProviderError(f"the provider's answer has no `{name}`, or an odd one")
    return float(value)
