"""TLS towards a target: what its certificate must show before a credential is sent."""

from __future__ import annotations

import os
import ssl

from sallyport.core.grant import TargetAddress
from sallyport.core.subject import Secret


def target_context(
    address: TargetAddress, alpn: tuple[str, ...] = (), identity: Secret | None = None
) -> ssl.SSLContext:
    """Return the context that `address.tls` demands, with a client certificate where there is one.

    `require` encrypts and verifies nothing, `verify-ca` checks the chain, `verify-full` the name
    too. FAILS CLOSED: any other word is a ValueError; there is no fallback to plain text.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if identity is not None:
        _load(context, identity.reveal())
    if address.tls == "require":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if address.tls not in ("verify-ca", "verify-full"):
        raise ValueError(f"`{address.tls}` is no way to verify a target")
    context.check_hostname = address.tls == "verify-full"
    if address.ca:
        context.load_verify_locations(cadata=address.ca)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def listener_context(
    certificate: bytes,
    key: bytes,
    client_ca: bytes | None = None,
    alpn: tuple[str, ...] = (),
) -> ssl.SSLContext:
    """Return a listener's context from PEM. Raises: ssl.SSLError when they do not fit.

    `alpn` are the protocols that its own speaks under TLS, the best first.

    With `client_ca`, a certificate that a client shows must lead to one of these authorities, else
    the handshake fails. A client that shows none gets through the handshake, so that its protocol
    can tell it what is missing: whoever serves it must look.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.options |= ssl.OP_NO_RENEGOTIATION
    _load(context, certificate + b"\n" + key + b"\n")
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
        context.num_tickets = 0  # a resumed session would not look at the certificate again
        context.options |= ssl.OP_NO_TICKET
    return context


def _load(context: ssl.SSLContext, identity: bytes) -> None:
    """Load a certificate with its key. The ssl module takes them from files alone: one in memory,
    without a name, then."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def leaf(certificate: bytes) -> bytes:
    """Return the first certificate of a PEM chain as DER. Raises: ValueError."""
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    start = certificate.find(begin)
    stop = certificate.find(end, start)
    if start < 0 or stop < 0:
        raise ValueError("no certificate in PEM")
    return ssl.PEM_cert_to_DER_cert(certificate[start : stop + len(end)].decode("ascii"))
