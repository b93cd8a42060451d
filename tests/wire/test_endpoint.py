"""The target leg against real servers (PostgreSQL 18, and 15 with TLS) and against rogues."""

from __future__ import annotations

import asyncio

import pytest

from sallyport.connect.tls import listener_context
from sallyport.core.errors import ProtocolViolation, SallyportError, TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres import endpoint, messages, replies
from sallyport.protocols.postgres.endpoint import (
    Catalogues,
    SideConnection,
    cancel_target,
    open_target,
)
from sallyport.protocols.postgres.inspect import inspect
from sallyport.session.leg import SharedBuffer
from tests.wire.rig import Certificates, DebianPostgres, RigServices, grant_for, rogue


def services(grant: Grant) -> RigServices:
    return RigServices(grant, SharedBuffer())


async def ask(
    grant: Grant, sql: str, settings: dict[str, str] | None = None
) -> list[list[str | None]]:
    leg, _ = await open_target(services(grant), grant, settings or {})
    side = SideConnection(leg, "orders")
    try:
        rows = await side.query(sql)
        assert side.quiet
    finally:
        side.close()
    return rows


# --- PostgreSQL 18


async def test_scram_with_protocol_3_2(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port)
    leg, login = await open_target(services(grant), grant, {"application_name": "psql"})
    assert login.method == "scram-sha-256"
    assert login.version == messages.PROTOCOL_3_2
    assert login.key is not None
    assert len(login.key.key) == 32
    assert login.parameters["application_name"] == "psql"
    leg.close()


async def test_enforced_settings_are_defaults_that_reset_returns_to(
    postgres: EmbeddedPostgres,
) -> None:
    grant = grant_for(postgres.port, write=False)
    leg, _ = await open_target(services(grant), grant, {"geqo": "off"})
    side = SideConnection(leg, "orders")
    await side.query("discard all")
    await side.query("reset all")
    for name, value in {
        "default_transaction_read_only": "on",
        "client_encoding": "UTF8",
        "standard_conforming_strings": "on",
        "geqo": "off",
    }.items():
        assert await side.query(f"show {name}") == [[value]]
    with pytest.raises(TargetUnavailable, match="25006"):
        await side.query("create table t (a int)")
    assert await side.query("select 1") == [["1"]]
    side.close()


async def test_cells_come_as_text(postgres: EmbeddedPostgres) -> None:
    sql = "select null, '', 'é', i from generate_series(1, 3000) i"
    rows = await ask(grant_for(postgres.port), sql)
    assert len(rows) == 3000
    assert rows[-1] == [None, "", "é", "3000"]


async def test_a_wrong_credential_tells_nothing(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port, credential="wrong-credential")
    with pytest.raises(TargetUnavailable) as caught:
        await open_target(services(grant), grant, {})
    assert "wrong-credential" not in str(caught.value)
    assert "refuses the gateway's credential" in str(caught.value)


async def test_an_unknown_database_keeps_its_code(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port, database="nowhere")
    with pytest.raises(TargetUnavailable) as caught:
        await open_target(services(grant), grant, {})
    assert getattr(caught.value, "code", "") == "3D000"


async def test_a_setting_that_does_not_parse_keeps_its_code(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port)
    with pytest.raises(TargetUnavailable) as caught:
        await open_target(services(grant), grant, {"work_mem": "lots"})
    assert getattr(caught.value, "code", "") == "22023"


async def test_nobody_listens() -> None:
    grant = grant_for(1)
    with pytest.raises(TargetUnavailable, match="cannot connect"):
        await open_target(services(grant), grant, {})


async def test_a_cancel_ends_the_running_statement(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port)
    own = services(grant)
    leg, login = await open_target(own, grant, {})
    side = SideConnection(leg, "orders")
    running = asyncio.create_task(side.query("select pg_sleep(60)"))
    watcher = grant_for(postgres.port)
    while not await ask(
        watcher, "select 1 from pg_stat_activity where query like 'select pg_sleep%'"
    ):
        await asyncio.sleep(0.02)
    assert login.key is not None
    await cancel_target(own, grant, login.key)
    with pytest.raises(TargetUnavailable, match="57014"):
        await running
    assert await side.query("select 1") == [["1"]]
    side.close()


async def test_a_password_beyond_ascii(postgres: EmbeddedPostgres) -> None:
    for role, password in (("soft", "I\u00adX\u2168 \u00e9"), ("ctrl", "x\u0007\u00e9\u0627")):
        postgres.psql(f"create role {role} login password '{password}'")
        grant = grant_for(postgres.port, login=role, credential=password, database="postgres")
        assert await ask(grant, "select current_user") == [[role]]


# --- PostgreSQL 15, with TLS


@pytest.mark.parametrize(
    ("role", "tls", "method"),
    [
        ("scram", "verify-full", "scram-sha-256-plus"),
        ("scram", "verify-ca", "scram-sha-256-plus"),
        ("scram", "require", "scram-sha-256-plus"),
        ("scram", "disable", "scram-sha-256"),
        ("clear", "verify-full", "password"),
        ("clear", "disable", "password"),
        ("md5", "disable", "md5"),
        ("trust", "verify-full", "trust"),
    ],
)
async def test_ways_in(debian: DebianPostgres, role: str, tls: str, method: str) -> None:
    ca = debian.certificates.ca if tls.startswith("verify") else None
    grant = grant_for(
        debian.port, login=role, credential=f"{role}-password", database="postgres", tls=tls, ca=ca
    )
    leg, login = await open_target(services(grant), grant, {})
    assert login.method == method
    assert login.version == messages.PROTOCOL_3_0  # 15 negotiates it down
    side = SideConnection(leg, "orders")
    encrypted = await side.query("select ssl from pg_stat_ssl where pid = pg_backend_pid()")
    assert encrypted == [["f" if tls == "disable" else "t"]]
    side.close()


async def test_md5_over_tls_needs_the_setting(debian: DebianPostgres) -> None:
    more = {
        "login": "md5",
        "credential": "md5-password",
        "database": "postgres",
        "tls": "verify-full",
        "ca": debian.certificates.ca,
    }
    refused = grant_for(debian.port, **more)  # type: ignore[arg-type]
    with pytest.raises(TargetUnavailable, match="md5"):
        await open_target(services(refused), refused, {})
    allowed = grant_for(debian.port, settings={"md5": True}, **more)  # type: ignore[arg-type]
    assert await ask(allowed, "select 1") == [["1"]]


async def test_a_unix_socket(debian: DebianPostgres) -> None:
    grant = grant_for(
        debian.port,
        host=str(debian.folder),
        login="md5",
        credential="md5-password",
        database="postgres",
    )
    assert await ask(grant, "select current_user") == [["md5"]]


async def test_a_cancel_goes_by_tls_too(debian: DebianPostgres) -> None:
    grant = grant_for(
        debian.port,
        login="scram",
        credential="scram-password",
        database="postgres",
        tls="verify-full",
        ca=debian.certificates.ca,
    )
    own = services(grant)
    leg, login = await open_target(own, grant, {})
    side = SideConnection(leg, "orders")
    running = asyncio.create_task(side.query("select pg_sleep(60)"))
    while (
        debian.psql(
            "select count(*) from pg_stat_activity where query like 'select pg_sleep%'"
        ).strip()
        != "1"
    ):
        await asyncio.sleep(0.02)
    assert login.key is not None
    await cancel_target(own, grant, login.key)
    with pytest.raises(TargetUnavailable, match="57014"):
        await running
    side.close()


async def test_a_certificate_of_another_authority_is_refused(debian: DebianPostgres) -> None:
    grant = grant_for(
        debian.port,
        login="scram",
        credential="scram-password",
        database="postgres",
        tls="verify-full",
        ca=Certificates().ca,
    )
    with pytest.raises(TargetUnavailable, match="TLS"):
        await open_target(services(grant), grant, {})
    report = await inspect(services(grant), grant)
    assert "name the authority that signed it: `tls: {ca:" in report.findings[0].text


async def test_a_certificate_of_another_name_is_refused(debian: DebianPostgres) -> None:
    grant = grant_for(
        debian.port,
        login="scram",
        credential="scram-password",
        database="postgres",
        tls="verify-full",
        ca=debian.certificates.ca,
        server_name="elsewhere",
    )
    with pytest.raises(TargetUnavailable, match="TLS"):
        await open_target(services(grant), grant, {})
    report = await inspect(services(grant), grant)
    assert "`tls: {server_name: NAME}`" in report.findings[0].text


async def test_tls_is_never_fallen_back_from(postgres: EmbeddedPostgres) -> None:
    for tls in ("require", "verify-ca", "verify-full"):
        grant = grant_for(postgres.port, tls=tls)  # built without TLS
        with pytest.raises(TargetUnavailable, match="does not speak TLS"):
            await open_target(services(grant), grant, {})


# --- rogues


SECRET = b"app-password"


def answering(*answers: bytes):  # type: ignore[no-untyped-def]
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(4096))
        for answer in answers:
            writer.write(answer)
            await writer.drain()
            seen.append(await reader.read(4096))

    return script, seen


@pytest.mark.parametrize("answer", [b"N", b"E", b"SS", b"S" + b"\x15\x03\x01", b"X", b"G"])
async def test_an_answer_to_ssl_request_that_is_not_s_ends_it(answer: bytes) -> None:
    script, seen = answering(answer)
    async with rogue(script) as port:
        grant = grant_for(port, tls="require")
        with pytest.raises(TargetUnavailable):
            await open_target(services(grant), grant, {})
        await asyncio.sleep(0.02)
    assert seen[0] == messages.SSL_REQUEST
    assert b"".join(seen[1:]) == b""


async def test_plain_bytes_after_s_never_pass_for_encrypted() -> None:
    stuffed = replies.authentication(replies.AUTH_OK)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"S")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(stuffed)
        await reader.read()

    async with rogue(script) as port:
        grant = grant_for(port, tls="require")
        with pytest.raises(TargetUnavailable, match="TLS"):
            await open_target(services(grant), grant, {})


@pytest.mark.parametrize(
    "answer",
    [
        replies.authentication(replies.AUTH_CLEARTEXT),
        replies.authentication(replies.AUTH_MD5, b"salt"),
        replies.authentication(replies.AUTH_OK),
    ],
)
async def test_a_rogue_behind_unverified_tls_gets_nothing(
    answer: bytes, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = listener_context(certificates.certificate, certificates.key)
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(b"S")
        await writer.drain()
        await writer.start_tls(context)
        seen.append(await reader.read(4096))
        writer.write(answer)
        seen.append(await reader.read(4096))

    # as if the target were elsewhere: what holds on loopback does not hold there
    monkeypatch.setattr(endpoint, "is_local", lambda address: False)
    async with rogue(script) as port:
        grant = grant_for(port, tls="require")
        with pytest.raises(TargetUnavailable):
            await open_target(services(grant), grant, {})
        await asyncio.sleep(0.02)
    assert seen[0].endswith(b"standard_conforming_strings\0on\0\0")  # the rogue spoke TLS
    assert not any(SECRET in chunk for chunk in seen)
    assert b"".join(seen[1:]) == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"R\x7f\xff\xff\xff",
        b"R\xff\xff\xff\xff",
        b"R\0\0\0\4",
        b"\0\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"D\0\0\0\6\xff\xff",
        b"T\0\0\0\6\xff\xff",
        b"v\0\0\0\x0c\0\3\0\0\xff\xff\xff\xff",
    ],
)
async def test_garbage_ends_it_with_a_declared_error(answer: bytes) -> None:
    script, _ = answering(answer)
    async with rogue(script) as port:
        grant = grant_for(port)
        with pytest.raises(SallyportError):
            await open_target(services(grant), grant, {})


async def test_a_silent_target_ends_by_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LOGIN_DEADLINE", 0.2)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with rogue(script) as port:
        for tls in ("disable", "require"):
            grant = grant_for(port, tls=tls)
            with pytest.raises(TargetUnavailable, match="no login within"):
                await open_target(services(grant), grant, {})


async def test_a_pooler_that_knows_3_0_alone_is_dialled_again() -> None:
    versions: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(8)
        versions.append(head[4:])
        await reader.read(4096)
        if head[6:] != b"\0\0":
            writer.write(
                replies.error("08P01", "unsupported frontend protocol 3.2", severity="FATAL")
            )
            return
        writer.write(
            replies.authentication(replies.AUTH_OK)
            + replies.parameter_status("client_encoding", "UTF8")
            + replies.parameter_status("standard_conforming_strings", "on")
            + replies.ready("I")
        )
        await reader.read()

    async with rogue(script) as port:
        grant = grant_for(port)
        leg, login = await open_target(services(grant), grant, {})
        assert login.version == messages.PROTOCOL_3_0
        leg.close()
    assert versions == [b"\0\3\0\2", b"\0\3\0\0"]


async def test_a_target_that_answers_a_query_with_nonsense(postgres: EmbeddedPostgres) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        writer.write(
            replies.authentication(replies.AUTH_OK)
            + replies.parameter_status("client_encoding", "UTF8")
            + replies.parameter_status("standard_conforming_strings", "on")
            + replies.ready("I")
        )
        await reader.read(4096)
        writer.write(b"D\0\0\0\x0a\xff\xff\0\0\0\0")
        await reader.read()

    async with rogue(script) as port:
        with pytest.raises(ProtocolViolation):
            await ask(grant_for(port), "select 1")


# --- catalogues


async def test_a_catalogue_is_taken_kept_and_forgotten(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port)
    own = services(grant)
    catalogues = Catalogues()
    assert catalogues.latest("orders", "app") is None
    await asyncio.gather(*(catalogues.refresh(own, "orders", "app") for _ in range(20)))
    assert own.side_grants == 1
    snapshot = catalogues.latest("orders", "app")
    assert snapshot is not None
    assert snapshot.relation(("public", "fresh_table")) is None
    await catalogues.refresh(own, "orders", "app")
    assert catalogues.latest("orders", "app") is snapshot  # nothing changed
    postgres.psql("create table fresh_table (a int, b text)", "app")
    assert catalogues.latest("orders", "app") is snapshot
    catalogues.stale("orders", "app")
    assert catalogues.latest("orders", "app") is None
    await catalogues.refresh(own, "orders", "app")
    after = catalogues.latest("orders", "app")
    assert after is not None
    assert after.relation(("public", "fresh_table")) is not None
    catalogues.stale("orders", "other")
    assert catalogues.latest("orders", "app") is after
    postgres.psql("drop table fresh_table", "app")
    await catalogues.refresh(own, "orders", "app")
    last = catalogues.latest("orders", "app")
    assert last is not None
    assert last.relation(("public", "fresh_table")) is None
    assert own.side_grants == 1
    catalogues.close()


async def test_a_side_connection_that_was_cut_is_made_again(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port)
    own = services(grant)
    catalogues = Catalogues()
    await catalogues.refresh(own, "orders", "app")
    postgres.psql(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sallyport catalogue'"
    )
    await catalogues.refresh(own, "orders", "app")
    assert own.side_grants == 2
    catalogues.close()


async def test_a_refresh_that_fails_fails_for_all_and_can_be_tried_again(
    postgres: EmbeddedPostgres,
) -> None:
    bad, good = grant_for(postgres.port, credential="wrong"), grant_for(postgres.port)
    own = services(bad)
    catalogues = Catalogues()
    outcomes = await asyncio.gather(
        *(catalogues.refresh(own, "orders", "app") for _ in range(3)), return_exceptions=True
    )
    assert all(isinstance(outcome, TargetUnavailable) for outcome in outcomes)
    assert catalogues.latest("orders", "app") is None
    own.grant = good
    await catalogues.refresh(own, "orders", "app")
    assert catalogues.latest("orders", "app") is not None
    catalogues.close()


async def test_a_refresh_goes_on_when_who_asked_has_left(postgres: EmbeddedPostgres) -> None:
    own = services(grant_for(postgres.port))
    catalogues = Catalogues()
    first = asyncio.create_task(catalogues.refresh(own, "orders", "app"))
    second = asyncio.create_task(catalogues.refresh(own, "orders", "app"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert catalogues.latest("orders", "app") is not None
    catalogues.close()


async def test_a_refresh_asked_for_as_another_ends(postgres: EmbeddedPostgres) -> None:
    """Between the end of a task and the call that tells of it, others run: nobody may spin there."""
    own = services(grant_for(postgres.port))
    catalogues = Catalogues()
    running = asyncio.all_tasks()
    asked = asyncio.create_task(catalogues.refresh(own, "orders", "app"))
    await asyncio.sleep(0)
    (taking,) = asyncio.all_tasks() - running - {asked}
    while not taking.done():
        await asyncio.sleep(0)
    await catalogues.refresh(own, "orders", "app")
    await asked
    assert catalogues.latest("orders", "app") is not None
    catalogues.close()


# --- inspection


def texts(report: object) -> list[str]:
    return [finding.text for finding in report.findings]  # type: ignore[attr-defined]


async def test_a_plain_login_is_found_harmless(postgres: EmbeddedPostgres) -> None:
    postgres.psql("create role plain_one login password 'plain-password'")
    grant = grant_for(postgres.port, login="plain_one", credential="plain-password")
    report = await inspect(services(grant), grant)
    assert report.reachable
    assert report.facts["server version"].startswith("18")
    assert report.facts["authentication"] == "scram-sha-256"
    assert report.findings == ()


async def test_a_logins_powers_are_found(postgres: EmbeddedPostgres) -> None:
    postgres.psql(
        "create role mighty login createrole replication bypassrls password 'mighty-password';"
        "grant pg_read_server_files, pg_signal_backend to mighty"
    )
    grant = grant_for(postgres.port, login="mighty", credential="mighty-password")
    found = texts(await inspect(services(grant), grant))
    for words in (
        "create roles",
        "replicate",
        "row security",
        "pg_read_server_files",
        "pg_signal_backend",
    ):
        assert any(words in text for text in found), words
    root = grant_for(postgres.port, login="postgres", credential=postgres.password)
    report = await inspect(services(root), root)
    assert "superuser" in report.findings[0].text
    assert report.findings[0].state == "failed"
    owner = grant_for(postgres.port)
    assert any("owns the database" in text for text in texts(await inspect(services(owner), owner)))


async def test_trust_is_found(debian: DebianPostgres) -> None:
    ca = debian.certificates.ca
    grant = grant_for(
        debian.port,
        login="trust",
        credential="unneeded",
        database="postgres",
        tls="verify-full",
        ca=ca,
    )
    report = await inspect(services(grant), grant)
    assert any("without a credential" in text for text in texts(report))
    assert report.facts["tls"].startswith("TLSv1.3")
    honest = grant_for(
        debian.port,
        login="scram",
        credential="scram-password",
        database="postgres",
        tls="verify-full",
        ca=ca,
    )
    assert not any(
        "without a credential" in text for text in texts(await inspect(services(honest), honest))
    )


async def test_a_target_that_refuses_is_a_finding(postgres: EmbeddedPostgres) -> None:
    grant = grant_for(postgres.port, credential="wrong-credential")
    report = await inspect(services(grant), grant)
    assert report.findings[0].state == "failed"
    assert "wrong-credential" not in str(report)
    gone = await inspect(services(grant_for(1)), grant_for(1))
    assert not gone.reachable
