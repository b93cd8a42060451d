"""What wire tests stand on: a plugin behind a real listener, a PostgreSQL 15 with TLS, rogues."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import os
import pwd
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from sallyport.connect.tls import listener_context
from sallyport.core.grant import Grant, Target, TargetAddress
from sallyport.core.subject import (
    UNSTATED,
    Challenge,
    Evidence,
    Opening,
    Proven,
    Refused,
    Secret,
    Stated,
    Subject,
)
from sallyport.demo.server import free_port
from sallyport.protocols.base import (
    Authentication,
    CancelKey,
    Codec,
    Connection,
    Leg,
    Plugin,
    Wait,
)
from sallyport.session.connection import AcceptedConnection
from sallyport.session.dialling import Dialling
from sallyport.session.leg import SharedBuffer, StreamLeg
from sallyport.session.services import WorkerServices

DEBIAN = Path("/usr/lib/postgresql/15/bin")
TOKEN = "sp_a-token-that-is-good"


class Certificates:
    """A CA and a server certificate for localhost and 127.0.0.1, as PEM."""

    def __init__(self, *, ed: bool = False, name: str = "localhost") -> None:
        ca_key = ec.generate_private_key(ec.SECP256R1())
        signing = ed25519.Ed25519PrivateKey.generate() if ed else ca_key
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        algorithm = None if ed else hashes.SHA256()

        def build(
            whose: x509.Name, public: object, names: list[x509.GeneralName] | None
        ) -> x509.Certificate:
            builder = (
                x509.CertificateBuilder()
                .subject_name(whose)
                .issuer_name(issuer)
                .public_key(public)  # type: ignore[arg-type]
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1))
                .not_valid_after(now + datetime.timedelta(days=1))
                .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), True)
            )
            if names is not None:
                builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
            return builder.sign(signing, algorithm)

        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if name == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        pem = serialization.Encoding.PEM
        self.ca = build(issuer, signing.public_key(), None).public_bytes(pem)
        self.certificate = build(subject, key.public_key(), names).public_bytes(pem)
        self.key = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class DebianPostgres:
    """Debian's PostgreSQL 15 with TLS, run as `postgres`; logins by SCRAM, md5, password, trust."""

    ROLES = {"scram": "scram-sha-256", "md5": "md5", "clear": "password", "trust": "trust"}

    def __init__(self, certificates: Certificates) -> None:
        self.certificates = certificates
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="sallyport-tls-"))
        account = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
        self._user = account.pw_uid if account else None
        self._group = account.pw_gid if account else None
        if account is not None:
            os.chown(self.folder, account.pw_uid, account.pw_gid)

    def run(self, program: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [str(DEBIAN / program), *arguments],
            input=text,
            stdout=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "psql" else subprocess.DEVNULL,
            text=True,
            check=True,
            cwd=self.folder,
            extra_groups=[] if self._user is not None else None,
            user=self._user,
            group=self._group,
        )
        return done.stdout or ""

    def __enter__(self) -> DebianPostgres:
        data = self.folder / "data"
        self.run(
            "initdb",
            "-D",
            str(data),
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "-A",
            "trust",
            "-N",
        )
        for name, content in (
            ("server.crt", self.certificates.certificate),
            ("server.key", self.certificates.key),
        ):
            path = data / name
            path.write_bytes(content)
            path.chmod(0o600)
            if self._user is not None and self._group is not None:
                os.chown(path, self._user, self._group)
        rules = ["local all postgres trust"]
        for role, method in self.ROLES.items():
            rules += [f"hostssl all {role} 127.0.0.1/32 {method}", f"local all {role} {method}"]
            if role != "trust":
                rules.append(f"hostnossl all {role} 127.0.0.1/32 {method}")
        (data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
        words = f"-c listen_addresses=127.0.0.1 -c port={self.port} -c ssl=on -c fsync=off -c unix_socket_directories={self.folder}"
        self.run(
            "pg_ctl", "-w", "-D", str(data), "-l", str(self.folder / "log"), "-o", words, "start"
        )
        script = "".join(
            f"SET password_encryption = '{'md5' if role == 'md5' else 'scram-sha-256'}';"
            f"CREATE ROLE {role} LOGIN PASSWORD '{role}-password';"
            for role in self.ROLES
        )
        self.psql(script)
        return self

    def psql(self, script: str) -> str:
        return self.run(
            "psql",
            "-XqAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self.folder),
            "-p",
            str(self.port),
            "-U",
            "postgres",
            "-d",
            "postgres",
            text=script,
        )

    def __exit__(self, *_: object) -> None:
        import shutil

        self.run("pg_ctl", "-w", "-D", str(self.folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)


def grant_for(
    port: int,
    *,
    login: str = "app",
    credential: str = "app-password",
    database: str = "app",
    host: str = "127.0.0.1",
    tls: str = "disable",
    ca: bytes | None = None,
    write: bool = True,
    server_name: str | None = None,
    settings: dict[str, object] | None = None,
) -> Grant:
    address = TargetAddress(host, port, tls, ca.decode() if ca else None, server_name)
    return Grant(
        session="ses-1",
        subject=Subject(name="agent", groups=(), issuer="test", token="tok-1"),
        target=Target("orders", "postgres", address, database, {}, dict(settings or {})),
        login=login,
        credential=Secret(credential.encode()),
        source="127.0.0.1",
        application="",
        ends=0.0,
        write=write,
    )


DIALLED: list[StreamLeg] = []
"""Every leg that a test dialled, so that none outlives it."""


class RigServices(WorkerServices):
    """Real dialling and TLS; access is the test's, and the relay passes bytes on as they are."""

    def __init__(self, grant: Grant | Refused, shared: SharedBuffer) -> None:
        self._dialling = Dialling(shared)
        self.grant = grant
        self.evidence: list[Evidence] = []
        self.asked: list[tuple[str, str | None, str, bool]] = []
        self.keys: list[CancelKey] = []
        self.cancelled: list[CancelKey] = []
        self.codecs: list[Codec] = []
        self.prepare: Callable[[Wait], Awaitable[None]] | None = None
        self.cancel_running: Callable[[], Awaitable[None]] | None = None
        self.side_grants = 0
        self.openings: list[Opening] = []
        self.proofs: list[bytes] = []
        self.thinks = 0.0
        """Seconds that control takes for each answer about a proof."""

    async def dial(self, grant: Grant) -> StreamLeg:
        leg = await super().dial(grant)
        DIALLED.append(leg)
        return leg

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        self.evidence.append(evidence)
        if evidence.token != TOKEN:
            return Refused("token not accepted", "make one with `sallyport token create`")
        return Subject(name="agent", groups=(), issuer="test", token="tok-1")

    async def challenge(self, opening: Opening) -> Challenge | Refused:
        """Control's answer, to whomever: a real one comes with a real control."""
        self.openings.append(opening)
        await asyncio.sleep(self.thinks)
        nonce = opening.message.rpartition(b"r=")[2]
        return Challenge(b"h" * 16, b"r=" + nonce + b"A" * 24 + b",s=c2FsdHNhbHQ=,i=4096")

    async def prove(self, challenge: Challenge, proof: bytes) -> Proven | Refused:
        self.proofs.append(proof)
        await asyncio.sleep(self.thinks)
        return Refused("authentication failed")

    async def authorize(
        self,
        subject: Subject,
        connection: Connection,
        selector: str,
        login: str | None,
        application: str,
        encrypted: bool,
        stated: Stated = UNSTATED,
        *,
        lasting: bool = False,
    ) -> Grant | Refused:
        self.asked.append((selector, login, application, encrypted))
        return self.grant

    async def dial_catalogue(self, target: str, database: str) -> Grant:
        assert isinstance(self.grant, Grant)
        self.side_grants += 1
        return self.grant

    def register_cancel(self, grant: Grant, key: CancelKey) -> None:
        self.keys.append(key)

    async def cancel(self, key: CancelKey, source: str) -> None:
        self.cancelled.append(key)
        if key in self.keys and self.cancel_running is not None:
            await self.cancel_running()

    @property
    def policy_revision(self) -> str:
        return "r1"

    async def relay(
        self,
        grant: Grant,
        client: Leg,
        target: Leg,
        codec: Codec,
        *,
        prepare: Callable[[Wait], Awaitable[None]],
        cancel: Callable[[], Awaitable[None]],
    ) -> None:
        self.codecs.append(codec)
        self.prepare, self.cancel_running = prepare, cancel

        async def pump(source: Leg, sink: Leg) -> None:
            while data := await source.read():
                sink.write(data)
                await sink.drain()
            sink.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(client, target))
            group.create_task(pump(target, client))


class Listener:
    """A real listening socket that serves a plugin."""

    def __init__(self, port: int, services: RigServices) -> None:
        self.port = port
        self.services = services
        self.errors: list[BaseException] = []


@contextlib.asynccontextmanager
async def listening(
    plugin: Plugin,
    grant: Grant | Refused,
    *,
    certificates: Certificates | None = None,
    required: bool = False,
    local: bool = True,
    authentication: Authentication | None = None,
    client_ca: bytes | None = None,
) -> AsyncIterator[Listener]:
    """Serve `plugin` on a loopback port. `local` False: as if clients came from elsewhere."""
    loop = asyncio.get_running_loop()
    shared = SharedBuffer()
    services = RigServices(grant, shared)
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    listener = Listener(server.getsockname()[1], services)
    context = (
        listener_context(
            certificates.certificate, certificates.key, client_ca, alpn=("postgresql",)
        )
        if certificates
        else None
    )
    tasks: set[asyncio.Task[None]] = set()

    async def serve(sock: socket.socket) -> None:
        connection = AcceptedConnection(
            sock, source="127.0.0.1" if local else "203.0.113.7", listener="postgres",
            tls=context, tls_required=required, shared=shared, loop=loop,
            authentication=authentication,
        )  # fmt: skip
        try:
            await plugin.serve(connection, services)
        except (OSError, EOFError):
            pass
        except Exception as error:
            listener.errors.append(error)
        finally:
            connection.finish()

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(server)
            task = asyncio.create_task(serve(sock))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    accepting = asyncio.create_task(accept())
    try:
        yield listener
    finally:
        accepting.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)
        server.close()
    assert listener.errors == []


@contextlib.asynccontextmanager
async def rogue(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A scripted server; gives its port."""

    serving: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await script(reader, writer)
        finally:
            writer.close()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(converse(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0.01)  # lets the transports close
