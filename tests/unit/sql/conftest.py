"""A real server with the schema of `shop`, and what its catalogue looks like."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.demo.server import EmbeddedPostgres
from sallyport.protocols.postgres.classify import Classifier
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Classified, Statement
from tests.unit.sql import shop

Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="package")
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URI of a database with the schema."""
    postgres.psql("create database understanding")
    uri = postgres.uri("understanding")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(shop.SCHEMA)
    yield uri
    postgres.psql("drop database understanding with (force)")


@pytest.fixture
def server(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True, prepare_threshold=None) as connection:
        yield connection


@pytest.fixture(scope="package")
def catalogue(database: str) -> CatalogueSnapshot:
    with psycopg.connect(database, autocommit=True) as connection:
        return shop.snapshot(connection)


class Reader:
    """Classifies texts for one session that goes on."""

    def __init__(self, catalogue: CatalogueSnapshot | None, state: SessionState) -> None:
        self.classifier = Classifier()
        self.catalogue = catalogue
        self.state = state

    def whole(self, text: str) -> Classified:
        return self.classifier.classify(text, self.state, self.catalogue)

    def all(self, text: str) -> tuple[Statement, ...]:
        return self.whole(text).statements

    def one(self, text: str) -> Statement:
        (statement,) = self.all(text)
        return statement

    def run(self, text: str) -> Statement:
        """Classify one statement, and take it as done."""
        statement = self.one(text)
        self.state = self.state.after(statement)
        return statement


@pytest.fixture
def read(catalogue: CatalogueSnapshot) -> Reader:
    return Reader(catalogue, SessionState.start("understanding", "postgres", None, 18))
