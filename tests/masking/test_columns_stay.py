"""Names, types and modifiers of results stay as they are, masked or not, rewritten or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import psycopg
import pytest

from tests.masking.worlds import Worlds
from tests.support.gateway import Gateway

MASKS: Final[dict[str, dict[str, Any]]] = {
    "redact": {}, "null": {}, "partial": {}, "hash": {}, "generalise": {"bucket": 100},
    "constant": {"value": "1"},
}  # fmt: skip
TRANSFORMS: Final = tuple(MASKS)
MODIFIED: Final = (
    "varchar(7)", "char(5)", "numeric(9,2)", "numeric(3,-2)", "bit(3)", "varbit(9)", "time(1)",
    "timetz(2)", "timestamp(3)", "timestamptz(0)", "interval day to second(2)", "interval year",
    "varchar(4)[]", "numeric(5,1)[]", "timestamp(2)[]", "short", "mood", "pair", "short[]",
    "mood[]", "pair[]",
)  # fmt: skip
BUILT_IN: Final = """
    select pg_catalog.format_type(t.oid, null) from pg_type t
    where t.typtype in ('b', 'r', 'm') and t.typisdefined
        and t.typsend <> 0 and t.typnamespace = 'pg_catalog'::regnamespace
        and t.oid < 16384
        and t.typname !~ '^(aclitem|pg_ndistinct|pg_dependencies|pg_mcv_list|pg_node_tree)$'
        and not exists (select from pg_type e join pg_class c on c.oid = e.typrelid
            where e.oid = t.typelem)
        and not exists (select from pg_type e where e.oid = t.typelem and (e.typtype = 'p' or e.typsend = 0))
    order by 1
"""


@pytest.fixture(scope="module")
def every(worlds: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway before a table that has each type twice: masked, and not."""
    server = worlds.server
    server.psql("create database every owner app")
    with psycopg.connect(server.uri("every"), autocommit=True) as admin:
        admin.execute("set role app")
        admin.execute("create domain short as varchar(3)")
        admin.execute("create type mood as enum ('fine', 'not')")
        admin.execute("create type pair as (one int, two varchar(4))")
        types = [row[0] for row in admin.execute(BUILT_IN).fetchall()]
        assert len(types) > 120
        columns = [
            f"{kind}_{number} {type_}"
            for number, type_ in enumerate([*types, *MODIFIED])
            for kind in ("plain", "masked")
        ]
        admin.execute(f"create table every (id int, {', '.join(columns)})".encode())
        admin.execute("insert into every (id) values (1), (2)")
    rules: list[dict[str, Any]] = [
        {"name": "all", "effect": "allow", "operations": {"effects": ["read"]}},
        *(
            {
                "name": f"hide-{transform}",
                "effect": "mask",
                "subjects": {"groups": [transform]},
                "mask": {"columns": ["public.every.masked_*"], "transform": transform, **more},
            }
            for transform, more in MASKS.items()
        ),
    ]
    gateway = Gateway(
        tmp_path_factory.mktemp("every") / "gateway", server, database="every", rules=rules
    )
    gateway.config["access"][0]["subjects"] = {"groups": list(TRANSFORMS)}
    gateway.start()
    yield gateway
    gateway.stop()


Shape = list[tuple[bytes | None, int, int, int]]


def shape(connection: psycopg.Connection[Any], text: str, *, binary: bool) -> Shape:
    cursor = connection.cursor(binary=binary)
    cursor.execute(text.encode(), prepare=binary)
    result = cursor.pgresult
    assert result is not None and cursor.rowcount == 2
    return [
        (result.fname(n), result.ftype(n), result.fmod(n), result.fsize(n))
        for n in range(result.nfields)
    ]


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("binary", [False, True])
def test_every_type(every: Gateway, worlds: Worlds, transform: str, binary: bool) -> None:
    token = every.token(f"who-{transform}-{binary}", groups=[transform])
    gated = psycopg.connect(
        host="127.0.0.1", port=every.port, user="app", password=token, dbname="db"
    )
    with psycopg.connect(worlds.server.uri("every")) as direct, gated:
        notices: list[str] = []
        gated.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        wanted = shape(direct, "select * from every", binary=binary)
        assert len(wanted) > 300
        assert shape(gated, "select * from every", binary=binary) == wanted
        text = "select * from every order by masked_0, id"
        assert shape(gated, text, binary=binary) == wanted
        assert any("works on the masked values" in notice for notice in notices)
