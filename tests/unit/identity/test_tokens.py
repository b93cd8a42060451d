"""Tokens: made once, shown once, checked in constant work, gone when revoked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.errors import RecorderLost
from sallyport.core.event import Audited
from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.identity.backoff import LONGEST_DELAY, MAXIMUM_KEYS, Backoff
from sallyport.identity.names import in_networks
from sallyport.identity.oidc import Issuers
from sallyport.identity.revocations import Revocation
from sallyport.identity.secrets import new_secret, parse_secret
from sallyport.identity.service import FAILED, PLAIN, IdentityService
from sallyport.identity.token_checks import MAXIMUM_LIFETIME
from sallyport.identity.token_records import Given
from sallyport.identity.tokens import BREAK_GLASS, QUIET, TokenService
from sallyport.store.database import Database
from tests.support.clock import Clock

HOME = "127.0.0.1"


def spoilt(secret: str) -> str:
    """Return a secret with another last character."""
    return secret[:-1] + ("y" if secret.endswith("x") else "x")


@pytest.fixture
def audited() -> list[Audited]:
    return []


@pytest.fixture
def tokens(database: Database, audited: list[Audited], clock: Clock) -> TokenService:
    return TokenService(database, audited.append, clock)


async def test_a_token_stands_for_its_subject(tokens: TokenService) -> None:
    record, secret = await tokens.create("ci", "agent-1", ["agents"], ["auditor"], 60.0, "ann")
    subject = await tokens.check(secret, HOME)
    assert subject == Subject(
        name="agent-1",
        groups=("agents",),
        issuer="sallyport",
        token=record.id,
        expires=record.expires,
        owner="ann",
        roles=("auditor",),
    )
    await tokens.save_uses()
    (listed,) = await tokens.list()
    assert listed.used is not None and listed.state(listed.created) == "live"


async def test_the_secret_is_kept_nowhere(
    tokens: TokenService, database: Database, audited: list[Audited]
) -> None:
    record, secret = await tokens.create("ci", "agent-1")
    tail = secret.rpartition("_")[2]
    for file in database.path.parent.iterdir():
        assert tail.encode() not in file.read_bytes()
    assert tail not in f"{record}{audited}{await tokens.list()}"
    assert [event.action for event in audited] == ["token-created"]


async def test_it_ends_by_time_and_by_revocation(tokens: TokenService, clock: Clock) -> None:
    record, secret = await tokens.create("a", "agent-1", lifetime=60.0)
    _, other = await tokens.create("b", "agent-1", lifetime=3600.0)
    _, stranger = await tokens.create("c", "agent-2", lifetime=3600.0)
    clock.now += 59.9
    assert await tokens.check(secret, HOME) is not None
    clock.now += 0.1
    assert await tokens.check(secret, HOME) is None
    heard: list[Revocation] = []
    tokens.listen(heard.append)
    assert await tokens.revoke("id", record.id, "ann") == 0
    assert await tokens.revoke("subject", "agent-1", "ann") == 1
    assert await tokens.check(other, HOME) is None
    assert await tokens.check(stranger, HOME) is not None
    assert await tokens.revoke("all", "", "ann") == 1
    assert await tokens.check(stranger, HOME) is None
    assert [(one.kind, one.value) for one in heard] == [
        ("id", record.id),
        ("subject", "agent-1"),
        ("all", ""),
    ]
    with pytest.raises(ValueError, match="cannot revoke by `name`"):
        await tokens.revoke("name", "a", "ann")


async def test_networks_and_targets_bind_a_token(tokens: TokenService) -> None:
    record, secret = await tokens.create(
        "a", "agent-1", targets=["shop"], sources=["10.0.0.0/8", "2001:db8::/32"]
    )
    subject = await tokens.check(secret, "10.1.2.3")
    assert subject is not None
    assert await tokens.check(secret, "::ffff:10.1.2.3") is not None
    for elsewhere in (HOME, "unix", "", "10.0.0.0/8", "2001:db9::1"):
        assert await tokens.check(secret, elsewhere) is None
    assert await tokens.may_still(subject, "shop", "10.1.2.3") is None
    assert isinstance(await tokens.may_still(subject, "billing", "10.1.2.3"), Refused)
    assert isinstance(await tokens.may_still(subject, "shop", HOME), Refused)
    await tokens.revoke("id", record.id, "ann")
    assert isinstance(await tokens.may_still(subject, "shop", "10.1.2.3"), Refused)


async def test_a_subject_cannot_be_put_on_another_token(tokens: TokenService) -> None:
    mine, _ = await tokens.create("a", "agent-1")
    forged = Subject(name="root", groups=(), issuer="sallyport", token=mine.id)
    assert isinstance(await tokens.may_still(forged, "shop", HOME), Refused)


async def test_near_misses_are_refused(tokens: TokenService) -> None:
    _, secret = await tokens.create("a", "agent-1")
    _, other = await tokens.create("b", "agent-2")
    head, tail = secret.rpartition("_")[0], other.rpartition("_")[2]
    misses = ["", "sp_", secret[:-1], secret + "0", secret.upper(), f" {secret}", f"{secret}\n"]
    misses += [f"{head}_{tail}", secret.replace("sp_", "SP_"), secret + "\0", "\ud800" * 68]
    for miss in misses:
        assert await tokens.check(miss, HOME) is None, miss
    unknown = new_secret()[1]
    assert parse_secret(unknown) is not None
    assert await tokens.check(unknown, HOME) is None


def test_a_typing_error_is_told_by_the_checksum() -> None:
    identifier, secret = new_secret()
    assert parse_secret(secret) == identifier
    for place in range(3, len(secret)):
        wrong = secret[:place] + ("1" if secret[place] != "1" else "2") + secret[place + 1 :]
        assert parse_secret(wrong) is None, place


@given(st.text(max_size=100))
def test_garbage_is_no_secret(text: str) -> None:
    assert parse_secret(text) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"subject": "a\nb"},
        {"subject": " a"},
        {"subject": "an\u200bn"},
        {"groups": ["a\u202eb"]},
        {"groups": [f"g{n}" for n in range(65)]},
        {"roles": ["root"]},
        {"lifetime": 0.0},
        {"lifetime": -1.0},
        {"lifetime": float("nan")},
        {"lifetime": float("inf")},
        {"lifetime": MAXIMUM_LIFETIME * 2},
        {"sources": ["everywhere"]},
        {"targets": [""]},
        {"owner": "a\rb"},
    ],
    ids=str,
)
async def test_odd_tokens_are_not_made(tokens: TokenService, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        await tokens.create(**({"name": "n", "subject": "s"} | wrong))  # type: ignore[arg-type]
    assert await tokens.count() == 0


async def test_what_cannot_be_audited_is_not_done(database: Database) -> None:
    def lost(event: Audited) -> None:
        raise RecorderLost("no disk")

    made, secret = await TokenService(database, print).create("a", "agent-1")
    deaf = TokenService(database, lost)
    with pytest.raises(RecorderLost):
        await deaf.create("b", "agent-2")
    with pytest.raises(RecorderLost):
        await deaf.revoke("id", made.id, "ann")
    assert await deaf.count() == 1
    assert await deaf.check(secret, HOME) is not None


@pytest.mark.parametrize("source", ["", "x", "999.1.1.1", "127.0.0.1/8", "unixx"])
def test_a_source_that_is_none_lies_nowhere(source: str) -> None:
    assert not in_networks(source, ["0.0.0.0/0", "::/0", "unix", "junk"])


# --- the service before it


def _evidence(token: str, source: str = HOME, encrypted: bool = False) -> Evidence:
    return Evidence("postgres", "pg", source, token, encrypted)


@pytest.fixture
def identity(tokens: TokenService, database: Database) -> IdentityService:
    roles = {"approver": ("dba", "leads"), "admin": ("admins",), "auditor": ()}
    return IdentityService(tokens, Issuers([], database), roles, Backoff())


async def test_roles_come_from_groups_and_from_the_token(
    identity: IdentityService, tokens: TokenService
) -> None:
    _, secret = await tokens.create("a", "dana", ["dba"], ["auditor"])
    subject = await identity.authenticate(_evidence(secret))
    assert isinstance(subject, Subject)
    assert subject.roles == ("approver", "auditor")
    identity.configure(identity.issuers, {"admin": ("dba",)})
    again = await identity.authenticate(_evidence(secret))
    assert isinstance(again, Subject) and again.roles == ("admin", "auditor")


async def test_every_failure_is_the_same_answer(
    identity: IdentityService, tokens: TokenService
) -> None:
    record, secret = await tokens.create("a", "dana")
    await tokens.revoke("id", record.id, "ann")
    for token in (secret, new_secret()[1], "", "junk", "a.b.c", "x" * 20_000):
        assert await identity.authenticate(
            _evidence(token, source=f"10.0.0.{len(token) % 200}")
        ) in (
            FAILED,
            PLAIN,
        )
        assert await identity.authenticate(_evidence(token, "10.9.9.9", True)) is FAILED


async def test_a_token_in_the_clear_is_not_even_looked_at(
    identity: IdentityService, tokens: TokenService
) -> None:
    _, secret = await tokens.create("a", "dana")
    assert await identity.authenticate(_evidence(secret, "10.0.0.1")) is PLAIN
    assert isinstance(await identity.authenticate(_evidence(secret, "10.0.0.1", True)), Subject)
    assert isinstance(await identity.authenticate(_evidence(secret, "unix")), Subject)


async def test_failures_never_hold_up_a_right_token(
    identity: IdentityService, tokens: TokenService, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def note(self: Backoff, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(Backoff, "delay", note)
    _, secret = await tokens.create("a", "dana")
    for _ in range(20):
        assert await identity.authenticate(_evidence(spoilt(secret))) is FAILED
    assert waited[0] == 0.0 and waited[-1] == LONGEST_DELAY
    count = len(waited)
    assert isinstance(await identity.authenticate(_evidence(secret)), Subject)
    assert len(waited) == count


def test_backoff_forgets_and_is_bounded() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for number in range(MAXIMUM_KEYS * 2):
        backoff.note(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", f"t{number}")
    assert len(backoff) <= MAXIMUM_KEYS
    for _ in range(9):
        slow = backoff.note("2001:db8::1", "a")
    assert slow > 0
    assert backoff.note("2001:db8::ffff", "b") > 0, "one /64 is one source"
    clock.now += 301
    assert backoff.note("2001:db8::1", "a") == 0.0


async def test_breaking_the_glass_is_an_alarm(
    tokens: TokenService, audited: list[Audited], clock: Clock
) -> None:
    emergency = Given(BREAK_GLASS)
    record, secret = await tokens.create("x", "ann", roles=["admin"], owner="olga", given=emergency)
    _, other = await tokens.create("y", "ann")
    assert await tokens.check(other, HOME) is not None
    assert await tokens.check(spoilt(secret), HOME) is None
    assert tokens.alarms == 0
    for wait, alarms in ((0.0, 1), (QUIET - 1, 1), (1.0, 2)):
        clock.now += wait
        assert await tokens.check(secret, "192.0.2.7") is not None
        assert tokens.alarms == alarms
    used = [event for event in audited if event.action == "break-glass-used"]
    assert [(event.actor, event.object) for event in used] == [("ann", record.id)] * 2
    assert used[0].details["source"] == "192.0.2.7"


async def test_where_no_alarm_can_be_kept_nobody_is_let_in(
    database: Database, clock: Clock
) -> None:
    def audit(event: Audited) -> None:
        if event.action == "break-glass-used":
            raise RecorderLost("full")

    tokens = TokenService(database, audit, clock)
    _, secret = await tokens.create("x", "ann", given=Given(BREAK_GLASS))
    for _ in range(2):
        with pytest.raises(RecorderLost):
            await tokens.check(secret, HOME)
