"""A client certificate and its key, looked at by libpq's rules before a client is started.

libpq goes on without a certificate that is not there, and one that fails the handshake hears no
more than that: what can be told is told here. Nothing of it is a check that counts: the gateway's
is (`identity.certificates`).
"""

from __future__ import annotations

import ssl
import stat
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from sallyport.cli.errors import USAGE, CommandError

MAXIMUM_FILE: Final = 1024 * 1024
"""Bytes of a file of certificates, or of a key."""

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
OTHERS_OF_ROOT: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
"""Rights that libpq takes no key with: of a key of one's own, and of root's (0640 is taken)."""


class OwnCertificate(Struct, frozen=True):
    """Two files that a client can show, by their absolute paths."""

    certificate: str
    key: str


class _NeedsPassphraseError(Exception):
    """The key is encrypted: the client asks for what opens it."""


def read_own_certificate(certificate: str, key: str) -> OwnCertificate | None:
    """Return the files; None: neither was named. Raises: CommandError for what libpq would refuse.

    They must fit together and be in force; a key that is encrypted is not opened.
    """
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise CommandError("`--cert` and `--key` go together", code=USAGE)
    paths = Path(certificate).absolute(), Path(key).absolute()
    texts = [_read(path) for path in paths]
    _check_key(paths[1])
    _check_times(paths[0], texts[0])
    if b"-----BEGIN" in texts[1]:  # libpq takes a key in DER as well
        _check_pair(*paths)
    return OwnCertificate(*map(str, paths))


def _read(path: Path) -> bytes:
    """Return what a file holds. One that is no plain file, a pipe for instance, is not opened."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CommandError(f"`{path}` is not a plain file")
        with path.open("rb") as opened:
            found = opened.read(MAXIMUM_FILE + 1)
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise CommandError(f"`{path}` cannot be read: {reason}") from None
    if len(found) > MAXIMUM_FILE:
        raise CommandError(f"`{path}` is longer than {MAXIMUM_FILE} bytes")
    return found


def _check_key(path: Path) -> None:
    if ":" in str(path):
        raise CommandError(
            f"the key `{path}` cannot be named to libpq, which takes what is before a `:` for the "
            "name of a crypto engine",
            hint="give it a path without `:`",
        )
    found = path.stat()
    if found.st_mode & (OTHERS_OF_ROOT if found.st_uid == 0 else OTHERS):
        raise CommandError(
            f"others can get at the key `{path}`, so libpq does not take it",
            hint=f"chmod 600 {path}",
        )


def _check_times(path: Path, text: bytes) -> None:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(text)
        begins, ends = found.not_valid_before_utc, found.not_valid_after_utc
    except Exception as error:  # the parser has many kinds
        raise CommandError(
            f"`{path}` holds no certificate in PEM ({type(error).__name__})"
        ) from None
    if not begins.timestamp() <= time.time() < ends.timestamp():
        raise CommandError(
            f"the certificate `{path}` is in force from {begins:%Y-%m-%d %H:%M} to "
            f"{ends:%Y-%m-%d %H:%M} UTC, and not now",
            hint="get a new one from who signed it",
        )


def _check_pair(certificate: Path, key: Path) -> None:
    def ask() -> str:
        raise _NeedsPassphraseError

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, ask)
    except _NeedsPassphraseError:
        return
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise CommandError(
                f"`{key}` is not the key of the certificate `{certificate}`"
            ) from None
        reason = str(error.reason or "error").lower().replace("_", " ")
        raise CommandError(
            f"`{certificate}` and `{key}` cannot be used: {reason}",
            hint="both are PEM: first the client's own certificate, then who signed it",
        ) from None
