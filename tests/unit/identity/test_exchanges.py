"""Logins in two steps: what proves a token, and how little everybody else learns or costs."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from sqlalchemy import event, update

from sallyport.core import scram
from sallyport.core.scram import PLAIN, PLUS
from sallyport.core.subject import Challenge, Evidence, Opening, Proven, Refused, Secret, Subject
from sallyport.identity import exchanges as module
from sallyport.identity import service as answers_of
from sallyport.identity.backoff import Backoff
from sallyport.identity.exchanges import LIFETIME, Exchanges
from sallyport.identity.oidc import Issuers
from sallyport.identity.service import FAILED_PROOF, IdentityService, ListenerRules
from sallyport.identity.tokens import TokenService
from sallyport.protocols.postgres.scram import Scram
from sallyport.store.control_schema import tokens as table
from sallyport.store.database import Database
from tests.support.clock import Clock

HOME = "127.0.0.1"
KEY = b"k" * 32
BINDING = b"hash of the certificate"
LISTENERS = {("postgres", "pg"): ListenerRules("scram"), ("postgres", "plain"): ListenerRules()}


class Waits(Backoff):
    """Counts what is told late, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, str]] = []

    def note(self, source: str, claimed: str) -> float:
        self.noted.append((source, claimed))
        return 0.0


@pytest.fixture
def tokens(database: Database, clock: Clock) -> TokenService:
    return TokenService(database, lambda _: None, clock)


@pytest.fixture
def backoff() -> Waits:
    return Waits()


@pytest.fixture
def identity(
    tokens: TokenService, database: Database, backoff: Waits, clock: Clock
) -> IdentityService:
    service = IdentityService(
        tokens, Issuers([], database), {"admin": ["dba"]}, backoff, listeners=LISTENERS, key=KEY
    )
    service.exchanges = Exchanges(tokens, KEY, clock)
    return service


class Client:
    """A SCRAM client that speaks to control through a worker."""

    def __init__(
        self,
        identity: IdentityService,
        claimed: str,
        secret: str,
        *,
        worker: str = "w1",
        binding: bytes = b"",
        offered: tuple[str, ...] = (PLUS, PLAIN),
        **opening: Any,
    ) -> None:
        self._identity = identity
        self.worker = worker
        self.scram = Scram(
            Secret(secret.encode()), offered, encrypted=bool(binding), binding=binding or None
        )
        words: dict[str, Any] = {
            "protocol": "postgres",
            "listener": "pg",
            "source": HOME,
            "encrypted": True,
            "mechanism": self.scram.mechanism,
            "claimed": claimed,
            "message": self.scram.first(),
            "binding": binding,
        }
        self.opening = Opening(**(words | opening))

    async def open(self) -> Challenge:
        answer = await self._identity.open_exchange(self.worker, self.opening)
        assert isinstance(answer, Challenge), answer
        return answer

    async def finish(self, challenge: Challenge, worker: str | None = None) -> Proven | Refused:
        self.proof = self.scram.final(challenge.message)
        return await self._identity.finish_exchange(
            worker or self.worker, challenge.handle, self.proof
        )

    async def login(self) -> Proven | Refused:
        return await self.finish(await self.open())


@pytest.mark.parametrize("binding", [b"", BINDING])
async def test_a_token_proves_itself(
    identity: IdentityService, tokens: TokenService, backoff: Waits, binding: bytes
) -> None:
    record, secret = await tokens.create("ci", "agent-1", ["dba"], owner="ann")
    client = Client(identity, record.id, secret, binding=binding)
    proven = await client.login()
    assert isinstance(proven, Proven)
    assert (proven.subject.name, proven.subject.token) == ("agent-1", record.id)
    assert proven.subject.roles == ("admin",)
    client.scram.verify(proven.message)  # the gateway proved itself too
    assert backoff.noted == []
    assert len(identity.exchanges) == 0
    await tokens.save_uses()
    assert (await tokens.list())[0].used is not None


async def test_nothing_that_makes_a_proof_is_kept_or_told(
    identity: IdentityService, tokens: TokenService, database: Database
) -> None:
    record, secret = await tokens.create("ci", "agent-1")
    verifier = await tokens.verifier(record.id)
    assert verifier is not None
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    proven = await client.finish(challenge)
    told = f"{challenge!r}{proven!r}{verifier!r}".encode() + challenge.message
    for key in (verifier.stored_key, verifier.server_key):
        assert key not in told and key.hex().encode() not in told
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), verifier.salt, verifier.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    for file in database.path.parent.iterdir():
        content = file.read_bytes()
        assert client_key not in content and salted not in content
        assert secret.encode() not in content


async def test_what_is_not_a_live_token_from_here_fails_alike(
    identity: IdentityService, tokens: TokenService, clock: Clock, database: Database
) -> None:
    good, secret = await tokens.create("a", "agent-1")
    other, _ = await tokens.create("b", "agent-2")
    expired, late = await tokens.create("c", "agent-3", lifetime=60.0)
    revoked, gone = await tokens.create("d", "agent-4")
    away, elsewhere = await tokens.create("e", "agent-5", sources=["192.0.2.0/24"])
    old, before = await tokens.create("f", "agent-6")
    async with database.write() as connection:
        empty = {"salt": None, "iterations": None, "stored_key": None, "server_key": None}
        await connection.execute(update(table).where(table.c.id == old.id).values(**empty))
    await tokens.revoke("id", revoked.id, "ann")
    clock.now += 61
    answers = []
    for claimed, password in (
        (good.id, secret[:-1]),
        (good.id, ""),
        (other.id, secret),
        (expired.id, late),
        (revoked.id, gone),
        (away.id, elsewhere),
        (old.id, before),
        ("0" * 16, secret),
        ("", secret),
        ("x" * 5000, secret),
        ("' or 1=1 --", secret),
    ):
        client = Client(identity, claimed, password or "x")
        challenge = await client.open()
        assert challenge.message.endswith(b",i=4096")
        assert len(challenge.message) == len(client.opening.message) - 8 + 24 + 5 + 24 + 7
        answers.append(await client.finish(challenge))
    assert answers == [FAILED_PROOF] * len(answers)
    assert isinstance(await Client(identity, good.id, secret).login(), Proven)


def salt(challenge: Challenge) -> bytes:
    return challenge.message.split(b",")[1]


async def test_salts_tell_nothing(
    identity: IdentityService, tokens: TokenService, database: Database, clock: Clock
) -> None:
    record, _ = await tokens.create("a", "agent-1", lifetime=60.0)
    ids = [record.id, "0" * 16, "1" * 16]
    first = [salt(await Client(identity, one, "x").open()) for one in ids]
    assert len(set(first)) == 3
    clock.now += 61  # expired: its salt stays what it was
    await tokens.revoke("all", "", "ann")
    again = IdentityService(tokens, Issuers([], database), {}, listeners=LISTENERS, key=KEY)
    assert [salt(await Client(again, one, "x").open()) for one in ids] == first
    other = IdentityService(tokens, Issuers([], database), {}, listeners=LISTENERS, key=b"o" * 32)
    unknown = [salt(await Client(other, one, "x").open()) for one in ids[1:]]
    assert not set(unknown) & set(first)


async def test_an_unknown_id_is_the_same_work(
    identity: IdentityService,
    tokens: TokenService,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Work is counted: every hash, every statement, every comparison, in order."""
    record, secret = await tokens.create("a", "agent-1")
    revoked, gone = await tokens.create("b", "agent-2")
    await tokens.revoke("id", revoked.id, "ann")
    done: list[str] = []
    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *args: done.append(args[2]))
    for where, name in ((hmac, "digest"), (hashlib, "sha256"), (hmac, "compare_digest")):
        original = getattr(where, name)

        def counted(*args: Any, _name: str = name, _original: Any = original) -> Any:
            done.append(_name)
            return _original(*args)

        monkeypatch.setattr(where, name, counted)
    work = []
    for claimed, password in ((record.id, secret), ("0" * 16, secret), (revoked.id, gone)):
        client = Client(identity, claimed, password)
        done.clear()
        challenge = await client.open()
        opening = list(done)
        message = client.scram.final(challenge.message)
        done.clear()  # the client's own work is not counted
        await identity.exchanges.finish("w1", challenge.handle, message)
        work.append((opening, list(done)))
    assert work[0] == work[1] == work[2]
    assert len([one for one in work[0][0] if "FROM tokens" in one]) == 1
    assert len([one for one in work[0][1] if "FROM tokens" in one]) == 1
    assert work[0][1].count("compare_digest") == 3


async def test_a_token_revoked_between_the_two_messages_is_refused(
    identity: IdentityService, tokens: TokenService
) -> None:
    record, secret = await tokens.create("a", "agent-1")
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    await tokens.revoke("id", record.id, "ann")
    assert await client.finish(challenge) == FAILED_PROOF


async def test_a_proof_counts_once(identity: IdentityService, tokens: TokenService) -> None:
    record, secret = await tokens.create("a", "agent-1")
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    assert isinstance(await client.finish(challenge), Proven)
    for handle in (challenge.handle, (await client.open()).handle):  # the same, and a fresh one
        replayed = await identity.finish_exchange("w1", handle, client.proof)
        assert replayed == FAILED_PROOF


async def test_a_wrong_proof_ends_the_exchange(
    identity: IdentityService, tokens: TokenService
) -> None:
    record, secret = await tokens.create("a", "agent-1")
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    proof = client.scram.final(challenge.message)
    for wrong in (b"", b"c=biws", proof.replace(b"r=", b"r=x"), proof[:-5] + b"AAAA="):
        assert await identity.finish_exchange("w1", challenge.handle, wrong) == FAILED_PROOF
    assert await identity.finish_exchange("w1", challenge.handle, proof) == FAILED_PROOF


async def test_an_exchange_belongs_to_its_worker(
    identity: IdentityService, tokens: TokenService
) -> None:
    record, secret = await tokens.create("a", "agent-1")
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    assert await client.finish(challenge, worker="w2") == FAILED_PROOF
    again = Client(identity, record.id, secret)
    assert isinstance(await again.login(), Proven)


async def test_an_exchange_is_over_in_time(
    identity: IdentityService, tokens: TokenService, clock: Clock
) -> None:
    record, secret = await tokens.create("a", "agent-1")
    client = Client(identity, record.id, secret)
    challenge = await client.open()
    clock.now += LIFETIME
    late = Client(identity, record.id, secret)
    still = await late.open()
    clock.now += 1
    assert await client.finish(challenge) == FAILED_PROOF
    assert isinstance(await late.finish(still), Proven)


async def test_what_is_open_is_bounded_and_the_oldest_goes(
    identity: IdentityService, tokens: TokenService, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    record, secret = await tokens.create("a", "agent-1")
    monkeypatch.setattr(module, "MAXIMUM_OPEN", 100)
    early = Client(identity, record.id, secret)
    challenge = await early.open()
    for number in range(1000):
        await Client(identity, f"{number}", "x").open()
        assert len(identity.exchanges) <= 100
    assert await early.finish(challenge) == FAILED_PROOF
    assert isinstance(await Client(identity, record.id, secret).login(), Proven)
    clock.now += LIFETIME + 1
    await Client(identity, record.id, secret).open()
    assert len(identity.exchanges) == 1


async def test_failures_are_told_late(
    identity: IdentityService, tokens: TokenService, backoff: Waits
) -> None:
    record, _ = await tokens.create("a", "agent-1")
    await Client(identity, record.id, "wrong", source="127.0.0.9").login()
    await Client(identity, "0" * 16, "wrong").login()
    assert backoff.noted == [("127.0.0.9", record.id), (HOME, "0" * 16)]


@pytest.mark.parametrize(
    "changes",
    [
        {"message": b"y,,n=,r=abcdefgh", "mechanism": PLAIN, "binding": BINDING},  # the downgrade
        {"message": b"n,a=root,n=,r=abcdefgh"},
        {"message": b"n,,m=x,n=,r=abcdefgh"},
        {"message": b"garbage"},
        {"mechanism": "SCRAM-SHA-1"},
        {"mechanism": PLUS, "binding": b""},
        {"listener": "plain"},  # that one takes tokens
        {"listener": "nowhere"},
        {"protocol": "line"},
    ],
)
async def test_an_opening_that_does_not_fit_begins_nothing(
    identity: IdentityService, changes: dict[str, Any]
) -> None:
    opening = Client(identity, "0" * 16, "x", **changes).opening
    assert await identity.open_exchange("w1", opening) == FAILED_PROOF
    assert len(identity.exchanges) == 0


async def test_nothing_begins_in_clear_from_elsewhere(identity: IdentityService) -> None:
    far = Client(identity, "0" * 16, "x", source="203.0.113.7", encrypted=False)
    assert await identity.open_exchange("w1", far.opening) == answers_of.PLAIN
    near = Client(identity, "0" * 16, "x", encrypted=False)
    await near.open()


async def test_a_listener_takes_its_own_mechanism_alone(
    identity: IdentityService, tokens: TokenService
) -> None:
    _, secret = await tokens.create("a", "agent-1")
    for listener, taken in (("pg", False), ("plain", True), ("other", True)):
        found = await identity.authenticate(Evidence("postgres", listener, HOME, secret, True))
        assert isinstance(found, Subject) is taken


def test_the_server_adds_its_own_part_to_the_nonce() -> None:
    first = scram.parse_first(b"n,,n=,r=abc", PLAIN, b"")
    message = scram.server_first(first, bytes(18), b"s" * 16, 4096)
    assert message == b"r=abc" + b"A" * 24 + b",s=c3Nzc3Nzc3Nzc3Nzc3Nzcw==,i=4096"
