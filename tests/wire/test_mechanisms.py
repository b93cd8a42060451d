"""Mechanisms on a real socket: deadlines, privacy, and that control hears only what is whole."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sallyport.core.subject import Refused
from sallyport.protocols.base import Authentication
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.plugin import PostgresPlugin
from tests.support.authority import Authority
from tests.wire.rig import Certificates, Listener, listening
from tests.wire.test_plugin import STARTUP, Raw, raw

NOWHERE = Refused("no access")
SCRAM = Authentication("scram")
FIRST = messages.sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abcdefgh")
OFFER = replies.authentication(replies.AUTH_SASL, b"SCRAM-SHA-256\0\0")
PROOF = b"c=biws,r=abcdefgh" + b"A" * 24 + b",p=" + b"A" * 43 + b"="


@contextlib.asynccontextmanager
async def serving(
    authentication: Authentication, *, deadline: float = 5.0, **options: object
) -> AsyncIterator[Listener]:
    plugin = PostgresPlugin()
    plugin.configure({"login_timeout": deadline})
    async with listening(
        plugin,
        NOWHERE,
        authentication=authentication,
        **options,  # type: ignore[arg-type]
    ) as listener:
        yield listener
    plugin.close()


async def to_challenge(client: Raw) -> bytes:
    client.send(STARTUP)
    assert await client.reader.readexactly(len(OFFER)) == OFFER
    client.send(FIRST)
    head = await client.reader.readexactly(9)
    return head + await client.reader.readexactly(int.from_bytes(head[1:5], "big") - 8)


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_a_client_that_stalls_is_cut_off(steps: int) -> None:
    """Before the startup packet, before the first message, before the final one."""
    async with serving(SCRAM, deadline=0.5) as listener, raw(listener.port) as client:
        began = time.monotonic()
        if steps == 1:
            client.send(STARTUP)
            await client.reader.readexactly(len(OFFER))
            client.send(FIRST[:-1])
        elif steps == 2:
            await to_challenge(client)
            client.send(b"p")
        assert await client.rest() == b""
        assert 0.4 < time.monotonic() - began < 3
        assert listener.services.proofs == []
        assert len(listener.services.openings) == (1 if steps == 2 else 0)


async def test_a_client_that_drips_is_cut_off_too() -> None:
    async with serving(SCRAM, deadline=0.5) as listener, raw(listener.port) as client:
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            for byte in STARTUP + FIRST:
                client.send(bytes((byte,)))
                await client.writer.drain()
                await asyncio.sleep(0.02)
        await client.rest()
        assert time.monotonic() - began < 4
        assert listener.services.proofs == []


async def test_controls_own_time_is_not_the_clients() -> None:
    """A refusal that is told late (backoff) is told, though the client's time is over by then."""
    async with serving(SCRAM, deadline=0.5) as listener, raw(listener.port) as client:
        await to_challenge(client)
        listener.services.thinks = 0.8
        client.send(messages.sasl_response(PROOF))
        assert (await client.error())["M"] == "authentication failed"
        assert listener.services.proofs == [PROOF]


async def test_everything_at_once_is_no_exchange() -> None:
    """A final message cannot be made before the challenge."""
    async with serving(SCRAM) as listener, raw(listener.port) as client:
        client.send(STARTUP + FIRST + messages.sasl_response(PROOF))
        await client.reader.readexactly(len(OFFER))
        assert (await client.error())["C"] == "08P01"
        assert listener.services.openings == []


@pytest.mark.parametrize("mechanism", ["scram", "oauth", "certificate"])
async def test_nothing_is_asked_where_others_can_listen(mechanism: str) -> None:
    async with serving(Authentication(mechanism), local=False) as listener:
        async with raw(listener.port) as client:
            client.send(STARTUP)
            assert "over TLS alone" in (await client.error())["M"]
        assert (listener.services.openings, listener.services.evidence) == ([], [])


@pytest.mark.parametrize("mechanism", ["certificate", "kerberos"])
async def test_what_cannot_be_shown_lets_nobody_in(mechanism: str) -> None:
    async with serving(Authentication(mechanism)) as listener, raw(listener.port) as client:
        client.send(STARTUP + messages.password(b"sp_x"))
        assert (await client.error())["C"] == "28000"
        assert listener.services.evidence == []


async def test_a_certificate_reaches_control_as_it_was_shown(certificates: Certificates) -> None:
    authority = Authority()
    issued = authority.client("ann")
    wanted = Authentication("certificate")
    async with serving(
        wanted, certificates=certificates, required=True, client_ca=authority.certificate
    ) as listener:
        for shown in (issued, None, Authority("strangers").client("ann")):
            context = ssl.create_default_context(cadata=certificates.ca.decode())
            if shown is not None:
                with tempfile.TemporaryDirectory() as folder:
                    context.load_cert_chain(*shown.files(Path(folder), "client"))
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
            client = Raw(reader, writer)
            client.send(messages.SSL_REQUEST)
            assert await reader.readexactly(1) == b"S"
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.start_tls(context, server_hostname="localhost")
                client.send(STARTUP)
                await client.rest()
            writer.close()
    assert [one.certificate for one in listener.services.evidence] == [issued.der]
    assert listener.services.evidence[0].encrypted
