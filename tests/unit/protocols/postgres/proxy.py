"""A codec between real clients and a real server: one thread a session, decisions by a function.

It has no login of the gateway's: the client is let in, the target is logged in to, and from there
on every byte goes through the codec. What is under test is the codec alone.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from sallyport.core.decision import Allow, Deny, Limit, Mask, Obligations
from sallyport.core.event import RecordedEvent
from sallyport.core.operation import Operation
from sallyport.core.subject import Secret
from sallyport.protocols.base import (
    CancelTarget,
    Closed,
    OperationIssued,
    PrecheckIssued,
    Recorded,
    Side,
    Wait,
)
from sallyport.protocols.postgres import messages, replies
from sallyport.protocols.postgres.codec import Limits, PostgresCodec
from sallyport.protocols.postgres.target_login import Floor, TargetLogin
from sallyport.sql.session import SessionState
from tests.unit.protocols.postgres.script import Words, snapshot

SNAPSHOT = snapshot()

Decide = Callable[[Operation], Allow | Deny | None]


def allow(
    operation: Operation, masks: tuple[Mask, ...] = (), limits: tuple[Limit, ...] = ()
) -> Allow:
    return Allow(operation.digest, ("test",), Obligations(masks=masks, limits=limits))


class Proxy:
    """Listens on loopback. `decide` returns None for a hold that `decided` answers later."""

    def __init__(
        self,
        address: tuple[str, int],
        user: str,
        password: str,
        database: str,
        *,
        decide: Decide = allow,
        classifier: Any = None,
        catalogue: Any = None,
        limits: Limits | None = None,
        chunk: int = 65536,
    ) -> None:
        self._address = address
        self._login = (user, password, database)
        self.decide = decide
        self.prechecks = False
        self._classifier = classifier or Words()
        self._catalogue = catalogue
        self._limits = limits or Limits()
        self._chunk = chunk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.recorded: list[RecordedEvent] = []
        self.errors: list[BaseException] = []
        self.key: replies.KeyData | None = None
        self._threads: list[threading.Thread] = []
        self._stopping = False

    def __enter__(self) -> Proxy:
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
        assert not self.errors, self.errors

    @property
    def dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=x dbname=y sslmode=disable gssencmode=disable"

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._guarded, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _guarded(self, client: socket.socket) -> None:
        try:
            with client:
                self._serve(client)
        except (ConnectionError, EOFError):
            return
        except BaseException as error:
            self.errors.append(error)

    def dial(self) -> tuple[socket.socket, TargetLogin]:
        """Return a connection straight to the server, after its login."""
        user, password, database = self._login
        target = socket.create_connection(self._address)
        login = TargetLogin(
            target="t",
            login=user,
            database=database,
            credential=Secret(password.encode()),
            settings={},
            write=True,
            floor=Floor.LOCAL,
            encrypted=False,
        )
        target.sendall(login.start())
        while not login.done:
            answer = login.receive(target.recv(65536))
            if answer:
                target.sendall(answer)
        return target, login

    def _serve(self, client: socket.socket) -> None:
        length = struct.unpack(">i", _exactly(client, 4))[0]
        packet = _exactly(client, length - 4)
        if struct.unpack(">i", packet[:4])[0] == messages.CANCEL_CODE:
            raise EOFError
        target, login = self.dial()
        client.sendall(
            replies.authentication(0)
            + b"".join(replies.parameter_status(*each) for each in login.parameters.items())
            + replies.key_data(1, b"1234")
            + replies.ready("I")
        )
        session = _Session(self, client, target, login)
        session.run()

    def codec(self, user: str, database: str) -> PostgresCodec:
        return PostgresCodec(
            session="s-1",
            target="t",
            classifier=self._classifier,
            clock=time.time,
            limits=self._limits,
            revision=lambda: "r1",
            state=SessionState.start(database, user),
            catalogue=lambda: self._catalogue or SNAPSHOT,
            write=True,
            mask_key=b"k" * 32,
        )


class _Session:
    def __init__(
        self, proxy: Proxy, client: socket.socket, target: socket.socket, login: TargetLogin
    ) -> None:
        self.proxy = proxy
        self.legs = {Side.CLIENT: client, Side.TARGET: target}
        self.key = login.key
        self.codec = proxy.codec(*proxy._login[::2])
        self.closed = False

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for side, leg in self.legs.items():
                selector.register(leg, selectors.EVENT_READ, side)
            while not self.closed:
                for key, _ in selector.select(20):
                    if not self.closed:
                        self._read(key.data)
        self.legs[Side.TARGET].close()

    def _read(self, side: Side) -> None:
        try:
            data = self.legs[side].recv(self.proxy._chunk)
        except ConnectionError:
            data = b""
        self._work(self.codec.receive(side, data) if data else self.codec.eof(side))
        for other in (Side.TARGET, Side.CLIENT):
            due = b"".join(self.codec.take(other))
            if due:
                try:
                    self.legs[other].sendall(due)
                except ConnectionError:
                    self.closed = True

    def _work(self, events: Any) -> None:
        queue = list(events)
        while queue:
            event = queue.pop(0)
            if isinstance(event, Recorded):
                self.proxy.recorded.append(event.event)
            elif isinstance(event, OperationIssued):
                decision = self.proxy.decide(event.operation)
                if isinstance(decision, Allow):
                    queue.extend(self.codec.release(event.operation, decision))
                else:
                    assert decision is not None
                    queue.extend(self.codec.refuse(event.operation, decision))
            elif isinstance(event, PrecheckIssued):
                decision = self.proxy.decide(event.operation)
                if self.proxy.prechecks and isinstance(decision, Deny):
                    queue.extend(self.codec.refuse(event.operation, decision))
                else:
                    queue.extend(self.codec.admit(event.operation))
            elif isinstance(event, Wait):
                queue.extend(self.codec.resume())
            elif isinstance(event, CancelTarget):
                self._flush_target()
                self._cancel()
                queue.extend(self.codec.cancelled())
            elif isinstance(event, Closed):
                self.closed = True

    def _flush_target(self) -> None:
        due = b"".join(self.codec.take(Side.TARGET))
        if due:
            self.legs[Side.TARGET].sendall(due)

    def _cancel(self) -> None:
        assert self.key is not None
        with socket.create_connection(self.proxy._address) as connection:
            connection.sendall(messages.cancel_request(*self.key))
            connection.recv(1)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
