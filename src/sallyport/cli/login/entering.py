"""Logging in: which provider, in which flow, and what is kept of it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import webbrowser
from typing import Any

import msgspec

from sallyport.cli.client import Client
from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.login import code, device
from sallyport.cli.login.asking import asking
from sallyport.cli.login.kept import Login, Logins
from sallyport.cli.login.renewing import exchange, key_finder
from sallyport.cli.output import note
from sallyport.identity.relying.id_token import check_id_token
from sallyport.identity.relying.provider import Endpoints, Provider, Tokens, Web, discover


def log_in(url: str, wanted: str, flow: str, browser: bool) -> Login:
    """Log in at the gateway at `url` and keep it. `flow` empty: as the gateway says.

    Raises: CommandError; then nothing is kept.
    """
    chosen = _choose(Client(url, None).get_open("/oauth/providers"), wanted)
    with asking(chosen.issuer, chosen.ca) as web:
        endpoints = discover(web)
        tokens, nonce = _ask(web, endpoints, chosen, flow or chosen.flow, browser)
        claims = check_id_token(
            tokens.id_token,
            find_key=key_finder(web, endpoints),
            issuer=chosen.issuer,
            client_id=chosen.client_id,
            access_token=tokens.access_token,
            nonce=nonce,
            now=time.time(),
        )
    return _keep(url, chosen, tokens, nonce, str(claims["sub"]))


# --- inside


def _choose(answer: dict[str, Any], wanted: str) -> Provider:
    """Return the provider of this name, or the only one. Raises: CommandError."""
    try:
        known = msgspec.convert(answer.get("providers"), list[Provider])
    except msgspec.ValidationError:
        raise CommandError("the API's answer names no providers", hint="is --url right?") from None
    names = ", ".join(one.name for one in known)
    if not known:
        raise CommandError(
            "nobody can log in at this gateway", hint="the operator sets `login` at an issuer"
        )
    if not wanted and len(known) > 1:
        raise CommandError("which provider?", hint=f"name one: {names}", code=USAGE)
    found = [one for one in known if one.name == wanted or not wanted]
    if not found:
        raise CommandError(f"no provider is named `{wanted}`", hint=f"there is {names}", code=USAGE)
    return found[0]


def _ask(
    web: Web, endpoints: Endpoints, provider: Provider, flow: str, browser: bool
) -> tuple[Tokens, str | None]:
    """Return what the provider gives, and the nonce that was sent, if one was."""
    if flow != "code":
        try:
            shown = device.begin(web, endpoints, provider)
        except device.NotOffered:
            if flow == "device":
                raise
        else:
            note(f"Open {shown.uri} and enter the code {shown.user_code}")
            if shown.complete:
                note(f"or open {shown.complete} and compare the code")
            note("Waiting for you to log in there (Ctrl-C: give up) ...")
            return device.wait(web, endpoints, provider, shown), None
    return code.log_in(web, endpoints, provider, lambda url: _open(url, browser))


def _open(url: str, browser: bool) -> None:
    note("Open this in a browser on this machine (Ctrl-C: give up):")
    note(url)
    graphical = sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if browser and graphical:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(url)


def _keep(url: str, provider: Provider, tokens: Tokens, nonce: str | None, sub: str) -> Login:
    """Exchange the ID token at the gateway, and keep what comes of it."""
    logins, begun = Logins(), time.time()
    token, seconds = exchange(url, tokens.id_token)
    name = str(Client(url, token).get("/whoami")["name"])
    kept = Login(
        url=url,
        provider=provider.name,
        issuer=provider.issuer,
        client_id=provider.client_id,
        name=name,
        sub=sub,
        nonce=nonce,
        since=begun,
        expires=begun + seconds,
        token=token,
        refresh_token=tokens.refresh_token,
        ca=provider.ca,
        public_secret=provider.public_secret,
    )
    with logins.lock(url):
        return logins.keep(kept)
