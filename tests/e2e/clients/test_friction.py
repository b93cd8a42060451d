"""The friction corpus: what real clients send meets no refusal but the guardrails that say so.

Every statement is read and decided as a gateway would, for a subject with full rights and every
guardrail on. What changes the catalogue is run on the server, so that the next ones resolve.
"""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from psycopg import pq

from sallyport import policy
from sallyport.config.document import guardrail_rules, translate
from sallyport.config.rules import ApprovalSettings, Rule
from sallyport.core.grant import Target, TargetAddress
from sallyport.core.subject import Subject
from sallyport.demo.server import EmbeddedPostgres
from sallyport.policy import document
from sallyport.protocols.postgres import catalog, catalog_queries
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.operations import Operations
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Classified
from tests.e2e.clients.capture import CORPUS
from tests.e2e.clients.conftest import BUILDERS, NewDatabase, direct_dsn

FILES = sorted(CORPUS.glob("*.jsonl"))
CONTEXT = policy.Context(
    source="127.0.0.1", application="", now=1_700_568_000.0, login="app", database="db",
    write=True, session="s-1",
)  # fmt: skip


class Database:
    """One database of a corpus file, made anew, and what a gateway knows of it."""

    def __init__(self, server: EmbeddedPostgres, name: str) -> None:
        self.name = name
        self.connection = psycopg.connect(direct_dsn(server, name), autocommit=True)
        self.snapshot = self._look()
        self.states: dict[int, SessionState] = {}

    def _look(self) -> CatalogueSnapshot:
        with self.connection.transaction():
            rows = {key: self._texts(query) for key, query in catalog_queries.QUERIES.items()}
        self.connection.execute("reset search_path")
        return catalog.build(rows)

    def _texts(self, query: str) -> list[list[str | None]]:
        result = self.connection.pgconn.exec_(query.encode())
        cells = [
            [result.get_value(row, column) for column in range(result.nfields)]
            for row in range(result.ntuples)
        ]
        return [[None if cell is None else bytes(cell).decode() for cell in row] for row in cells]

    def classify(self, classifier: Classifier, session: int, text: str) -> Classified:
        state = self.states.setdefault(session, SessionState.start(self.name, "app", None, 18))
        found = classifier.classify(text, state, self.snapshot)
        if found.needs == "parse":
            classifier.prepare(text)
            found = classifier.classify(text, state, self.snapshot)
        if found.needs == "catalogue":
            self.snapshot = self._look()
            found = classifier.classify(text, state, self.snapshot)
        return found

    def opened(self, session: int, portal: str, text: str) -> None:
        """Take a portal of the wire protocol as bound."""
        state = self.states.setdefault(session, SessionState.start(self.name, "app", None, 18))
        self.states[session] = state.with_cursor(portal, text, state.age(self.snapshot.epoch))

    def means_something(self, text: str) -> bool:
        """Whether the server itself understands a statement: psql 15 asks 18 for lost columns."""
        result = self.connection.pgconn.prepare(b"", text.encode())
        return result.status == pq.ExecStatus.COMMAND_OK

    def done(self, session: int, found: Classified, *, failed: bool) -> None:
        """Take the statement as answered, and what it made as made."""
        state = self.states[session]
        for statement in found.statements:
            if failed:
                state = state.failed()
                continue
            state = state.after(statement)
            if statement.touches_catalogue and "temporary" not in statement.facts:
                self.connection.execute(statement.text.encode())
        self.states[session] = state if state.block else state.ready("I")


@pytest.fixture(scope="module")
def full_rights() -> policy.Policy:
    approvals = ApprovalSettings()
    rules = [translate(Rule.model_validate(rule), approvals) for rule in BUILDERS]
    shipped = [translate(rule, approvals, guardrail=True) for rule in guardrail_rules()]
    return policy.compile(
        document.encode(document.Document(document.VERSION, access=(), rules=(*shipped, *rules)))
    )


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_nothing_is_refused_but_by_a_guardrail(
    file: Path, full_rights: policy.Policy, postgres: EmbeddedPostgres, new_database: NewDatabase
) -> None:
    header, *lines = [json.loads(line) for line in file.read_text().splitlines()]
    databases = {
        name: Database(postgres, new_database(script))
        for name, script in header["databases"].items()
    }
    classifier = Classifier()
    operations = Operations("db")
    subject = Subject("ada", ("agents",), "corp", "token-1")
    target = Target("db", "postgres", TargetAddress("127.0.0.1", 5432, "disable"), "db", {})
    refused: dict[str, list[str]] = {}
    for line in lines:
        database = databases[line["database"]]
        if "portal" in line:
            database.opened(line["session"], *line["portal"])
        found = database.classify(classifier, line["session"], line["text"])
        for statement in found.statements:
            verdict = full_rights.evaluate(
                subject, target, CONTEXT, operations.make(statement), None
            )
            if verdict.outcome != "deny" or not database.means_something(statement.text):
                continue
            for rule in verdict.rules:
                refused.setdefault(rule, []).append(f"{statement.text}\n    {verdict.reason}")
        database.done(line["session"], found, failed=line.get("failed", False))
    for database in databases.values():
        database.connection.close()
    told = {rule: texts[:3] for rule, texts in refused.items() if rule not in header["guardrails"]}
    assert not told, "\n".join(f"{rule}:\n  " + "\n  ".join(texts) for rule, texts in told.items())
    assert sorted(refused) == header["guardrails"]


def test_the_corpus_is_there() -> None:
    assert {
        "psql",
        "psycopg",
        "asyncpg",
        "sqlalchemy",
        "alembic",
        "pg8000",
        "node",
        "pgbench",
        "pg_dump",
    } <= {file.stem for file in FILES}
