"""References to secrets: `env:NAME`, `file:PATH`, `vault:NAME`. No configuration holds a secret.

FAILS CLOSED: a file that others may read, or that is no plain file, is not used.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from sallyport.core.subject import Secret
from sallyport.vault.credentials import MAXIMUM_SECRET, Vault
from sallyport.vault.errors import VaultError


async def resolve(reference: str, vault: Vault | None = None) -> Secret:
    """Return the secret behind `reference`. Raises: VaultError that says what is wrong with it."""
    scheme, _, name = reference.partition(":")
    if scheme == "vault" and vault is not None:
        return await vault.get(name)
    return resolve_local(reference)


def resolve_local(reference: str) -> Secret:
    """Return the secret behind an `env:` or `file:` reference; one last line feed is no part of it.

    Raises: VaultError.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        value = os.environb.get(name.encode())
        if not value:
            raise VaultError(f"environment variable `{name}` is not set")
        return Secret(value)
    if scheme == "file":
        value = read_private(Path(name)).removesuffix(b"\n").removesuffix(b"\r")
        if not value:
            raise VaultError(f"file `{name}` is empty")
        return Secret(value)
    raise VaultError("a secret is named as `env:NAME`, `file:PATH` or `vault:NAME`")


def read_private(path: Path) -> bytes:
    """Return a file's content if its owner alone may read it. Raises: VaultError.

    What is checked is the open file, so that nothing can be put in its place in between.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise VaultError(f"file `{path}` cannot be read: {error.strerror}") from None
    try:
        _check_private(path, os.fstat(descriptor))
        value = _read_all(descriptor)
    finally:
        os.close(descriptor)
    if len(value) > MAXIMUM_SECRET:
        raise VaultError(f"file `{path}` is larger than {MAXIMUM_SECRET} bytes")
    return value


def _check_private(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise VaultError(f"file `{path}` is not a plain file")
    if facts.st_uid not in (0, os.geteuid()):
        raise VaultError(f"file `{path}` belongs to another user")
    if facts.st_mode & 0o077:
        raise VaultError(f"file `{path}` may be read by others: run `chmod 600` on it")


def _read_all(descriptor: int) -> bytes:
    value = b""
    while len(value) <= MAXIMUM_SECRET:
        part = os.read(descriptor, MAXIMUM_SECRET + 1 - len(value))
        if not part:
            break
        value += part
    return value


_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def write_private(path: Path, value: bytes) -> None:
    """Write a new file that its owner alone may read, durably. Raises: VaultError if it exists."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, _NEW, 0o600)
    except OSError as error:
        raise VaultError(f"file `{path}` cannot be made: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(value)
        file.flush()
        os.fsync(descriptor)
