"""What needs no API: `serve`, `check`, `demo`, and `verify` of local files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from sallyport.cli.errors import USAGE, CommandError
from sallyport.cli.invocation import Invocation, command

KEY_BYTES = 32
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
    command(app, "verify", examples=("sallyport verify state/recording",))(verify)


def serve(call: Invocation, configuration: Configuration) -> None:
    """Run the gateway. The first start writes an admin token to `admin.token` (0600) in its
    state folder.
    """
    _must_be_file(configuration)
    from sallyport.app import serve as run
    from sallyport.core.errors import SallyportError

    try:
        code = run(configuration)
    except SallyportError as error:
        raise CommandError(str(error)) from None
    except OSError as error:
        raise CommandError(f"cannot start: {(error.strerror or str(error)).lower()}") from None
    if code:
        raise typer.Exit(code)


def check(
    call: Invocation,
    configuration: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
) -> None:
    """Check a configuration and the policy in it. Exit code 1 when it is not good.

    What is allowed but hardly meant is told as a hint.
    """
    _must_be_file(configuration)
    from sallyport.app.configuration import read_config
    from sallyport.cli.output import note
    from sallyport.config import ConfigErrors
    from sallyport.config.issuer_checks import hints
    from sallyport.core.errors import ConfigError
    from sallyport.policy import Policy, PolicyError

    try:
        config = read_config(configuration)
        revision = Policy(config.policy_document()).revision
    except ConfigError as error:
        errors = error.errors if isinstance(error, ConfigErrors) else (error,)
        problems = [{"file": e.file, "line": e.line, "message": e.message} for e in errors]
        _refuse(call, problems, str(error))
    except PolicyError as error:
        problem = {"file": str(configuration), "line": None, "message": str(error)}
        _refuse(call, [problem], f"{configuration}: {error}")
    else:
        found = hints(config)
        for hint in found:
            note(f"hint: {hint}")
        call.output.done(
            {"valid": True, "revision": revision, "hints": found},
            f"{configuration} is good (revision {revision})",
        )


def _refuse(call: Invocation, problems: Sequence[Mapping[str, object]], text: str) -> None:
    if call.as_json:
        call.output.json({"valid": False, "problems": problems})
        raise typer.Exit(1)
    raise CommandError(text, hint="correct the file and check again")


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
    from sallyport.recording.verify import verify as look

    try:
        report = look(place, _read_key(key) if key is not None else None)
    except OSError as error:
        raise CommandError(
            f"cannot read `{place}`: {(error.strerror or str(error)).lower()}", code=USAGE
        ) from None
    if not report.files and not report.gaps:
        raise CommandError(f"there is nothing recorded in `{place}`", code=USAGE)
    if call.as_json:
        import msgspec

        call.output.json({"ok": report.ok, **msgspec.to_builtins(report)})
    else:
        for found in report.files:
            state = found.problem or "ok"
            where = f" (record {found.broken})" if found.broken is not None else ""
            remark = f"; {found.note}" if found.note else ""
            style = "red" if found.problem else "green"
            line = f"{found.path}: {found.kind}, {found.records} records: {state}{where}{remark}"
            call.output.line(line, style)
        for gap in report.gaps:
            call.output.line(f"gap: {gap}", "red")
        call.output.line(f"{len(report.files)} files: {'ok' if report.ok else 'NOT whole'}")
    if not report.ok:
        raise typer.Exit(1)


def _read_key(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CommandError(
            f"cannot read the key `{path}`: {(error.strerror or '').lower()}", code=USAGE
        ) from None
    if len(raw) == KEY_BYTES:
        return raw
    import base64
    import binascii

    try:
        key = base64.b64decode(raw.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise CommandError(
            f"`{path}` holds no key", hint=f"{KEY_BYTES} bytes, raw or base64", code=USAGE
        )
    return key


def _must_be_file(path: Path) -> None:
    if not path.is_file():
        what = "not a plain file" if path.exists() else "no such file"
        raise CommandError(
            f"cannot read the configuration `{path}`: {what}",
            hint="the README shows one, docs/configuration.md has every key",
            code=USAGE,
        )
