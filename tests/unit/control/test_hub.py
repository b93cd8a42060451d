"""The socket itself: who may speak on it, what is cut off, what comes back after a break."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import uvloop

from sallyport.control import hub as hubs
from sallyport.control.bootstrap import FILE
from sallyport.control.control import SOCKET
from sallyport.core.errors import ConfigError, RecorderLost
from sallyport.core.event import Audited
from sallyport.core.messages import (
    MAXIMUM_MESSAGE,
    Authenticate,
    Beat,
    CatalogueChanged,
    CatalogueStale,
    Done,
    Drain,
    EndSession,
    Envelope,
    Hello,
    SessionEnded,
)
from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.vault.errors import VaultError
from tests.unit.control.harness import CREDENTIAL, Gateway, WorkerPeer


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    async with Gateway(tmp_path) as gateway:
        yield gateway


async def closes(peer: WorkerPeer) -> None:
    async with asyncio.timeout(20):
        await peer.closed.wait()


async def test_the_socket_is_its_owners_alone(gateway: Gateway) -> None:
    path = gateway.folder / "state" / SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


async def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        await Gateway(tmp_path, place_store=False).control.start()


async def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / SOCKET).write_text("somebody's")
    with pytest.raises(ConfigError, match="in the way"):
        await Gateway(tmp_path).control.start()
    assert (tmp_path / "state" / SOCKET).read_text() == "somebody's"


async def test_a_path_too_long_for_a_socket_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        await Gateway(tmp_path, state="s" * 120).control.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")
async def test_another_user_is_not_heard() -> None:
    code = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX)"
    code += "; s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
    with tempfile.TemporaryDirectory() as folder:
        async with Gateway(Path(folder)) as gateway:
            path = gateway.folder / "state" / SOCKET
            path.chmod(0o666)
            path.parent.chmod(0o711)
            gateway.folder.chmod(0o711)
            process = await asyncio.create_subprocess_exec(
                "/usr/bin/env", "python3", "-c", code, str(path), stderr=asyncio.subprocess.PIPE
            )
            _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


GARBAGE = {
    "no length": b"\x00",
    "a negative length": b"\xff\xff\xff\xff",
    "over the limit": (MAXIMUM_MESSAGE + 1).to_bytes(4, "big"),
    "no msgpack": b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1",
    "an empty message": b"\x00\x00\x00\x00",
    "nested without end": b"\x00\x00\x40\x00" + b"\x91" * 0x4000,
    "an unknown kind": b"\x00\x00\x00\x10"
    + msgspec.msgpack.encode([1, {"type": "root"}]).ljust(16),
    "no greeting first": b"",
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
async def test_who_does_not_greet_properly_is_cut_off(
    gateway: Gateway, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "GREETING", 0.2)
    good = await gateway.worker()
    peer = WorkerPeer(gateway.folder / "state" / SOCKET)
    await peer.dial()
    if data:
        peer.writer.write(data)
    else:
        peer.send(1, SessionEnded("x", "y"))
    await closes(peer)
    assert await good.ask(SessionEnded("x", "y")) == Done()
    assert gateway.control.hub.workers() == ["w1"]


@pytest.mark.parametrize(
    "body", [EndSession("x", "y"), Drain(1.0), Refused("x"), Hello("w1", 1, "j"), None]
)
async def test_a_worker_that_says_what_workers_do_not_is_cut_off(
    gateway: Gateway, body: object
) -> None:
    peer, good = await gateway.worker(), await gateway.worker("w2", 2)
    if body is None:
        peer.raw(b"\xc1")
    else:
        peer.send(5, body)
    await closes(peer)
    assert await good.ask(SessionEnded("x", "y")) == Done()


async def test_a_request_without_an_id_is_no_request(gateway: Gateway) -> None:
    peer = await gateway.worker()
    peer.send(0, SessionEnded("x", "y"))
    await closes(peer)


async def test_both_sides_beat_and_a_silent_worker_is_cut_off(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "SILENT", 0.8)
    silent = await gateway.worker(beat=False)
    lively = await gateway.worker("w2", 2)
    await closes(silent)
    assert silent.beats > 0
    assert await lively.ask(SessionEnded("x", "y")) == Done()


async def test_a_worker_that_does_not_read_is_cut_off(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "MAXIMUM_UNREAD", 64 * 1024)
    path = str(gateway.folder / "state" / SOCKET)
    reader, writer = await asyncio.open_unix_connection(path, limit=1)
    data = msgspec.msgpack.encode(Envelope(1, Hello("deaf", 9, "j")))
    writer.write(len(data).to_bytes(4, "big") + data)
    while "deaf" not in gateway.control.hub.workers():
        await asyncio.sleep(0.01)
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(20_000):
        gateway.control.hub.push("deaf", CatalogueStale("shop", "x" * 100))
        await asyncio.sleep(0)
        if "deaf" not in gateway.control.hub.workers():
            break
    assert "deaf" not in gateway.control.hub.workers()
    writer.close()


async def test_a_break_of_the_connection_keeps_the_sessions(gateway: Gateway) -> None:
    first = await gateway.worker(pid=7)
    token = await gateway.token()
    kept, dropped = await first.session(token), await first.session(token)
    first.close()
    again = await gateway.worker(pid=7, sessions=(kept.session,))
    assert gateway.control.registry.live() == [kept.session]
    gateway.control.registry.end(kept.session, "enough")
    assert (await again.pushed(EndSession)).session == kept.session
    assert gateway.control.registry.get(dropped.session) is None


async def test_a_restarted_worker_has_no_sessions(gateway: Gateway) -> None:
    first = await gateway.worker(pid=7)
    await first.session(await gateway.token())
    await gateway.worker(pid=8)
    assert gateway.control.registry.live() == []
    await closes(first)


async def test_a_worker_that_stays_away_loses_its_sessions(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "GRACE", 0.05)
    worker = await gateway.worker()
    await worker.session(await gateway.token())
    worker.close()
    async with asyncio.timeout(20):
        while gateway.control.registry.live():
            await asyncio.sleep(0.01)


async def test_an_access_whose_worker_is_gone_is_not_kept(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await gateway.worker()
    subject = await worker.login(await gateway.token())
    assert isinstance(subject, Subject)
    original = gateway.control.identity.still_valid

    async def slow(*arguments: object) -> Refused | None:
        worker.close()
        while gateway.control.hub.workers():
            await asyncio.sleep(0.01)
        return await original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(gateway.control.identity, "still_valid", slow)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await worker.authorize(subject)
    assert gateway.control.registry.live() == []


async def test_ddl_seen_by_one_worker_is_told_to_all(gateway: Gateway) -> None:
    one, other = await gateway.worker(), await gateway.worker("w2", 2)
    assert await one.ask(CatalogueChanged("shop", "shop")) == Done()
    assert await other.pushed(CatalogueStale) == CatalogueStale("shop", "shop")
    assert await one.pushed(CatalogueStale) == CatalogueStale("shop", "shop")


async def test_a_failure_inside_is_a_refusal_without_words(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = await gateway.worker()
    token = await gateway.token()

    async def broken(evidence: Evidence) -> Subject:
        raise RuntimeError("inner detail")

    monkeypatch.setattr(gateway.control.identity, "authenticate", broken)
    refused = await worker.login(token)
    assert isinstance(refused, Refused) and "inner" not in refused.reason
    assert await worker.ask(SessionEnded("x", "y")) == Done()


async def test_no_secret_reaches_a_log(gateway: Gateway, capfd: pytest.CaptureFixture[str]) -> None:
    worker = await gateway.worker()
    token = await gateway.token()
    await worker.session(token)
    await worker.login(token.swapcase())
    worker.send(9, Authenticate(Evidence("postgres", "pg", "10.0.0.1", token, True)))
    worker.raw(token.encode())
    await closes(worker)
    out = "".join(capfd.readouterr())
    assert "worker cut off" in out
    tail = token.rpartition("_")[2]
    assert tail not in out and CREDENTIAL.decode() not in out
    assert tail not in str(gateway.audited) and CREDENTIAL.decode() not in str(gateway.audited)


async def test_a_second_control_on_the_same_state_is_refused(gateway: Gateway) -> None:
    second = Gateway(gateway.folder)
    with pytest.raises(ConfigError, match="another gateway"):
        await second.control.start()
    worker = await gateway.worker()
    assert await worker.ask(SessionEnded("x", "y")) == Done()


async def test_the_first_start_leaves_a_way_in(tmp_path: Path) -> None:
    file = tmp_path / "state" / FILE
    async with Gateway(tmp_path, place_store=False) as gateway:
        secret = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        subject = await gateway.control.tokens.check(secret, "127.0.0.1")
        assert subject is not None and "admin" in subject.roles
        assert secret not in str(gateway.audited)
    async with Gateway(tmp_path) as gateway:
        assert file.read_text().strip() == secret
        await gateway.control.tokens.revoke("all", "", "admin")
    async with Gateway(tmp_path):
        assert file.read_text().strip() != secret


async def test_a_start_that_fails_leaves_nothing_locked(tmp_path: Path) -> None:
    async with Gateway(tmp_path):
        pass
    key = tmp_path / "state" / "master.key"
    kept = key.read_bytes()
    key.write_bytes(b"x" * 32)
    with pytest.raises(VaultError, match="another master key"):
        await Gateway(tmp_path).control.start()
    key.write_bytes(kept)
    async with Gateway(tmp_path):
        pass


async def test_what_cannot_be_audited_does_not_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)

    def lost(event: Audited) -> None:
        raise RecorderLost("no disk")

    gateway.control._audit = lost
    with pytest.raises(RecorderLost):
        await gateway.control.start()
    assert not (tmp_path / "state" / FILE).exists()


def test_it_runs_on_uvloop(tmp_path: Path) -> None:
    async def run() -> None:
        async with Gateway(tmp_path) as gateway:
            worker = await gateway.worker()
            access = await worker.session(await gateway.token())
            gateway.control.registry.end(access.session, "enough")
            assert await worker.pushed(EndSession)
            worker.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def test_a_beat_is_small() -> None:
    assert len(msgspec.msgpack.encode(Envelope(0, Beat()))) < 32
    assert socket.SO_PEERCRED
