"""The link to control, over a real Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sallyport.core.errors import ControlLost
from sallyport.core.grant import Target, TargetAddress
from sallyport.core.messages import (
    HEARTBEAT,
    SILENCE,
    Access,
    Beat,
    Cancel,
    Catalogue,
    Done,
    EndSession,
    Envelope,
    Hello,
    Push,
    SessionEnded,
    Snapshot,
)
from sallyport.session.link import Link

SNAPSHOT = Snapshot("rev", b"{}", {})


class ControlEnd:
    """A scripted control: greets, beats while told to, answers with Done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beating = True
        self.answering = True
        self.writers: list[asyncio.StreamWriter] = []
        self.heard: list[Envelope] = []
        self._decoder = msgspec.msgpack.Decoder(Envelope)

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()

    def send(self, writer: asyncio.StreamWriter, envelope: Envelope) -> None:
        body = msgspec.msgpack.encode(envelope)
        writer.write(len(body).to_bytes(4, "big") + body)

    def push(self, body: Push) -> None:
        self.send(self.writers[-1], Envelope(0, body))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        beats = asyncio.create_task(self._beat(writer))
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                envelope = self._decoder.decode(await reader.readexactly(size))
                self.heard.append(envelope)
                if isinstance(envelope.body, Hello):
                    self.send(writer, Envelope(envelope.id, SNAPSHOT))
                elif envelope.id and self.answering:
                    self.send(writer, Envelope(envelope.id, Done()))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            beats.cancel()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            if self.beating:
                self.send(writer, Envelope(0, Beat()))
            await asyncio.sleep(HEARTBEAT)


class Linked:
    """A link that runs, with what it reported."""

    def __init__(self, path: Path) -> None:
        self.pushed: list[Push] = []
        self.lost = asyncio.Event()
        self.link = Link(
            str(path), lambda: Hello("w", 1, "/j"), pushed=self.pushed.append, lost=self.lost.set
        )
        self.task = asyncio.create_task(self.link.run())

    async def until(self, what: str) -> None:
        for _ in range(400):
            if what == "alive" and self.link.alive and self.pushed:
                return
            await asyncio.sleep(0.025)
        raise AssertionError(f"never {what}")


@pytest.fixture
async def control(tmp_path: Path) -> ControlEnd:
    end = ControlEnd(tmp_path / "control.sock")
    await end.start()
    return end


async def test_it_greets_gets_its_snapshot_and_asks(control: ControlEnd) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    assert linked.pushed[0] == SNAPSHOT
    assert await linked.link.ask(Cancel(b"key", "127.0.0.1")) == Done()
    linked.task.cancel()
    await control.stop()


async def test_a_push_arrives(control: ControlEnd) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    control.push(EndSession("ses-1", "revoked"))
    for _ in range(200):
        if EndSession("ses-1", "revoked") in linked.pushed:
            break
        await asyncio.sleep(0.01)
    assert EndSession("ses-1", "revoked") in linked.pushed
    linked.task.cancel()
    await control.stop()


async def test_silence_is_a_loss(control: ControlEnd) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    control.beating = False
    await asyncio.wait_for(linked.lost.wait(), SILENCE * 10)
    assert not linked.link.alive
    linked.task.cancel()
    await control.stop()


async def test_a_closed_socket_is_a_loss_and_it_comes_back(control: ControlEnd) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    await control.stop()
    await asyncio.wait_for(linked.lost.wait(), SILENCE * 10)
    with pytest.raises(ControlLost):
        await linked.link.ask(Cancel(b"key", "127.0.0.1"))
    control.path.unlink(missing_ok=True)
    again = ControlEnd(control.path)
    await again.start()
    linked.pushed.clear()
    await linked.until("alive")
    linked.task.cancel()
    await again.stop()


async def test_what_is_under_way_when_control_goes_is_lost_and_not_forgotten(
    control: ControlEnd,
) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    control.answering = False
    asking = asyncio.create_task(linked.link.ask(Cancel(b"key", "127.0.0.1")))
    await asyncio.sleep(0.1)
    await control.stop()
    with pytest.raises(ControlLost):
        await asyncio.wait_for(asking, 10)
    linked.task.cancel()


async def test_access_that_nobody_waits_for_is_given_back(control: ControlEnd) -> None:
    linked = Linked(control.path)
    await linked.until("alive")
    control.answering = False
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await linked.link.ask(Catalogue("shop", "shop"))
    asked = next(envelope for envelope in control.heard if isinstance(envelope.body, Catalogue))
    target = Target("shop", "postgres", TargetAddress("127.0.0.1", 1), "shop", {})
    access = Access("ses-1", target, "app", b"", 0.0, False)
    control.send(control.writers[-1], Envelope(asked.id, access))
    for _ in range(200):
        if any(isinstance(one.body, SessionEnded) for one in control.heard):
            break
        await asyncio.sleep(0.01)
    ended = [one.body.session for one in control.heard if isinstance(one.body, SessionEnded)]
    assert ended == ["ses-1"]
    linked.task.cancel()
    await control.stop()
