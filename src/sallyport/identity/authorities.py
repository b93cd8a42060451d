"""Authorities: who vouches for an issuer's https, as PEM that somebody else wrote."""

from __future__ import annotations

import ssl
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

MAXIMUM_AUTHORITIES: Final = 256 * 1024
"""Characters of PEM that are told, and taken from whoever tells them."""


def verifying(pem: str | None) -> ssl.SSLContext:
    """Return what believes these authorities and no others; None: the system's.

    Raises: ValueError for what is no PEM of certificates. Empty is that too, for to OpenSSL it
    would stand for the system's.
    """
    if pem is not None and not pem.strip():
        raise ValueError("`ca` is not a PEM of certificates (it is empty)")
    try:
        return ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: it is not ASCII
        raise ValueError(f"`ca` is not a PEM of certificates ({error})") from None


def told_authorities(pem: str | None) -> str:
    """Return the certificates of a PEM, to tell anybody; None: "", for the system's.

    INVARIANT: they are written anew. Whatever else a file holds, a key for instance, is not told.
    Raises: ValueError where they cannot be told, for whoever is told nothing believes the system's.
    """
    if pem is None:
        return ""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        text = "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in found)
    except Exception as error:  # the parser has many kinds
        raise ValueError(f"`ca` is not a PEM of certificates ({type(error).__name__})") from None
    if len(text) > MAXIMUM_AUTHORITIES:
        raise ValueError(
            f"`ca` holds more than {MAXIMUM_AUTHORITIES} characters, too many to tell those who "
            "log in there: name who vouches for this issuer alone"
        )
    return text


def taken_authorities(pem: str) -> ssl.SSLContext | None:
    """Return what believes what a gateway told; None: it told nothing. Raises: ValueError."""
    if not pem:
        return None
    if len(pem) > MAXIMUM_AUTHORITIES:
        raise ValueError(f"`ca` is longer than {MAXIMUM_AUTHORITIES} characters")
    return verifying(pem)
