"""Logins as they are kept between commands, one a gateway.

What is secret goes to the system's keyring where there is one (the package `keyring`), else into
the file: 0600, in a folder of 0700 under `$XDG_STATE_HOME/sallyport/logins`. FAILS CLOSED: a file
or folder that is a link, somebody else's, or open to others is not read, and nothing is written
there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from sallyport.cli.errors import CommandError
from sallyport.cli.private import FLAGS, PrivateFolder

SERVICE: Final = "sallyport"
"""What the keyring knows the logins under."""

MAXIMUM_FILE: Final = 512 * 1024
PATIENCE: Final = 60.0
"""Seconds that another command of the same login is waited for."""

_PAUSE: Final = 0.05


class Login(Struct, frozen=True):
    """Somebody's login at one gateway. Times in epoch seconds; `sub` is the provider's name of
    who that is, `nonce` what the login began with, `kept` file or keyring, `ca` the PEM of who
    vouched for the provider then, and does for as long as the login lasts (empty: the system's),
    `public_secret` what it demands of public clients (empty: nothing).
    """

    url: str
    provider: str
    issuer: str
    client_id: str
    name: str
    sub: str
    nonce: str | None
    since: float
    expires: float
    token: str = ""
    refresh_token: str = ""
    kept: str = "file"
    ca: str = ""
    public_secret: str = ""

    def __repr__(self) -> str:
        return f"Login({self.url}, {self.name})"


class Keyring(Protocol):
    """The module `keyring`."""

    def get_password(self, service: str, name: str) -> str | None:
        """Return a secret, or None."""

    def set_password(self, service: str, name: str, value: str) -> None:
        """Keep a secret."""

    def delete_password(self, service: str, name: str) -> None:
        """Forget a secret."""


def find_keyring() -> Keyring | None:
    """Return the keyring, where the package is installed and has a place to keep things in.

    SALLYPORT_KEYRING=off leaves it out.
    """
    if os.environ.get("SALLYPORT_KEYRING") == "off":
        return None
    try:
        module: Any = importlib.import_module("keyring")
        usable = module.get_keyring().priority >= 1
    except Exception:  # whatever a backend raises: there is no keyring then
        return None
    return module if usable else None


def default_folder() -> Path:
    """Return where logins are kept."""
    return state_folder() / "logins"


def state_folder() -> Path:
    """Return where the command line keeps things (XDG Base Directory)."""
    named = os.environ.get("XDG_STATE_HOME", "")
    base = Path(named) if named.startswith("/") else Path.home() / ".local" / "state"
    return base / "sallyport"


def same_url(url: str) -> str:
    """Return a gateway's address in the one form that it is kept under."""
    parts = urlsplit(url)
    host, port = (parts.hostname or "").lower(), parts.port
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}.get(parts.scheme)
    authority = host if port in (None, default) else f"{host}:{port}"
    return f"{parts.scheme}://{authority}{parts.path.rstrip('/')}"


class Logins:
    """All logins that are kept on this machine for this user."""

    def __init__(self, folder: Path | None = None, keyring: Keyring | None = None) -> None:
        self._folder = default_folder() if folder is None else folder
        self._private = PrivateFolder(self._folder, _unusable)
        self._keyring = find_keyring() if keyring is None else keyring

    def find(self, url: str) -> Login | None:
        """Return the login at `url` with its secrets, or None. Raises: CommandError."""
        found = self._read(self._path(url))
        return None if found is None else self._with_secrets(found)

    def all(self) -> list[Login]:
        """Return all of them, without what a keyring keeps. Raises: CommandError."""
        if not self._folder.is_dir():
            return []
        found = [self._read(path) for path in sorted(self._folder.glob("*.json"))]
        return sorted((one for one in found if one is not None), key=lambda one: one.url)

    def keep(self, login: Login) -> Login:
        """Keep a login in the place of the one before; return it as it is kept."""
        self._private.make()
        if self._keyring is not None:
            hidden = msgspec.json.encode([login.token, login.refresh_token]).decode()
            try:
                self._keyring.set_password(SERVICE, login.url, hidden)
            except Exception:  # a keyring that is locked, or gone: the file then
                login = msgspec.structs.replace(login, kept="file")
            else:
                login = msgspec.structs.replace(login, kept="keyring")
        written = login
        if login.kept == "keyring":
            written = msgspec.structs.replace(login, token="", refresh_token="")
        self._private.write(self._path(login.url), msgspec.json.encode(written))
        return login

    def forget(self, url: str) -> None:
        """Forget the login at `url`, if there is one."""
        if self._keyring is not None:
            with contextlib.suppress(Exception):  # there is none of that name
                self._keyring.delete_password(SERVICE, same_url(url))
        self._path(url).unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, url: str) -> Iterator[None]:
        """Keep other commands from changing this login while the block runs."""
        self._private.make()
        path = self._path(url).with_suffix(".lock")
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | FLAGS, 0o600)
        except OSError as error:
            raise _unusable(path, error.strerror or "error") from None
        try:
            self._take(lock, path)
            yield
        finally:
            os.close(lock)

    # --- inside

    def _path(self, url: str) -> Path:
        name = hashlib.sha256(same_url(url).encode()).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _take(self, lock: int, path: Path) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > until:
                    raise _unusable(path, "another command holds it") from None
                time.sleep(_PAUSE)

    def _with_secrets(self, login: Login) -> Login:
        if login.kept != "keyring":
            return login
        hint = "unlock it, or log in again: `sallyport login`"
        if self._keyring is None:
            raise CommandError("the login is in the system's keyring, which is away", hint=hint)
        try:
            hidden = self._keyring.get_password(SERVICE, login.url)
            token, refresh = msgspec.json.decode(hidden or "", type=tuple[str, str])
        except Exception as error:
            raise CommandError(
                f"the keyring does not give the login: {type(error).__name__}", hint=hint
            ) from None
        return msgspec.structs.replace(login, token=token, refresh_token=refresh)

    def _read(self, path: Path) -> Login | None:
        if not os.path.lexists(path):
            return None
        self._private.check()
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | FLAGS)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(path, error.strerror or "error") from None
        with os.fdopen(file, "rb") as opened:
            self._private.check_file(path, opened.fileno())
            raw = opened.read(MAXIMUM_FILE)
        try:
            return msgspec.json.decode(raw, type=Login)
        except msgspec.DecodeError:
            raise _unusable(path, "it holds no login") from None


def _unusable(path: Path, why: str, hint: str = "") -> CommandError:
    return CommandError(
        f"the login in `{path}` cannot be used: {why.lower()}",
        hint=hint or f"remove `{path}`, and log in again: `sallyport login`",
    )
