"""The tree of commands. Each group's file registers its own; what is heavy is imported late."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from sallyport.cli import (
    access,
    accounts,
    approvals,
    connect,
    credentials,
    findings,
    local,
    masks,
    policy,
    sessions,
    targets,
    tokens,
)
from sallyport.cli.errors import CommandError, NotThereYet
from sallyport.cli.invocation import AsJson, Invocation, Token, TokenFile, Url, command, current
from sallyport.cli.login import commands as login
from sallyport.cli.units import seconds

PAUSE = 0.2
"""Seconds between two looks of `status --wait`."""

app = typer.Typer(
    name="sallyport",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sallyport: a gateway that reads, decides, masks and records every command.",
    epilog="Environment: SALLYPORT_URL, SALLYPORT_TOKEN_FILE, SALLYPORT_TOKEN, NO_COLOR. "
    "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the API cannot be reached.",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"sallyport {version('sallyport')}")
        raise typer.Exit


@app.callback()
def root(
    url: Url = None,
    token: Token = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Take what stands before the command."""
    current.override(url, token, token_file, as_json)


@command(app, "whoami", examples=("sallyport whoami",))
def whoami(call: Invocation) -> None:
    """Show who the API takes you for: name, groups, roles, until when, and by which login."""
    found, login = call.client.get("/whoami"), call.find_login()
    if login is not None:
        found |= {
            "login": login.url,
            "provider": login.provider,
            "renewed": bool(login.refresh_token),
            "kept": login.kept,
        }
    call.output.record(found)


@command(
    app,
    "status",
    examples=("sallyport status", "sallyport status --wait 1m", "sallyport status --json"),
)
def status(
    call: Invocation,
    wait: Annotated[
        str,
        typer.Option(
            "--wait", metavar="DURATION", help="Until it is ready, so long at most: like 1m."
        ),
    ] = "",
) -> None:
    """Show the gateway at a glance. Exit code 1 when it is not ready."""
    found = _ready_within(call, seconds(wait) if wait else 0.0)
    call.output.record(found)
    if not found.get("ready"):
        raise typer.Exit(1)


def _ready_within(call: Invocation, patience: float) -> dict[str, Any]:
    """Return the status once the gateway is ready, or what there is after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        late = time.monotonic() >= deadline
        try:
            found = call.client.get("/status")
            if found.get("ready") or late:
                return found
        except NotThereYet as error:
            if late and patience:
                hint = "is `sallyport serve` running? What it says (or its log) tells why not"
                raise CommandError(error.message, hint=hint, code=error.code) from None
            if late:
                raise
        time.sleep(PAUSE)


local.register(app)
login.register(app)
connect.register(app)
for group in (
    tokens,
    accounts,
    credentials,
    targets,
    sessions,
    approvals,
    access,
    policy,
    masks,
):
    app.add_typer(group.app)
policy.register(app)
masks.register(app)
findings.register(app)
