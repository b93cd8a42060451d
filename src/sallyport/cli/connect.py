"""`sallyport connect`: from a login to a native client at a target."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from sallyport.cli.errors import CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.cli.units import seconds

if TYPE_CHECKING:
    from sallyport.cli.connecting import Place
    from sallyport.cli.own_certificate import OwnCertificate

PAUSE = 1.0
"""Seconds between two looks at whether access was given."""

NOT_FOUND, NOT_STARTED = 127, 126
"""Exit codes of a shell for a program that is not there, and that cannot be started."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    command(
        app,
        "connect",
        examples=(
            "sallyport connect shop",
            "sallyport connect shop -- psql",
            "sallyport connect shop/reports --login analyst -- psql -c 'select 1'",
            "sallyport connect shop --request 'ticket 4711' --for 30m -- psql",
            "sallyport connect shop --cert ann.crt --key ann.key -- psql",
            "sallyport connect orders -- sh -c 'curl -u api:$SALLYPORT_HTTP_TOKEN "
            "$SALLYPORT_HTTP_URL/orders'",
            "sallyport connect shop --json",
        ),
    )(connect)


Program = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- PROGRAM ...]", help="A native client, and its arguments."),
]
Authority = Annotated[
    str, typer.Option("--ca", metavar="FILE", help="Who vouches for the listener's TLS (PEM).")
]
Certificate = Annotated[
    str, typer.Option("--cert", metavar="FILE", help="Your client certificate (PEM).")
]
Key = Annotated[str, typer.Option("--key", metavar="FILE", help="Its key.")]
Reason = Annotated[
    str | None,
    typer.Option("--request", metavar="REASON", help="Ask for access, and wait for it."),
]


def connect(
    call: Invocation,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="`target` or `target/database`.")],
    program: Program = None,
    login: Annotated[
        str | None, typer.Option("--login", help="The target's login; absent: what you may use.")
    ] = None,
    listener: Annotated[
        str | None, typer.Option("--listener", help="Where to connect; absent: the best fit.")
    ] = None,
    authority: Authority = "",
    certificate: Certificate = "",
    key: Key = "",
    reason: Reason = None,
    duration: Annotated[str, typer.Option("--for", help="How long to ask for.")] = "1h",
    password: Annotated[
        bool, typer.Option("--password", help="Print the password alone: the token.")
    ] = False,
) -> None:
    """Connect to a target: run a native client there, or print what to paste.

    The client gets PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD and PGSSLMODE (at an HTTP API
    SALLYPORT_HTTP_URL and SALLYPORT_HTTP_TOKEN), and its exit code is this command's. The token is
    in its environment alone. With `--cert` and `--key` it shows
    that certificate instead; where the gateway takes OAuth, libpq 18 logs in by itself. Where
    access is given on request, this says how to ask for it.
    """
    from sallyport.cli.connecting import choose_listener, choose_login
    from sallyport.cli.own_certificate import read_own_certificate

    own = read_own_certificate(certificate, key)
    token = call.find_token(half=True)
    if password:
        call.output.done({"password": token}, token)
        return
    found = _find(call, token, target)
    chosen = choose_login(found["targets"][0], login)
    name, protocol = str(chosen["name"]), str(found["targets"][0]["protocol"])
    which = choose_listener(found["listeners"], protocol, token, listener, own)
    if chosen["access"] != "given":
        chosen = _ask(call, target, name, reason, duration)
        token = call.find_token(half=True)
    files = {"--ca": authority, "--cert": certificate, "--key": key}
    same = _same(call, target, login, listener, files)
    file = str(Path(authority).absolute()) if authority else ""
    if protocol == "http":
        _at_web(call, which, target, name, token, file, program, same)
    else:
        _at_database(call, which, target, chosen, token, file, own, program, same)


def _at_database(
    call: Invocation,
    listener: dict[str, Any],
    target: str,
    login: dict[str, Any],
    token: str,
    authority: str,
    own: OwnCertificate | None,
    program: list[str] | None,
    same: str,
) -> None:
    from sallyport.cli.connecting import place_of

    name = str(login["name"])
    place = place_of(listener, call.address(), target, name, token, authority, own)
    if program:
        _run(place, token, program)
    _show(call, place, login, same)


def _at_web(
    call: Invocation,
    listener: dict[str, Any],
    target: str,
    login: str,
    token: str,
    authority: str,
    program: list[str] | None,
    same: str,
) -> None:
    from sallyport.cli.connecting_web import paste_web, web_place_of

    web = web_place_of(listener, call.address(), target, login, authority)
    if program:
        _become(program, {**os.environ, **web.environment(token)})
    if call.as_json:
        call.output.json(web.told())
    else:
        call.output.block(paste_web(web, same))


def _find(call: Invocation, token: str, target: str) -> dict[str, Any]:
    from sallyport.cli.client import Client

    found = Client(call.address(), token).get("/connections", target=target)
    if not found["targets"]:
        raise CommandError(
            f"you neither reach target `{target}` nor may ask for it",
            hint="check its name (`target` or `target/database`); `sallyport whoami` shows who you "
            "are",
        )
    return found


def _ask(
    call: Invocation, target: str, login: str, reason: str | None, duration: str
) -> dict[str, Any]:
    """Ask for access and wait for it; return the login, as it is given then.

    Each look is with the token that is in force at that moment.
    """
    from sallyport.cli.client import Client, path
    from sallyport.cli.output import note

    if reason is None:
        words = shlex.join(("sallyport", "connect", target, "--login", login))
        raise CommandError(
            f"access to `{target}` as `{login}` is given on request",
            hint=f"ask for it, and wait: {words} --request 'why' --for {duration}",
        )
    asked = {"target": target, "login": login, "reason": reason, "for": seconds(duration)}
    found = Client(call.address(), call.find_token()).post("/access", asked)
    if found["state"] == "pending":
        note(f"{found['id']} waits for {', '.join(found['approvers'])} (Ctrl-C: stop waiting)")
    while found["state"] == "pending":
        time.sleep(PAUSE)
        found = Client(call.address(), call.find_token()).get(path("access", found["id"]))
    if found["state"] != "approved":
        why = f": {found['settled_reason']}" if found["settled_reason"] else ""
        raise CommandError(f"{found['id']} is {found['state']}{why}")
    from sallyport.cli.connecting import choose_login

    return choose_login(_find(call, call.find_token(), target)["targets"][0], login)


def _run(place: Place, token: str, program: list[str]) -> NoReturn:
    """Become the client: its exit code, its terminal and its signals are then its own."""
    from sallyport.cli.connecting import client_environment

    environment = client_environment(place, token, os.environ)
    if place.mechanism == "oauth":
        environment |= _service(place)
    _become(program, environment)


def _become(program: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that is inherited
    try:
        os.execvpe(program[0], program, environment)  # noqa: S606
    except FileNotFoundError:
        raise CommandError(f"there is no program `{program[0]}`", code=NOT_FOUND) from None
    except OSError as error:
        why = (error.strerror or "error").lower()
        raise CommandError(f"`{program[0]}` cannot be run: {why}", code=NOT_STARTED) from None


def _service(place: Place) -> dict[str, str]:
    from sallyport.cli.connecting import oauth_needs
    from sallyport.cli.login.kept import state_folder
    from sallyport.cli.output import note
    from sallyport.cli.service_file import write_service

    found = write_service(place, state_folder())
    note(oauth_needs(place))
    return found


def _same(
    call: Invocation,
    target: str,
    login: str | None,
    listener: str | None,
    files: dict[str, str],
) -> str:
    """Return the command that connects in the same way; a token on its line is not repeated."""
    words = ["sallyport", "connect", target]
    file = str(call.token_file) if call.token_file is not None else None
    given = {"--login": login, "--listener": listener, **files}
    for option, value in (given | {"--url": call.url, "--token-file": file}).items():
        words += [option, value] if value else []
    return shlex.join(words)


def _show(call: Invocation, place: Place, login: dict[str, Any], again: str) -> None:
    from sallyport.cli.connecting import paste

    oauth = {"issuer": place.issuer, "client_id": place.client_id, "scope": place.scope}
    if call.as_json:
        call.output.json(
            {
                "target": place.database,
                "login": login["name"],
                "write": login["write"],
                "ends": login["ends"],
                "listener": place.listener,
                "mechanism": place.mechanism,
                "host": place.host,
                "port": place.port,
                "database": place.database,
                "user": place.user,
                "sslmode": place.sslmode,
                "environment": place.environment(),
                "oauth": oauth if place.mechanism == "oauth" else None,
                "dsn": place.url(),
            }
        )
        return
    call.output.block(paste(place, again))
