"""`sallyport target`: what is behind the gateway, and how it looks from here."""

from __future__ import annotations

from typing import Annotated

import typer

from sallyport.cli.invocation import Invocation, command

app = typer.Typer(name="target", no_args_is_help=True, help="List and check targets.")

COLUMNS = {
    "NAME": "name",
    "PROTOCOL": "protocol",
    "ADDRESS": "address",
    "DATABASE": "database",
    "TLS": "tls",
    "LOGINS": "logins",
    "LABELS": "labels",
}


@command(app, "list", examples=("sallyport target list",))
def list_(call: Invocation) -> None:
    """List the targets, as the configuration says."""
    call.output.table(call.client.get("/targets")["targets"], COLUMNS, "no targets")


@command(app, "check", examples=("sallyport target check", "sallyport target check shop --json"))
def check(
    call: Invocation,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Absent: all.")] = None,
) -> None:
    """Dial targets: TLS, version, the login's dangerous powers, and whether they answer this
    host without the gateway's credential.

    Exit code 1 when one cannot be reached or something failed.
    """
    from sallyport.cli.client import path

    targets = call.client.get("/targets")["targets"] if name is None else []
    names = [name] if name is not None else [each["name"] for each in targets]
    good = True
    for each in names:
        report = call.client.post(path("targets", each, "check"))
        failed = [found for found in report["findings"] if found["state"] == "failed"]
        good = good and bool(report["reachable"]) and not failed
        if call.as_json:
            call.output.json(report, line=True)
            continue
        state = "ok" if report["reachable"] else "failed"
        call.output.record({"target": each, "reachable": state, **report["facts"]})
        for found in report["findings"]:
            style = {"failed": "red", "warning": "yellow"}.get(found["state"], "green")
            call.output.line(f"  {found['state']}: {found['text']}", style)
        call.output.line()
    if not good:
        raise typer.Exit(1)
