"""Several sessions that change structure at once: nobody loses sight of the catalogue."""

from __future__ import annotations

import threading

import psycopg

from tests.e2e.clients.conftest import NewDatabase
from tests.support.gateway import Gateway


def test_a_lock_under_a_view_blinds_nobody(builders: Gateway, new_database: NewDatabase) -> None:
    """A definition of a view needs a lock on what it reads: the gateway must not wait for that."""
    name = new_database("create table held (a int); create view over_it as select a from held")
    dsn = builders.dsn(target=f"db/{name}")
    with psycopg.connect(dsn) as one, psycopg.connect(dsn, autocommit=True) as two:
        one.execute("alter table held add column b int")
        two.execute("create table fresh (a int)")
        assert two.execute("select * from fresh").fetchall() == []
        one.execute("create table own (a int)")
        one.execute("insert into own values (1)")
        assert one.execute("select own.a, b from own, held").fetchall() == []
        one.commit()
        assert two.execute("select a from over_it").fetchall() == []


def test_many_build_at_once(builders: Gateway, new_database: NewDatabase) -> None:
    dsn = builders.dsn(target=f"db/{new_database()}")
    failed: list[str] = []

    def build(own: int) -> None:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                for number in range(5):
                    table = f"t_{own}_{number}"
                    connection.execute(f"create table {table} (a int)")
                    connection.execute(f"insert into {table} values (1)")
                    connection.execute(f"alter table {table} add column b text")
                    connection.execute(f"select a, b from {table}")
        except psycopg.Error as error:
            failed.append(str(error))

    threads = [threading.Thread(target=build, args=(own,)) for own in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
