"""Random statements: for a reader nothing in the database changes, for a masked subject no secret.

A run is a seed: what fails here fails again with the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import runner, wire, world
from tests.bypass.postgres.composer import Composer
from tests.bypass.postgres.wire import Answer, Gone, Wire
from tests.bypass.postgres.world import World

STATEMENTS = 1200
"""In one run of each kind."""


@pytest.fixture(scope="module")
def target(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("fuzz"), postgres, database="bypass_fuzz")
    yield made
    made.close()


class Mind:
    """Says statements one after the other in one session, in every way that the protocol has."""

    def __init__(self, target: World, subject: str, seed: int) -> None:
        self._target = target
        self.subject = subject
        self._composer = Composer(seed)
        self._random = random.Random(~seed)
        self._session: Wire | None = None
        self.served = 0

    def say(self) -> tuple[str, bytes]:
        """Say one statement and return it with all that came back."""
        statement = self._composer.statement()
        if self._session is None:
            self._session = self._target.connect(self.subject)
        session = self._session
        before = len(session.seen)
        try:
            session.send(self._message(statement))
            answers = session.until_ready(copy=False)
            if answers[-1].body != b"I":
                session.send(wire.query("rollback"))
                session.until_ready()
        except Gone:
            answers = [Answer("E", b"")]
            session.close()
            self._session = None
        self.served += not any(answer.kind == "E" for answer in answers)
        seen = bytes(session.seen[before:])
        session.seen.clear()
        return statement, seen

    def _message(self, statement: str) -> bytes:
        way = self._random.randrange(5)
        if way < 2 or ";" in statement:
            return wire.query(statement)
        formats = [self._random.randrange(2)] if way > 2 else []
        parts = [wire.parse("", statement), wire.bind(results=formats)]
        if way == 3:
            parts.insert(1, wire.describe("S"))
        if way == 4:
            parts.append(wire.describe("P"))
        rows = self._random.choice([0, 0, 1])
        return b"".join([*parts, wire.execute("", rows), wire.execute("", rows), wire.SYNC])

    def leave(self) -> None:
        """End the session."""
        if self._session is not None:
            self._session.close()


def keeps_secrets(target: World, subject: str, seed: int, count: int) -> None:
    mind = Mind(target, subject, seed)
    for number in range(count):
        statement, seen = mind.say()
        found = world.leaked(seen, subject)
        assert not found, f"seed {seed}, statement {number}, {subject}: {statement}\n{found}"
    mind.leave()
    assert mind.served > count // 20, f"seed {seed}: only {mind.served} of {count} were served"


def changes_nothing(target: World, subject: str, seed: int, count: int) -> None:
    mind = Mind(target, subject, seed)
    before = target.state()
    said: list[str] = []
    for number in range(1, count + 1):
        statement, seen = mind.say()
        said.append(statement)
        assert not world.leaked(seen, subject), f"seed {seed}, statement {number}: {statement}"
        if number % 200 == 0 or number == count:
            target.settled()
            differs = runner.changed(before, target.state(), [])
            assert not differs, f"seed {seed}: {differs} by one of:\n" + "\n".join(said)
            said.clear()
    mind.leave()
    assert mind.served > count // 20, f"seed {seed}: only {mind.served} of {count} were served"


def test_a_reader_changes_nothing(target: World) -> None:
    changes_nothing(target, "reader", 20_260, STATEMENTS)


def test_a_masked_subject_sees_no_secret(target: World) -> None:
    keeps_secrets(target, "masked", 11_071, STATEMENTS)


def test_a_masked_subject_with_sweeping_rights_sees_no_secret(target: World) -> None:
    keeps_secrets(target, "masked-blanket", 77_001, STATEMENTS // 2)


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize("round_", range(100))
def test_at_length(target: World, round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    changes_nothing(target, "reader", seed, 5000)
    for subject in ("masked", "masked-writer", "masked-blanket"):
        keeps_secrets(target, subject, seed, 5000)
