"""Dialling: the legs towards targets. It takes grants, and nothing else."""

from __future__ import annotations

import asyncio
import ssl

from sallyport.connect.direct import dial
from sallyport.connect.tls import target_context
from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.core.subject import Secret
from sallyport.protocols.base import Leg
from sallyport.session.leg import SharedBuffer, StreamLeg

HANDSHAKE = 10.0
"""Seconds that a target has for its TLS handshake."""


class Dialling:
    """Dials with one read buffer for all its legs."""

    def __init__(self, shared: SharedBuffer) -> None:
        self._shared = shared

    async def dial(self, grant: Grant) -> StreamLeg:
        """Reach the target, plain. Raises: TargetUnavailable."""
        loop = asyncio.get_running_loop()
        return await dial(grant.target, lambda: StreamLeg(self._shared, loop))

    async def start_tls(
        self, grant: Grant, leg: Leg, alpn: tuple[str, ...] = (), identity: Secret | None = None
    ) -> StreamLeg:
        """Encrypt a dialled leg as the target's `tls` setting demands. Raises: TargetUnavailable.

        `alpn` are the protocols offered; `identity` is the client certificate with its key (PEM).

        FAILS CLOSED: bytes that arrived before the handshake would be taken for protected ones.
        """
        if not isinstance(leg, StreamLeg):
            raise TypeError("only a leg that was dialled here can be encrypted")
        target = grant.target
        if leg.unread():
            leg.abort()
            raise TargetUnavailable(target.name, "plain bytes came before the TLS handshake")
        address = target.address
        name = address.server_name or (None if address.host.startswith("/") else address.host)
        try:
            context = target_context(address, alpn, identity)
            transport = await asyncio.get_running_loop().start_tls(
                leg.transport,
                leg,
                context,
                server_hostname=name or target.name,
                ssl_handshake_timeout=HANDSHAKE,
            )
        except (ssl.SSLError, ssl.CertificateError, OSError, ValueError, TimeoutError) as error:
            leg.abort()
            reason = (
                getattr(error, "verify_message", "") or getattr(error, "reason", "") or "failed"
            )
            raise TargetUnavailable(target.name, f"TLS: {str(reason).lower()}") from None
        if transport is None:
            raise TargetUnavailable(target.name, "TLS: the connection was lost")
        leg.bind(transport)
        return leg
