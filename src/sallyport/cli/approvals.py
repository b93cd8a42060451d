"""`sallyport approvals`: see what waits, read it whole, answer it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sallyport.cli.invocation import Invocation, command

app = typer.Typer(name="approvals", no_args_is_help=True, help="See and answer what waits.")

COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "SUBJECT": "subject",
    "TARGET": "target",
    "VERB": "verb",
    "OPENED": "opened",
    "EXPIRES": "expires",
    "STATEMENT": "text",
}
FIELDS = {
    "approval": "id",
    "state": "state",
    "outcome": "settled_reason",
    "ticket": "ticket",
    "subject": "subject",
    "groups": "groups",
    "acting for it": "actors",
    "application": "application",
    "task": "task",
    "purpose": "purpose",
    "source": "source",
    "session": "session",
    "target": "target",
    "database": "database",
    "login": "login",
    "verb": "verb",
    "effect": "effect",
    "facts": "facts",
    "rules": "rules",
    "reason": "reason",
    "approvers": "approvers",
    "people": "people",
    "opened": "opened",
    "expires": "expires",
    "digest": "digest",
    "statement": "text",
}
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The approval.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it goes on record.")]


@command(app, "list", examples=("sallyport approvals list", "sallyport approvals list --state all"))
def list_(
    call: Invocation,
    state: Annotated[
        str, typer.Option("--state", help="pending, approved, denied, expired, cancelled or all.")
    ] = "pending",
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
) -> None:
    """List approvals that you may see, newest first."""
    wanted = None if state == "all" else state
    found = call.client.pages("/approvals", "approvals", limit, state=wanted)
    call.output.table(found, COLUMNS, "nothing waits" if state == "pending" else "no approvals")


@command(app, "show", examples=("sallyport approvals show apr-01h2x3y4",))
def show(call: Invocation, identifier: Identifier) -> None:
    """Show one approval with the whole statement, as it will run."""
    from sallyport.cli.client import path

    found = call.client.get(path("approvals", identifier))
    if call.as_json:
        call.output.json(found)
        return
    call.output.record(found, FIELDS)
    if found["rewritten"]:
        call.output.record(found, {"sent": "rewritten"})
    for each in found["parameters"]:
        call.output.line(f"parameter {each}")
    for each in found["resources"]:
        call.output.line(f"touches: {each}")
    for vote in found["votes"]:
        said = "approved" if vote["yes"] else "denied"
        call.output.line(f"{vote['name']} {said}: {vote['reason'] or '-'}")


@command(app, "approve", examples=('sallyport approvals approve apr-01h2x3y4 -m "change 4711"',))
def approve(call: Invocation, identifier: Identifier, reason: Reason = "") -> None:
    """Say yes. The statement runs once enough people have."""
    _answer(call, identifier, "approve", reason)


@command(app, "deny", examples=('sallyport approvals deny apr-01h2x3y4 -m "not on a Friday"',))
def deny(call: Invocation, identifier: Identifier, reason: Reason = "") -> None:
    """Say no. One no is enough."""
    _answer(call, identifier, "deny", reason)


@command(app, "watch", examples=("sallyport approvals watch",))
def watch(call: Invocation) -> None:
    """Print each approval as it opens and as it is settled, until Ctrl-C."""
    for item in call.client.lines("/approvals/watch"):
        if call.as_json:
            call.output.json(item, line=True)
        else:
            _print_change(call, item)


def _print_change(call: Invocation, item: dict[str, Any]) -> None:
    from sallyport.cli.output import note

    if item.get("type") != "approval":
        note(f"{item.get('type')}: {item.get('reason') or item.get('count') or ''}")
        return
    found = item["approval"]
    line = f"{found['id']}  {found['state']}  {found['subject']} -> {found['target']}"
    call.output.line(f"{line}  {found['verb']}: {found['text']}")
    for vote in found["votes"]:
        answer = "yes" if vote["yes"] else "no"
        why = f": {vote['reason']}" if vote["reason"] else ""
        call.output.line(f"    {answer} by {vote['name']}{why}")
    call.output.flush()


def _answer(call: Invocation, identifier: str, verb: str, reason: str) -> None:
    from sallyport.cli.client import path

    found = call.client.post(path("approvals", identifier, verb), {"reason": reason})
    if found["state"] == "pending":
        given = sum(1 for vote in found["votes"] if vote["yes"])
        sentence = f"{identifier}: {given} of {found['people']} people have approved"
    else:
        sentence = f"{identifier} is {found['state']}"
    call.output.done(found, sentence)
