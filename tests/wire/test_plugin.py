"""The client leg: real clients through every way in, and hostile ones through none.

The relay of these tests passes bytes on as they are: what is tested is who gets that far.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from sallyport.core.subject import Refused
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols import registry
from sallyport.protocols.base import Wait
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.frames import Splitter
from sallyport.protocols.postgres.plugin import PostgresPlugin
from tests.wire.rig import DEBIAN, TOKEN, Certificates, Listener, grant_for, listening, rogue


def dsn(port: int, **more: str) -> str:
    words = {
        "host": "127.0.0.1", "port": str(port), "user": "app", "dbname": "orders",
        "password": TOKEN, "sslmode": "disable", "connect_timeout": "5", **more,
    }  # fmt: skip
    return " ".join(f"{name}='{value}'" for name, value in words.items())


async def sql(
    port: int, statement: str = "select current_user", **more: str
) -> list[tuple[object, ...]]:
    def run() -> list[tuple[object, ...]]:
        with psycopg.connect(dsn(port, **more), autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    return await asyncio.to_thread(run)


async def refused(port: int, **more: str) -> psycopg.OperationalError:
    with pytest.raises(psycopg.OperationalError) as caught:
        await sql(port, **more)
    return caught.value


@contextlib.asynccontextmanager
async def serving(postgres: EmbeddedPostgres, **options: object) -> AsyncIterator[Listener]:
    plugin = PostgresPlugin()
    grant = options.pop("grant", None) or grant_for(postgres.port)
    async with listening(plugin, grant, **options) as listener:  # type: ignore[arg-type]
        yield listener
    plugin.close()


class Raw:
    """A client that says whatever it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        """Everything up to the end."""
        async with asyncio.timeout(5):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def error(self) -> dict[str, str]:
        """The one error that is everything up to the end."""
        data = await self.rest()
        splitter = Splitter("target")
        splitter.feed(data)
        piece = splitter.next()
        assert piece is not None, data
        assert piece.type == frames.ERROR_RESPONSE, data
        assert splitter.between
        return replies.parse_fields(piece.body)


@contextlib.asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


STARTUP = messages.startup({"user": "app", "database": "orders"})


# --- real clients


async def test_psycopg_without_tls(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        assert await sql(listener.port, application_name="tour") == [("app",)]
        assert listener.services.asked == [("orders", "app", "tour", False)]
        assert await sql(listener.port, "show application_name", application_name="tour") == [
            ("tour",)
        ]


async def test_what_the_client_names_selects_and_grants_nothing(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        assert await sql(listener.port, dbname="orders/otherdb", user="postgres") == [("app",)]
        assert listener.services.asked[0][:2] == ("orders/otherdb", "postgres")


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
async def test_protocol_versions(postgres: EmbeddedPostgres, version: str) -> None:
    async with serving(postgres) as listener:
        assert await sql(listener.port, max_protocol_version=version) == [("app",)]
        expected = 8 if version == "3.0" else 36
        assert [len(key.value) for key in listener.services.keys] == [expected]


@pytest.mark.parametrize(
    "options",
    [
        {"sslmode": "require"},
        {"sslmode": "verify-full"},
        {"sslmode": "verify-full", "sslnegotiation": "direct"},
        {"sslmode": "prefer", "gssencmode": "prefer"},
    ],
)
async def test_tls(
    postgres: EmbeddedPostgres, certificates: Certificates, tmp_path: Path, options: dict[str, str]
) -> None:
    root = tmp_path / "ca.pem"
    root.write_bytes(certificates.ca)
    more = {"host": "localhost", "hostaddr": "127.0.0.1", "sslrootcert": str(root), **options}
    async with serving(postgres, certificates=certificates, required=True, local=False) as listener:
        assert await sql(listener.port, **more) == [("app",)]
        assert listener.services.asked[0][3] is True
        assert listener.services.evidence[0].encrypted is True


async def test_a_client_that_prefers_tls_goes_on_without_it_on_loopback(
    postgres: EmbeddedPostgres,
) -> None:
    async with serving(postgres) as listener:
        assert await sql(listener.port, sslmode="prefer", gssencmode="prefer") == [("app",)]


async def test_psql_18(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        assert await psql(postgres.binaries / "psql", dsn(listener.port), "select 6*7") == "42"


@pytest.mark.debian
async def test_psql_15_with_tls(postgres: EmbeddedPostgres, certificates: Certificates) -> None:
    if not (DEBIAN / "psql").exists():
        pytest.skip("Debian's postgresql-client-15 is not installed")
    async with serving(postgres, certificates=certificates, required=True, local=False) as listener:
        words = dsn(listener.port, sslmode="require")
        assert await psql(DEBIAN / "psql", words, "select 6*7") == "42"


async def psql(program: Path, words: str, statement: str) -> str:
    process = await asyncio.create_subprocess_exec(
        str(program), "-XqAt", "-c", statement, words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PGPASSWORD": TOKEN},
    )  # fmt: skip
    out, err = await process.communicate()
    assert err == b""
    return out.decode().strip()


async def test_asyncpg(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=listener.port, user="app", database="orders", password=TOKEN,
            ssl=False, server_settings={"search_path": "shop", "jit": "off"},
        )  # fmt: skip
        assert await connection.fetchval("show search_path") == "shop"
        await connection.close()


async def test_a_setting_of_the_client_is_the_sessions_default(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        options = "-c statement_timeout=12s -c search_path=shop"
        assert await sql(listener.port, "show statement_timeout", options=options) == [("12s",)]
        codec = listener.services.codecs[0]
        assert codec is not None


async def test_a_reader_is_read_only_whatever_it_asks_for(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres, grant=grant_for(postgres.port, write=False)) as listener:
        options = "-c default_transaction_read_only=off"
        assert await sql(listener.port, "show transaction_read_only", options=options) == [("on",)]


async def test_the_cancel_key_is_the_gateways_own(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:

        def run() -> None:
            with psycopg.connect(dsn(listener.port), autocommit=True) as connection:
                loop.call_soon_threadsafe(started.set_result, connection)
                with pytest.raises(psycopg.errors.QueryCanceled):
                    connection.execute("select pg_sleep(60)")
                assert connection.execute("select 1").fetchone() == (1,)

        loop = asyncio.get_running_loop()
        started: asyncio.Future[psycopg.Connection[tuple[object, ...]]] = loop.create_future()
        running = asyncio.create_task(asyncio.to_thread(run))
        await asyncio.wait({running, started}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running  # it could not connect, and says why
        connection = await started
        while "1" not in postgres.psql(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
        ):
            await asyncio.sleep(0.02)
        target_pids = postgres.psql(
            "select pid from pg_stat_activity where datname = 'app'"
        ).split()
        assert str(connection.info.backend_pid) not in target_pids
        await asyncio.to_thread(connection.cancel_safe)
        await running
        assert listener.services.cancelled == listener.services.keys


async def test_a_cancel_with_another_key_reaches_nothing(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        async with raw(listener.port) as client:
            client.send(messages.cancel_request(12345, b"nope"))
            assert await client.rest() == b""
        assert [key.value for key in listener.services.cancelled] == [b"\0\0\x30\x39nope"]


async def test_a_plain_cancel_is_taken_where_tls_is_required(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    """libpq before 17 knows no other kind."""
    async with serving(postgres, certificates=certificates, required=True, local=False) as listener:
        async with raw(listener.port) as client:
            client.send(messages.cancel_request(1, b"abcd"))
            assert await client.rest() == b""
        assert len(listener.services.cancelled) == 1


async def test_catalogue_and_parser_are_prepared_when_asked(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        await sql(listener.port)
        assert listener.services.prepare is not None
        await listener.services.prepare(Wait("parse", "select " + "1+" * 3000 + "1"))
        await listener.services.prepare(Wait("catalogue"))
        assert listener.services.side_grants == 1


# --- refusals


async def test_a_wrong_token_is_refused(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        error = await refused(listener.port, password="sp_wrong")
        assert "token not accepted" in str(error)
        assert "sp_wrong" not in str(error)
        assert listener.services.asked == []
        async with raw(listener.port) as client:
            client.send(STARTUP + messages.password(b"sp_wrong"))
            assert (await client.reader.read(9)) == replies.authentication(3)
            fields = await client.error()
        assert (fields["S"], fields["C"]) == ("FATAL", "28P01")


async def test_a_token_that_is_not_text_is_refused_like_a_wrong_one(
    postgres: EmbeddedPostgres,
) -> None:
    async with serving(postgres) as listener, raw(listener.port) as client:
        client.send(STARTUP + messages.password(b"\xff\xfe"))
        await client.reader.readexactly(9)
        assert (await client.error())["C"] == "28P01"


async def test_access_that_is_not_given_names_rule_reason_and_hint(
    postgres: EmbeddedPostgres,
) -> None:
    grant = Refused("agents may not reach `orders`", "ask the dba group", ("no-agents",))
    async with serving(postgres, grant=grant) as listener, raw(listener.port) as client:
        client.send(STARTUP + messages.password(TOKEN.encode()))
        await client.reader.readexactly(9)
        fields = await client.error()
        assert fields["C"] == "42501"
        assert fields["M"] == "agents may not reach `orders`"
        assert "no-agents" in fields["D"]
        assert fields["H"] == "ask the dba group"


async def test_plain_text_is_refused_where_tls_is_required(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    async with serving(postgres, certificates=certificates, required=True) as listener:
        assert "sslmode=require" in str(await refused(listener.port))
        assert listener.services.evidence == []


async def test_plain_text_from_elsewhere_is_refused_though_tls_is_optional(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    for context in (certificates, None):
        async with serving(postgres, certificates=context, local=False) as listener:
            assert "over TLS alone" in str(await refused(listener.port))
            assert listener.services.evidence == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"client_encoding": "LATIN1"}, "use UTF8"),
        ({"replication": "database"}, "replication is refused"),
        ({"options": "-c role=postgres"}, "`role` may not be given"),
        ({"options": "-c session_authorization=postgres"}, "may not be given"),
        ({"options": "-c work_mem=lots"}, "refuses a setting"),
    ],
)
async def test_what_a_startup_may_not_ask_for(
    postgres: EmbeddedPostgres, options: dict[str, str], words: str
) -> None:
    async with serving(postgres) as listener:
        assert words in str(await refused(listener.port, **options))


async def test_a_target_that_is_gone_is_said_so(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres, grant=grant_for(1)) as listener:
        assert "target `orders`: cannot connect" in str(await refused(listener.port))


async def test_a_target_that_refuses_the_credential_does_not_show_it(
    postgres: EmbeddedPostgres,
) -> None:
    grant = grant_for(postgres.port, credential="not-the-credential", login="app")
    async with serving(postgres, grant=grant) as listener:
        text = str(await refused(listener.port))
        assert "refuses the gateway's credential" in text
        assert "not-the-credential" not in text
        assert "password authentication" not in text


async def test_an_unknown_database_keeps_its_code(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port, database="nowhere")
    async with serving(postgres, grant=grant) as listener, raw(listener.port) as client:
        client.send(STARTUP + messages.password(TOKEN.encode()))
        await client.reader.readexactly(9)
        assert (await client.error())["C"] == "3D000"


async def test_a_rogue_target_is_not_quoted(postgres: EmbeddedPostgres) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"X\0\0\0\x10app-password")
        await reader.read()

    async with rogue(script) as port, serving(postgres, grant=grant_for(port)) as listener:
        text = str(await refused(listener.port))
        assert "cannot reach the target" in text
        assert "app-password" not in text


async def test_a_rogue_target_behind_its_login_starts_no_session(
    postgres: EmbeddedPostgres,
) -> None:
    ready = (
        replies.authentication(replies.AUTH_OK)
        + replies.parameter_status("client_encoding", "UTF8")
        + replies.parameter_status("standard_conforming_strings", "on")
        + replies.ready("I")
    )
    row = replies.data_row([b"public", b"app"])
    for answer in (
        b"",
        replies.ready("I"),
        row * 2 + replies.ready("I"),
        row + replies.ready("I") + b"Z",
    ):

        async def script(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer
        ) -> None:
            await reader.read(4096)
            writer.write(ready)
            await reader.read(4096)
            writer.write(answer)
            if answer:
                await reader.read()

        async with rogue(script) as port, serving(postgres, grant=grant_for(port)) as listener:
            await refused(listener.port)
            assert listener.services.codecs == []


# --- hostile clients


async def test_bytes_stuffed_behind_ssl_request_are_never_taken_for_protected(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    async with serving(postgres, certificates=certificates, required=True) as listener:
        async with raw(listener.port) as client:
            client.send(messages.SSL_REQUEST + STARTUP + messages.password(TOKEN.encode()))
            assert (await client.rest())[:1] == b"S"
        assert listener.services.evidence == []


async def test_bytes_stuffed_behind_ssl_request_break_the_handshake_of_an_honest_client(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    """Somebody in between puts plain bytes before the client's own ClientHello."""
    async with serving(postgres, certificates=certificates, required=True) as listener:

        def attack() -> None:
            context = ssl.create_default_context(cadata=certificates.ca.decode())
            with socket.create_connection(("127.0.0.1", listener.port), 5) as sock:
                sock.sendall(messages.SSL_REQUEST + STARTUP)
                assert sock.recv(1) == b"S"
                with pytest.raises((ssl.SSLError, OSError)):
                    context.wrap_socket(sock, server_hostname="localhost")

        await asyncio.to_thread(attack)
        assert listener.services.evidence == []


async def test_encryption_requests_come_once_each(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        async with raw(listener.port) as client:
            client.send(messages.GSSENC_REQUEST + messages.SSL_REQUEST + STARTUP)
            assert await client.reader.readexactly(11) == b"NN" + replies.authentication(3)
        for request in (messages.SSL_REQUEST, messages.GSSENC_REQUEST):
            async with raw(listener.port) as client:
                client.send(request + request + STARTUP)
                assert await client.rest() in (b"N", b"")  # a reset may overtake it


async def test_direct_tls_needs_the_protocols_name(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    async with serving(postgres, certificates=certificates) as listener:
        for names in ([], ["http/1.1"]):

            def attack(names: list[str] = names) -> bytes:
                context = ssl.create_default_context(cadata=certificates.ca.decode())
                if names:
                    context.set_alpn_protocols(names)
                with (
                    socket.create_connection(("127.0.0.1", listener.port), 5) as sock,
                    context.wrap_socket(sock, server_hostname="localhost") as tls,
                ):
                    tls.sendall(STARTUP)
                    return tls.recv(100)

            with contextlib.suppress(OSError):
                assert await asyncio.to_thread(attack) == b""
        assert listener.services.evidence == []


async def test_direct_tls_without_a_certificate_ends(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener, raw(listener.port) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01")
        assert await client.rest() == b""


async def test_an_ssl_request_inside_tls_is_refused(
    postgres: EmbeddedPostgres, certificates: Certificates
) -> None:
    async with serving(postgres, certificates=certificates) as listener:

        def attack() -> bytes:
            context = ssl.create_default_context(cadata=certificates.ca.decode())
            context.set_alpn_protocols(["postgresql"])
            with (
                socket.create_connection(("127.0.0.1", listener.port), 5) as sock,
                context.wrap_socket(sock, server_hostname="localhost") as tls,
            ):
                tls.sendall(messages.SSL_REQUEST)
                return tls.recv(1000)

        assert b"08P01" in await asyncio.to_thread(attack)


async def test_a_login_byte_by_byte(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener, raw(listener.port) as client:
        for byte in messages.GSSENC_REQUEST + STARTUP + messages.password(TOKEN.encode()):
            client.send(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await client.reader.readuntil(replies.ready("I"))
        client.send(messages.query("select 1"))
        async with asyncio.timeout(5):
            assert b"SELECT 1" in await client.reader.readuntil(replies.ready("I"))


async def test_a_slow_login_is_cut_off(postgres: EmbeddedPostgres) -> None:
    plugin = PostgresPlugin()
    plugin.configure({"login_timeout": 0.3})
    async with listening(plugin, grant_for(postgres.port)) as listener:
        for opening in (b"", b"\0\0", STARTUP[:20], STARTUP, STARTUP + b"p\0"):
            async with raw(listener.port) as client:
                client.send(opening)
                data = await client.rest()
                assert data in (b"", replies.authentication(3))
        assert listener.services.evidence == []
    plugin.close()


@pytest.mark.parametrize(
    "opening",
    [
        struct.pack(">II", 0x7FFFFFFF, messages.PROTOCOL_3_0),
        struct.pack(">II", 0xFFFFFFFF, messages.PROTOCOL_3_0),
        struct.pack(">II", 10_001, messages.PROTOCOL_3_0),
        struct.pack(">II", 8, messages.PROTOCOL_3_0),
        struct.pack(">II", 4, messages.PROTOCOL_3_0),
        struct.pack(">II", 0, 0),
        struct.pack(">II", 12, messages.SSL_CODE) + b"\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        STARTUP + b"Q" + struct.pack(">I", 0x7FFFFFFF),
        STARTUP + b"p" + struct.pack(">I", 0x7FFFFFFF),
        STARTUP + messages.query("select 1"),
        STARTUP + messages.password(TOKEN.encode()) + messages.query("select 1"),
    ],
)
async def test_a_malformed_login_is_told_so_and_ends(
    postgres: EmbeddedPostgres, opening: bytes
) -> None:
    async with serving(postgres) as listener, raw(listener.port) as client:
        client.send(opening)
        data = await client.rest()
        assert b"C08P01\0" in data
        assert b"SFATAL\0" in data
        assert listener.services.evidence == []


async def test_a_client_that_leaves_early_leaves_nothing(postgres: EmbeddedPostgres) -> None:
    async with serving(postgres) as listener:
        for opening in (b"", b"\0", messages.SSL_REQUEST, STARTUP, STARTUP + b"p\0\0"):
            async with raw(listener.port) as client:
                client.send(opening)
        assert await sql(listener.port) == [("app",)]


# --- the registry


def test_the_plugin_is_found_and_kept_to_its_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from sallyport.core.errors import ConfigError

    def entries(*values: str):  # type: ignore[no-untyped-def]
        found = [EntryPoint("postgres", value, registry.GROUP) for value in values]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)

    ours = "sallyport.protocols.postgres.plugin:PostgresPlugin"
    entries(ours)
    assert registry.known() == ("postgres",)
    assert isinstance(registry.load(["postgres"])["postgres"], PostgresPlugin)
    with pytest.raises(ConfigError, match="`mysql` is not installed; installed: `postgres`"):
        registry.load(["mysql"])
    for broken, words in (
        ((ours, "other:Plugin"), "twice"),
        (("sallyport.nowhere:Plugin",), "does not load"),
        (("sallyport.protocols.postgres.plugin:Nothing",), "does not load"),
        (("builtins:dict",), "contract"),
        (("sallyport.protocols.postgres.plugin:LOGIN_DEADLINE",), "no plugin"),
    ):
        entries(*broken)
        with pytest.raises(ConfigError, match=words):
            registry.load(["postgres"])
