"""`sallyport credential`: the credentials that the gateway presents to targets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command

app = typer.Typer(
    name="credential",
    no_args_is_help=True,
    help="Set, list and delete the credentials of targets. Nothing reads one back.",
)

MAXIMUM_VALUE = 65_536
COLUMNS = {"NAME": "name", "VERSION": "version", "CREATED": "created", "UPDATED": "updated"}
Name = Annotated[str, typer.Argument(help="As `vault:NAME` in the configuration.")]


@command(
    app,
    "set",
    examples=("sallyport credential set shop-app", "sallyport credential set shop-app < password"),
)
def set_(call: Invocation, name: Name) -> None:
    """Set or rotate a credential: asked for at a terminal, else read from stdin.

    It is never an argument: those are seen by every user of the machine. One line end at its
    end is cut off.
    """
    from sallyport.cli.client import path

    answer = call.client.put(path("credentials", name), {"value": read_value()})
    call.output.done(answer, f"credential {name} is set (version {answer['version']})")


@command(app, "list", examples=("sallyport credential list",))
def list_(
    call: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 1000,
) -> None:
    """List names and ages."""
    found = call.client.pages("/credentials", "credentials", limit)
    call.output.table(found, COLUMNS, "no credentials")


@command(app, "delete", examples=("sallyport credential delete shop-app",))
def delete(call: Invocation, name: Name) -> None:
    """Forget a credential: logins that need it fail from now on."""
    from sallyport.cli.client import path

    answer = call.client.delete(path("credentials", name))
    call.output.done(answer, f"credential {name} is deleted")


def read_value() -> str:
    """Return the secret, from a prompt without echo or from stdin. Raises: CommandError."""
    if sys.stdin.isatty():
        import getpass

        value = getpass.getpass("credential: ")
        if value != getpass.getpass("again: "):
            raise CommandError("the two are not the same; nothing was changed")
    else:
        raw = sys.stdin.buffer.read(MAXIMUM_VALUE + 3)
        try:
            value = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise CommandError("the credential is not UTF-8 text", code=USAGE) from None
        value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise CommandError("the credential is empty; nothing was changed", code=USAGE)
    if len(value) > MAXIMUM_VALUE:
        raise CommandError(f"the credential is longer than {MAXIMUM_VALUE} characters", code=USAGE)
    return value
