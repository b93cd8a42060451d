"""`sallyport policy` and `sallyport explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from sallyport.cli.invocation import Invocation, command

app = typer.Typer(name="policy", no_args_is_help=True, help="Show and reload the policy.")


@command(app, "show", examples=("sallyport policy show", "sallyport policy show --json"))
def show(call: Invocation) -> None:
    """Show the policy in force."""
    found = call.client.get("/policy")
    if call.as_json:
        call.output.json(found)
        return
    import json

    from sallyport.cli.output import instant, note

    note(f"revision {found['revision']}, loaded {instant(found['loaded'])}")
    if found["failure"]:
        note(f"the last reload was not taken: {found['failure']}")
    call.output.block(json.dumps(found["document"], indent=2, ensure_ascii=False))


@command(app, "reload", examples=("sallyport policy reload",))
def reload(call: Invocation) -> None:
    """Load the configuration file again. A bad one changes nothing, and is explained."""
    answer = call.client.post("/policy/reload")
    call.output.done(answer, f"revision {answer['revision']} is in force")


def register(root: typer.Typer) -> None:
    """Add `explain`, which stands at the top."""

    @command(
        root,
        "explain",
        examples=(
            "sallyport explain --subject agent-1 --group agents --target shop 'DELETE FROM t'",
            "sallyport explain --subject agent-1 --target shop - < statement.sql",
        ),
    )
    def explain(
        call: Invocation,
        statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="`-`: read stdin.")],
        subject: Annotated[str, typer.Option("--subject", help="Who would send it.")],
        target: Annotated[str, typer.Option("--target", help="Where to.")],
        groups: Annotated[
            list[str] | None, typer.Option("--group", help="A group of theirs (repeat for more).")
        ] = None,
        login: Annotated[
            str | None, typer.Option("--login", help="The target's login; absent: the default.")
        ] = None,
    ) -> None:
        """Show what a statement would meet: verb, effect, resources, facts, the decision and
        every rule that took part.
        """
        text = _stdin() if statement == "-" else statement
        body = {
            "subject": subject,
            "groups": groups or [],
            "target": target,
            "login": login,
            "statement": text,
        }
        found = call.client.post("/policy/explain", body)
        if call.as_json:
            call.output.json(found["detail"])
        else:
            call.output.block(found["text"])


def _stdin() -> str:
    import sys

    return sys.stdin.buffer.read(1_048_576).decode("utf-8", "replace")
