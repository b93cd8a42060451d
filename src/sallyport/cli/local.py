"""What needs no API: `serve`, `check`, `demo`, and `verify` of local files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sallyport.cli.invocation import USAGE, CommandError, Invocation, command

Configuration = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration file.", metavar="FILE")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    command(app, "serve", examples=("sallyport serve -c sallyport.yaml",))(serve)
    command(app, "check", examples=("sallyport check sallyport.yaml",))(check)
    command(
        app,
        "demo",
        examples=("sallyport demo", "sallyport demo --tour --exit", "sallyport demo --no-tour"),
    )(demo)
    command(app, "verify", examples=("sallyport verify state/sessions",))(verify)


def serve(call: Invocation, configuration: Configuration) -> None:
    """Run the gateway. The first start writes an admin token to `admin.token` (0600) in its
    state folder.
    """
    _must_be_file(configuration)
    from sallyport.app import serve as run
    from sallyport.core.errors import ConfigError

    try:
        code = run(configuration)
    except ConfigError as error:
        raise CommandError(str(error), hint=f"run `sallyport check {configuration}`") from None
    if code:
        raise typer.Exit(code)


def check(
    call: Invocation,
    configuration: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
) -> None:
    """Check a configuration and the policy in it. Exit code 1 when it is not good."""
    _must_be_file(configuration)
    from sallyport.app import check as look
    from sallyport.core.errors import ConfigError

    try:
        revision = look(configuration)
    except ConfigError as error:
        if call.as_json:
            problems = [
                {"message": line, "file": error.file, "line": error.line}
                for line in error.message.splitlines()
            ]
            call.output.json({"valid": False, "problems": problems})
            raise typer.Exit(1) from None
        raise CommandError(str(error), hint="correct the file and check again") from None
    call.output.done(
        {"valid": True, "revision": revision}, f"{configuration} is good (revision {revision})"
    )


def demo(
    call: Invocation,
    tour: Annotated[bool, typer.Option("--tour/--no-tour", help="Show what it does.")] = True,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the tour; 1 when a step failed.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="Keep everything in this folder.", metavar="DIR")
    ] = None,
) -> None:
    """Start a real database behind the gateway, show what it does, and stay up until Ctrl-C."""
    from sallyport.demo.command import run

    code = run(tour, leave, state)
    if code:
        raise typer.Exit(code)


def verify(
    call: Invocation,
    place: Annotated[
        Path, typer.Argument(metavar="PATH", help="A journal, a sealed session, or a folder.")
    ],
    key: Annotated[
        Path | None,
        typer.Option("--key-file", help="The key, where recordings are encrypted.", metavar="FILE"),
    ] = None,
) -> None:
    """Verify the hash chains of recordings on this machine. Exit code 1 when one is broken."""
    if not place.exists():
        raise CommandError(f"there is no `{place}`", code=USAGE)


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        raise CommandError(
            f"cannot read the configuration `{path}`: no such file",
            hint="docs/configuration.md shows one",
            code=USAGE,
        )
