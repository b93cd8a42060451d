"""`sallyport login` and `sallyport logout`."""

from __future__ import annotations

from typing import Annotated

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command

FLOWS = ("auto", "device", "code")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    command(
        app,
        "login",
        examples=(
            "sallyport login",
            "sallyport login corp --flow code",
            "sallyport login --url https://gateway.example.com:8642 --json",
        ),
    )(login)
    command(app, "logout", examples=("sallyport logout", "sallyport logout --all"))(logout)


def login(
    call: Invocation,
    provider: Annotated[
        str, typer.Argument(metavar="[PROVIDER]", help="One of the gateway's `issuers`.")
    ] = "",
    flow: Annotated[
        str,
        typer.Option("--flow", help="device, code or auto; absent: as the gateway says."),
    ] = "",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser where one is needed.")
    ] = True,
) -> None:
    """Log in as a person, in a browser; other commands then need no token.

    With `device` a code is shown, to be entered in any browser; with `code` the browser must be on
    this machine. What is had lasts for minutes, and is renewed while the provider allows it.
    """
    if flow and flow not in FLOWS:
        raise CommandError(f"`{flow}` is no flow: expected {', '.join(FLOWS)}", code=USAGE)
    from sallyport.cli.login.entering import log_in
    from sallyport.cli.login.kept import same_url
    from sallyport.cli.output import instant

    kept = log_in(same_url(call.address()), provider, flow, browser)
    renewed = bool(kept.refresh_token)
    said = {
        "url": kept.url,
        "name": kept.name,
        "provider": kept.provider,
        "issuer": kept.issuer,
        "expires": kept.expires,
        "renewed": renewed,
        "kept": kept.kept,
    }
    then = "renewed when it is over" if renewed else "then log in again"
    call.output.done(
        said,
        f"{kept.name} is logged in at {kept.url} by {kept.provider} "
        f"until {instant(kept.expires)}, {then}",
    )


def logout(
    call: Invocation,
    everywhere: Annotated[bool, typer.Option("--all", help="At every gateway.")] = False,
) -> None:
    """Log out: revoke the token here and at the provider, and forget both.

    They are forgotten whatever the gateway and the provider say; exit code 1 when one of them could
    not be told. Sessions that were opened with the token end within a second. `--all --json` prints
    one object a line.
    """
    from sallyport.cli.login.kept import Logins, same_url
    from sallyport.cli.login.leaving import leave

    logins = Logins()
    urls = [one.url for one in logins.all()] if everywhere else [same_url(call.address())]
    outcomes = [leave(logins, url) for url in urls]
    if not everywhere and outcomes == [None]:
        raise CommandError(f"nobody is logged in at {urls[0]}")
    done = [one for one in outcomes if one is not None]
    for one in done:
        if call.as_json:
            call.output.json(one, line=everywhere)
        else:
            call.output.line(f"{one['name']} is logged out at {one['url']}")
    if not done and not call.as_json:
        call.output.line("nobody is logged in anywhere")
    if any(one["problems"] for one in done):
        raise typer.Exit(1)
