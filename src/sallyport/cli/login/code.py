"""The code flow for native programs (RFC 8252): a browser of this machine comes back to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sallyport.cli.errors import CommandError
from sallyport.cli.login.loopback import Loopback
from sallyport.identity.relying import code
from sallyport.identity.relying.provider import Endpoints, Provider, Tokens, Web, ask_tokens, named

PATIENCE: Final = 300.0
"""Seconds that the browser is waited for."""


def log_in(
    web: Web,
    endpoints: Endpoints,
    provider: Provider,
    show: Callable[[str], None],
    patience: float = PATIENCE,
) -> tuple[Tokens, str]:
    """Return what a login in a browser gives, and the nonce that was sent. Raises: CommandError,
    ProviderError.

    `show` is called with the address that the browser must open.
    """
    attempt = code.new_attempt()
    with Loopback().listening() as place:
        show(code.address(endpoints, provider, attempt, place.uri))
        answer = place.wait(patience)
    if answer is None:
        raise CommandError("the browser has not come back in time", hint="try again")
    form = {
        "grant_type": "authorization_code",
        "code": code.read_answer(answer, attempt.state, endpoints),
        "redirect_uri": place.uri,
        **named(provider.client_id, provider.public_secret),
        "code_verifier": attempt.verifier,
    }
    return ask_tokens(web, endpoints, form), attempt.nonce
