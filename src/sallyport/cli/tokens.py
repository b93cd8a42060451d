"""`sallyport token`: make, rotate, list and revoke tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.cli.units import seconds
from sallyport.core.visible import counted

app = typer.Typer(name="token", no_args_is_help=True, help="Make, rotate, list and revoke tokens.")

COLUMNS = {
    "ID": "id",
    "NAME": "name",
    "SUBJECT": "subject",
    "GROUPS": "groups",
    "ROLES": "roles",
    "STATE": "state",
    "EXPIRES": "expires",
    "OWNER": "owner",
}
Many = list[str]


@command(
    app,
    "create",
    examples=(
        "sallyport token create --subject agent-report --group agents --lifetime 8h",
        "sallyport token create --subject alice --group dba --role approver > alice.token",
        "sallyport token create --subject alice --role admin --break-glass --lifetime 90d",
    ),
)
def create(
    call: Invocation,
    subject: Annotated[str, typer.Option("--subject", help="Whom it stands for.")],
    name: Annotated[str | None, typer.Option("--name", help="What it is for.")] = None,
    groups: Annotated[
        Many | None, typer.Option("--group", help="A group it carries (repeat for more).")
    ] = None,
    roles: Annotated[
        Many | None,
        typer.Option("--role", help="admin, auditor, operator, approver (repeat for more)."),
    ] = None,
    lifetime: Annotated[str, typer.Option("--lifetime", help="Like 15m, 8h, 30d.")] = "24h",
    targets: Annotated[
        Many | None, typer.Option("--target", help="Reaches this target only (repeat for more).")
    ] = None,
    sources: Annotated[
        Many | None, typer.Option("--source", help="Taken from this network only, in CIDR.")
    ] = None,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="For emergencies: each use is an alarm.")
    ] = False,
) -> None:
    """Make a token and print its secret, this once.

    On stdout stands the secret alone, so that it can go into a file; the rest goes to stderr.
    """
    from sallyport.cli.output import note

    made = call.client.post(
        "/tokens",
        {
            "name": name or subject,
            "subject": subject,
            "groups": groups or [],
            "roles": roles or [],
            "lifetime": seconds(lifetime),
            "targets": targets or None,
            "sources": sources or None,
            "break_glass": break_glass,
        },
    )
    if not call.as_json:
        for each in unknown_targets(call, targets or ()):
            note(f"there is no target `{each}` yet")
    _show(call, made)


def _show(call: Invocation, made: Mapping[str, Any]) -> None:
    """Print a new token's secret on stdout, and the rest on stderr."""
    from sallyport.cli.output import instant, note

    if call.as_json:
        call.output.json(made)
        return
    token = made["token"]
    note(f"token {token['id']} for {token['subject']}, until {instant(token['expires'])}")
    note("keep it: it is shown this once")
    call.output.line(made["secret"])


@command(
    app,
    "rotate",
    examples=(
        "sallyport token rotate 01h2x3y4",
        "sallyport token rotate 01h2x3y4 --grace 10m > agent.token",
    ),
)
def rotate(
    call: Invocation,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The token.")],
    lifetime: Annotated[
        str | None, typer.Option("--lifetime", help="Like 8h, 30d; absent: as the old one had.")
    ] = None,
    grace: Annotated[
        str | None, typer.Option("--grace", help="How long the old one still counts, like 10m.")
    ] = None,
) -> None:
    """Have a token anew: another secret, the same subject and rights. The old one is revoked.

    With `--grace` it still counts for a while, so that programs can be given the new one first.
    """
    body = {
        "id": identifier,
        "lifetime": None if lifetime is None else seconds(lifetime),
        "grace": 0 if grace is None else seconds(grace),
    }
    _show(call, call.client.post("/tokens/rotate", body))


def unknown_targets(call: Invocation, names: Sequence[str]) -> list[str]:
    """Return those that the configuration does not name: a target may come later than a token."""
    if not names:
        return []
    known = {each["name"] for each in call.client.get("/targets")["targets"]}
    return [name for name in names if name not in known]


@command(app, "list", examples=("sallyport token list --live",))
def list_(
    call: Invocation,
    subject: Annotated[str | None, typer.Option("--subject", help="Of this subject only.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Leave out what is revoked or expired.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
) -> None:
    """List tokens, newest first, without their secrets."""
    found = call.client.pages("/tokens", "tokens", limit, subject=subject, live=live)
    call.output.table(found, COLUMNS, "no tokens")


@command(
    app,
    "revoke",
    examples=(
        "sallyport token revoke 01h2x3y4",
        "sallyport token revoke --subject agent-report",
        "sallyport token revoke --all",
    ),
)
def revoke(
    call: Invocation,
    identifier: Annotated[str | None, typer.Argument(metavar="ID", help="One token.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="All of this subject.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All there are, yours too.")] = False,
) -> None:
    """Revoke tokens. Sessions that stand on them end within a second."""
    if sum((identifier is not None, subject is not None, everything)) != 1:
        raise CommandError("expected one of: an ID, --subject, --all", code=USAGE)
    body: dict[str, object] = {"all": True}
    if identifier is not None:
        body = {"id": identifier}
    elif subject is not None:
        body = {"subject": subject}
    answer = call.client.post("/tokens/revoke", body)
    count = answer["revoked"]
    if count == 0 and not call.as_json:
        raise CommandError(
            "no token was revoked: none that is live matches",
            hint="`sallyport token list --live` shows what there is",
        )
    call.output.done(answer, f"revoked {counted(count, 'token')}")
    if count == 0:
        raise typer.Exit(1)
