"""The master key: where it is kept, how it is made, and how another takes its place.

A rotation writes the new key beside the old (`.new`), wraps every data key anew, and then renames.
Whatever a crash leaves behind, both files together open everything; the next start goes back to
the old key and removes the other.
"""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from sallyport.vault.credentials import KEY_BYTES, Vault
from sallyport.vault.errors import VaultError
from sallyport.vault.references import read_private, resolve_local, write_private


class MasterKey:
    """The master key behind a reference (`env:` or `file:`)."""

    def __init__(self, reference: str) -> None:
        """Raises: VaultError for a key that would be kept in the vault itself."""
        scheme, _, name = reference.partition(":")
        if scheme == "vault":
            raise VaultError("the vault's own key cannot be kept in the vault")
        self._reference = reference
        self._path = Path(name) if scheme == "file" else None

    def load(self, *, generate: bool = False) -> tuple[bytes, list[bytes]]:
        """Return the key, and the one of a rotation that was interrupted, if any.

        `generate` makes a missing file (0600). Raises: VaultError.
        """
        if self._path is None:
            return decode_key(resolve_local(self._reference).reveal()), []
        if generate and not self._path.exists():
            write_private(self._path, encode_key(os.urandom(KEY_BYTES)))
        key = decode_key(read_private(self._path))
        other = self._beside(self._path)
        return key, [decode_key(read_private(other))] if other.exists() else []

    async def recover(self, vault: Vault) -> None:
        """Undo a rotation that was interrupted."""
        if self._path is None or not self._beside(self._path).exists():
            return
        await vault.rotate_master(decode_key(read_private(self._path)), "sallyport")
        self._beside(self._path).unlink()

    async def rotate(self, vault: Vault, actor: str) -> int:
        """Make a new key and move every secret to it; return how many. Raises: VaultError."""
        if self._path is None:
            raise VaultError("only a master key in a file can be rotated from here")
        new, beside = os.urandom(KEY_BYTES), self._beside(self._path)
        write_private(beside, encode_key(new))
        count = await vault.rotate_master(new, actor)
        beside.replace(self._path)
        return count

    @staticmethod
    def _beside(path: Path) -> Path:
        return path.with_name(f"{path.name}.new")


def encode_key(key: bytes) -> bytes:
    """Return the written form of a key."""
    return base64.b64encode(key) + b"\n"


def decode_key(text: bytes) -> bytes:
    """Return 32 key bytes from raw or base 64 form. Raises: VaultError."""
    if len(text) == KEY_BYTES:
        return text
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise VaultError(f"the master key must be {KEY_BYTES} bytes, raw or in base 64")
    return key
