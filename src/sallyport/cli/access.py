"""`sallyport access`: ask for access, answer those who ask, take it back."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from sallyport.cli.errors import CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.cli.units import seconds

app = typer.Typer(
    name="access", no_args_is_help=True, help="Ask for access that ends by itself; answer others."
)

PAUSE = 0.5
"""Seconds between two looks of `request --wait`."""

COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "SUBJECT": "subject",
    "TARGET": "target",
    "LOGIN": "login",
    "OPENED": "opened",
    "ENDS": "ends",
    "REASON": "reason",
}
FIELDS = {
    "request": "id",
    "state": "state",
    "outcome": "settled_reason",
    "by": "settled_by",
    "subject": "subject",
    "groups": "groups",
    "acting for it": "actors",
    "target": "target",
    "database": "database",
    "login": "login",
    "reason": "reason",
    "rule": "rule",
    "approvers": "approvers",
    "people": "people",
    "opened": "opened",
    "to be answered until": "expires",
    "begins": "begins",
    "ends": "ends",
}
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The request for access.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it goes on record.")]


@command(
    app,
    "request",
    examples=(
        "sallyport access request shop --for 1h --reason 'ticket 4711'",
        "sallyport access request shop/reports --login analyst --for 8h -m 'quarter end' --wait",
    ),
)
def request(
    call: Invocation,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="`target` or `target/database`.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; whoever answers reads it.")],
    login: Annotated[
        str | None, typer.Option("--login", help="The target's login; absent: its default.")
    ] = None,
    duration: Annotated[str, typer.Option("--for", help="How long, like 30m or 8h.")] = "1h",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer.")] = False,
) -> None:
    """Ask for access. Once people have said yes, connect as always; at its end sessions end."""
    from sallyport.cli.output import note

    asked = {"target": target, "login": login, "reason": reason, "for": seconds(duration)}
    found = call.client.post("/access", asked)
    if wait and found["state"] == "pending":
        note(f"{found['id']} waits for {', '.join(found['approvers'])} (Ctrl-C: stop waiting)")
        found = _settled(call, found["id"])
    if found["state"] in ("pending", "approved"):
        call.output.done(found, _sentence(found))
        return
    if call.as_json:
        call.output.json(found)
        raise typer.Exit(1)
    raise CommandError(_sentence(found))


def _settled(call: Invocation, identifier: str) -> dict[str, Any]:
    from sallyport.cli.client import path

    while True:
        found: dict[str, Any] = call.client.get(path("access", identifier))
        if found["state"] != "pending":
            return found
        time.sleep(PAUSE)


def _sentence(found: dict[str, Any]) -> str:
    from sallyport.cli.output import instant

    name, state = found["id"], found["state"]
    if state == "pending":
        given = sum(1 for vote in found["votes"] if vote["yes"])
        people = f"{given} of {found['people']} people have said yes"
        return f"{name} waits for {', '.join(found['approvers'])}: {people}"
    if state == "approved":
        return f"{name} is approved: {found['target']} as {found['login']} until " + instant(
            found["ends"]
        )
    why = f": {found['settled_reason']}" if found["settled_reason"] else ""
    return f"{name} is {state}{why}"


@command(app, "list", examples=("sallyport access list", "sallyport access list --state all"))
def list_(
    call: Invocation,
    state: Annotated[
        str,
        typer.Option(
            "--state",
            help="pending, approved, denied, expired, withdrawn, revoked, over, open "
            "(pending and approved) or all.",
        ),
    ] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
) -> None:
    """List what you asked for, and what you may answer, newest first."""
    wanted = {"open": ("pending", "approved"), "all": (None,)}.get(state, (state,))
    found: list[dict[str, Any]] = []
    for each in wanted:
        found += call.client.pages("/access", "access", limit, state=each)
    found.sort(key=lambda one: str(one["id"]), reverse=True)
    call.output.table(found[:limit], COLUMNS, "no requests for access")


@command(app, "show", examples=("sallyport access show acc-01h2x3y4",))
def show(call: Invocation, identifier: Identifier) -> None:
    """Show one request for access, with every answer to it."""
    from sallyport.cli.client import path

    found = call.client.get(path("access", identifier))
    call.output.record(found, FIELDS)
    for vote in () if call.as_json else found["votes"]:
        said = "approved" if vote["yes"] else "denied"
        call.output.line(f"{vote['name']} {said}: {vote['reason'] or '-'}")


@command(app, "approve", examples=('sallyport access approve acc-01h2x3y4 -m "on call"',))
def approve(call: Invocation, identifier: Identifier, reason: Reason = "") -> None:
    """Say yes. Access begins once enough people have."""
    _change(call, identifier, "approve", {"reason": reason})


@command(app, "deny", examples=('sallyport access deny acc-01h2x3y4 -m "use the replica"',))
def deny(call: Invocation, identifier: Identifier, reason: Reason = "") -> None:
    """Say no. One no is enough."""
    _change(call, identifier, "deny", {"reason": reason})


@command(app, "withdraw", examples=("sallyport access withdraw acc-01h2x3y4",))
def withdraw(call: Invocation, identifier: Identifier) -> None:
    """Ask no more for what you asked."""
    _change(call, identifier, "withdraw", {})


@command(app, "revoke", examples=('sallyport access revoke acc-01h2x3y4 -m "done"',))
def revoke(call: Invocation, identifier: Identifier, reason: Reason = "") -> None:
    """Take back what was given, or give it back. Its sessions end within a second."""
    _change(call, identifier, "revoke", {"reason": reason})


@command(
    app, "extend", examples=("sallyport access extend acc-01h2x3y4 --for 1h -m 'not done yet'",)
)
def extend(
    call: Invocation,
    identifier: Identifier,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; whoever answers reads it.")],
    duration: Annotated[str, typer.Option("--for", help="How long, like 30m or 8h.")] = "1h",
) -> None:
    """Ask for the same access again: more time takes another yes, and begins with it.

    Sessions that are open end when the first one does; those that are opened then stand on this.
    """
    from sallyport.cli.client import path

    before = call.client.get(path("access", identifier))
    asked = {
        "target": f"{before['target']}/{before['database']}",
        "login": before["login"],
        "reason": reason,
        "for": seconds(duration),
    }
    found = call.client.post("/access", asked)
    call.output.done(found, _sentence(found))


def _change(call: Invocation, identifier: str, verb: str, body: dict[str, str]) -> None:
    from sallyport.cli.client import path

    found = call.client.post(path("access", identifier, verb), body)
    call.output.done(found, _sentence(found))
