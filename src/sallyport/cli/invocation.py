"""Invocation: what one run of the command knows: where the API is, the token, how to print.

`--url`, `--token`, `--token-file` and `--json` may stand before a command or after it; `command`
adds them to each one, so that `--help` shows them everywhere. A token comes from a file or the
environment by preference: an argument is seen by every user of the machine.
"""

from __future__ import annotations

import functools
import inspect
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from sallyport.cli.errors import USAGE, CommandError, NotThereYet

if TYPE_CHECKING:
    from sallyport.cli.client import Client
    from sallyport.cli.login.kept import Login
    from sallyport.cli.output import Output

DEFAULT_URL = "http://127.0.0.1:8642"
"""Where `serve` listens unless `api.address` says otherwise."""

_NAMED = ("SALLYPORT_TOKEN", "SALLYPORT_TOKEN_FILE")
MAXIMUM_TOKEN_FILE = 64 * 1024

AS_IT_STANDS = "\b"
"""On a line of its own: the paragraph is not wrapped, so that its lines can be pasted."""

PANEL = "API and output"
Url = Annotated[
    str | None,
    typer.Option("--url", help="The API's address.", metavar="URL", rich_help_panel=PANEL),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="The API token. Other users of this machine can see it: rather use a file.",
        metavar="TOKEN",
        rich_help_panel=PANEL,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="File that holds the token.", metavar="FILE", rich_help_panel=PANEL
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs.", rich_help_panel=PANEL)
]

_SHARED: tuple[tuple[str, Any, object], ...] = (
    ("url", Url, None),
    ("token", Token, None),
    ("token_file", TokenFile, None),
    ("as_json", AsJson, False),
)


@dataclass
class Invocation:
    """One run of the command line."""

    url: str | None = None
    token: str | None = None
    token_file: Path | None = None
    as_json: bool = False

    def override(
        self, url: str | None, token: str | None, token_file: Path | None, as_json: bool
    ) -> None:
        """Take what was said later on the command line; it wins."""
        if token is not None or token_file is not None:
            self.token, self.token_file = token, token_file
        self.url = url if url is not None else self.url
        self.as_json = self.as_json or as_json

    @functools.cached_property
    def output(self) -> Output:
        """How to print."""
        from sallyport.cli.output import Output

        return Output(as_json=self.as_json)

    @functools.cached_property
    def client(self) -> Client:
        """The API. Raises: CommandError when there is no token."""
        from sallyport.cli.client import Client

        return Client(self.address(), self.find_token())

    def address(self) -> str:
        """Return where the API is. Raises: CommandError when that is no address."""
        from sallyport.cli.client import checked_url

        return checked_url(self.url or os.environ.get("SALLYPORT_URL") or DEFAULT_URL)

    def find_login(self, *, half: bool = False) -> Login | None:
        """Return the login that is kept for this address, renewed when its token is over.

        None: there is none, or a token was given, which counts before it. `half`: it shall have
        half its time left.
        """
        named = self.token is not None or self.token_file is not None
        if named or any(os.environ.get(name) for name in _NAMED):
            return None
        from sallyport.cli.login.kept import Logins
        from sallyport.cli.login.renewing import current

        return current(Logins(), self.address(), half=half)

    def find_token(self, *, half: bool = False) -> str:
        """Return the token: option, file, SALLYPORT_TOKEN, SALLYPORT_TOKEN_FILE, or of the login
        that is kept for this address, in that order.
        """
        if self.token is not None:
            return _token(self.token, "--token")
        if self.token_file is not None:
            return _read_token(self.token_file)
        if value := os.environ.get("SALLYPORT_TOKEN"):
            return _token(value, "SALLYPORT_TOKEN")
        if name := os.environ.get("SALLYPORT_TOKEN_FILE"):
            return _read_token(Path(name))
        login = self.find_login(half=half)
        if login is not None:
            return login.token
        raise CommandError(
            "no token",
            hint="log in with `sallyport login`, or set SALLYPORT_TOKEN_FILE, or give "
            "--token-file; the first `sallyport serve` writes one to `admin.token` in its state "
            "folder",
            code=USAGE,
        )


current = Invocation()
"""The invocation of this process."""


def _token(value: str, where: str) -> str:
    token = value.strip()
    if not token or not token.isascii() or any(c.isspace() for c in token):
        raise CommandError(f"{where} holds no token", code=USAGE)
    return token


def _read_token(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MAXIMUM_TOKEN_FILE)
    except FileNotFoundError:
        raise NotThereYet(
            f"cannot read the token file `{path}`: no such file or directory",
            hint="the first `sallyport serve` writes `admin.token` into its state folder when it "
            "is ready: `sallyport status --wait 1m` waits for it",
            code=USAGE,
        ) from None
    except OSError as error:
        raise CommandError(
            f"cannot read the token file `{path}`: {(error.strerror or 'error').lower()}",
            code=USAGE,
        ) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        sys.stderr.write(f"warning: others can read `{path}`; run: chmod 600 {path}\n")
    return _token(raw.decode("ascii", "replace"), f"`{path}`")


def command(
    app: typer.Typer, name: str, *, examples: tuple[str, ...] = (), **more: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command, with the shared options and its examples in `--help`.

    The function's first argument is the `Invocation`; the others are its own.
    """
    epilog = "\n".join((AS_IT_STANDS, "Examples:", *(f"  {line}" for line in examples)))

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[1:]
        for each in own:
            _name_its_value(each)
        shared = [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for key, kind, default in _SHARED
        ]
        keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

        def run(**given: Any) -> None:
            current.override(*(given.pop(key) for key, _, _ in _SHARED))
            function(current, **given)

        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        parameters = [*keyword, *shared]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        app.command(
            name,
            epilog=epilog if examples else None,
            short_help=_first_sentence(function),
            **more,
        )(run)
        return function

    return decorate


def _name_its_value(parameter: inspect.Parameter) -> None:
    """Let `--help` show `--subject SUBJECT`, not the type as Python has it."""
    kind, info = get_args(parameter.annotation)[:2]
    if info.metavar is None and kind is not bool:
        names = [word for word in info.param_decls or () if word.startswith("--")]
        if isinstance(info.default, str) and info.default.startswith("--"):
            names = [info.default]
        info.metavar = (names[0] if names else parameter.name).strip("-").upper()


def _first_sentence(function: Callable[..., None]) -> str:
    """Return what a list of commands says of this one: whole, where a default would cut it."""
    words = " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".") + "."
