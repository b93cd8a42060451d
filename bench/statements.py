"""What one statement costs to be rewritten, in this process, without sockets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import psycopg

from bench.rig import Rig, Way
from sallyport.core.decision import Mask
from sallyport.protocols.postgres import catalog, catalog_queries
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.masks.at_source import AtSource
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState

TIMES = 300
"""Texts of which the median is taken."""

STATEMENTS = {
    "point": "SELECT abalance FROM pgbench_accounts WHERE filler <> 'x' AND aid = :n;",
    "join of three": (
        "SELECT a.abalance, b.bbalance, t.tbalance FROM pgbench_accounts a "
        "JOIN pgbench_branches b USING (bid) JOIN pgbench_tellers t USING (bid) "
        "WHERE a.filler <> 'x' AND a.aid = :n ORDER BY t.tid LIMIT 1;"
    ),
    "WITH": (
        "WITH chosen AS (SELECT aid, bid, filler FROM pgbench_accounts WHERE aid = :n), "
        "sums AS (SELECT bid, count(*) AS n, max(filler) AS most FROM chosen GROUP BY bid) "
        "SELECT s.n, s.most, b.bbalance FROM sums s JOIN pgbench_branches b USING (bid);"
    ),
}
"""Each uses a masked column for more than to show it. `:n` is what makes a text new."""

MASKS = (Mask("bench-mask", "redact", ("public.pgbench_accounts.filler",)),)


def rewriting(rig: Rig, way: Way, *, name: str) -> dict[str, float]:
    """Return microseconds to classify and rewrite a new text, and to look up a known one."""
    state = SessionState.start("app", "app", '"$user", public', 180000)
    snapshot = _snapshot(way)
    classifier, source = Classifier(), AtSource(b"k" * 32)
    texts = [STATEMENTS[name].rstrip(";").replace(":n", str(number)) for number in range(TIMES)]

    def rewrite(text: str) -> object:
        return source.rewrite(text, state, snapshot, MASKS)

    return {
        "classify_us": _each(texts, lambda text: classifier.classify(text, state, snapshot)),
        "new_us": _each(texts, rewrite),
        "known_us": _each(texts[-1:] * TIMES, rewrite),
    }


def _each(texts: list[str], work: Callable[[str], object]) -> float:
    taken = []
    for text in texts:
        start = time.perf_counter()
        work(text)
        taken.append((time.perf_counter() - start) * 1e6)
    return statistics.median(taken)


def _snapshot(way: Way) -> CatalogueSnapshot:
    with psycopg.connect(way.dsn, autocommit=True) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        rows = {}
        for name, sql in catalog_queries.QUERIES.items():
            cursor = connection.pgconn.exec_(sql.encode())
            rows[name] = [
                [
                    None if (cell := cursor.get_value(i, j)) is None else cell.decode()
                    for j in range(cursor.nfields)
                ]
                for i in range(cursor.ntuples)
            ]
    return catalog.build(rows)
