"""Rewriting: every reference to a relation with masked columns, and nothing that cannot be followed."""

from __future__ import annotations

import pytest

from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting.rewrite import SourceMasks, Unfollowed, rewrite
from sallyport.sql.session import SessionState
from tests.unit.sql.conftest import Connection

MASKED = {("public", "customers"): ("email", "ssn"), ("public", "customer_names"): ("mail", "ssn")}
CUSTOMERS = (
    "(SELECT id, name, 'm'::text AS email, 'm'::text AS ssn, country, profile, tags, born "
    "FROM public.customers)"
)


def hidden(relation: Relation) -> SourceMasks:
    names = MASKED.get((relation.schema, relation.name), ())
    return SourceMasks(dict.fromkeys(names, "CAST('m' AS pg_catalog.text)"))


@pytest.fixture
def names(catalogue: CatalogueSnapshot) -> Names:
    return Names(SessionState.start("understanding", "postgres", None, 18), catalogue)


def plain(text: str) -> str:
    return " ".join(text.replace("pg_catalog.text", "text").split())


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("select ssn from customers", "SELECT ssn FROM {c} customers"),
        ("select c.ssn from customers as c", "SELECT c.ssn FROM {c} c"),
        ("select c.a from customers c (a, b)", "SELECT c.a FROM {c} c(a, b)"),
        ("table customers", "SELECT * FROM {c} customers"),
        ("select 1 from orders", "SELECT 1 FROM public.orders"),
        (
            "select ssn from customers, (select id from orders o for share of o) o",
            "SELECT ssn FROM {c} customers, (SELECT id FROM public.orders o FOR SHARE OF o) o",
        ),
        (
            "select public.customers.ssn from public.customers",
            "SELECT customers.ssn FROM {c} customers",
        ),
        (
            "with c as (select 1) select * from c, customers",
            "WITH c AS (SELECT 1) SELECT * FROM c, {c} customers",
        ),
        (
            "with customers as (select * from customers) select * from customers",
            "WITH customers AS (SELECT * FROM {c} customers) SELECT * FROM customers",
        ),
        (
            "select 1 where exists (select from customers where ssn = '1')",
            "SELECT 1 WHERE EXISTS (SELECT FROM {c} customers WHERE ssn = '1')",
        ),
        (
            "select id from orders union all select id from customers",
            "SELECT id FROM public.orders UNION ALL SELECT id FROM {c} customers",
        ),
        (
            "select id, email from customers group by id",
            "SELECT id, email FROM {c} customers GROUP BY id, email",
        ),
        (
            "select c.id, max(c.ssn), c.name from customers c group by c.id order by c.email",
            "SELECT c.id, max(c.ssn), c.name FROM {c} c GROUP BY c.id, c.ssn, c.name, c.email "
            "ORDER BY c.email",
        ),
    ],
)
def test_references_are_replaced(names: Names, text: str, becomes: str) -> None:
    found = rewrite(text, names, hidden)
    shown = plain(found.text).replace("CAST('m' AS text)", "'m'::text")
    assert shown == becomes.replace("{c}", CUSTOMERS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("select ssn from customers for update", "locked"),
        ("select 1 from orders o, (select ssn from customers) c for update of o", "locked"),
        ("select ssn into copied from customers", "SELECT INTO"),
        ("with d as (delete from orders returning 1) select ssn from customers", "writes"),
        ("select ssn from customers tablesample system (1)", "sampled"),
        ("select *, ctid from customers", "system column"),
        ("select ssn from nowhere, customers", "not known"),
        ("insert into orders select 1", "it writes"),
        ("create table x (ssn text)", "only a SELECT"),
        ("select ssn from customers; select 1", "by itself"),
        ("select public.customers.ssn from public.customers, orders customers", "more than its"),
        (
            "select (select max(id) from sales.customers where public.customers.id = 1) "
            "from public.customers",
            "more than its",
        ),
        ("select 'x" + "x" * 5000 + "', ssn from customers", "bytes"),
    ],
)
def test_what_cannot_be_followed_is_refused(names: Names, text: str, says: str) -> None:
    with pytest.raises(Unfollowed, match=says):
        rewrite(text, names, hidden)


def test_what_is_rewritten_means_the_same_to_the_server(names: Names, server: Connection) -> None:
    """The same columns with the same names, types and modifiers; and rows but for the masks."""
    for text in (
        "select * from customers order by id",
        "select c.*, o.total from customers c join orders o on o.customer_id = c.id order by o.id",
        "select id, name, mail from customer_names order by 1",
        "select distinct on (country) country, id from customers order by country, id desc",
        "select c.id, c.name, count(*) from customers c, orders o where o.customer_id = c.id "
        "group by c.id order by c.id",
        "select (c).id from customers c order by 1",
        "select id, row_number() over (partition by country order by id) from customers order by 1",
        "with recursive n(i) as (select 1 union all select i + 1 from n, customers c "
        "where i < 3 and c.id = 1) select i from n order by 1",
        "select x.id from customers c, lateral (select c.id) x order by 1",
    ):
        found = rewrite(text, names, hidden)
        assert found.relations
        direct, ours = server.execute(text), server.execute(found.text)
        assert direct.description and ours.description
        described = [
            [(one.name, one.type_code, one.internal_size) for one in cursor.description]
            for cursor in (direct, ours)
            if cursor.description
        ]
        assert described[0] == described[1], text
        secret = [one.name in ("email", "ssn", "mail") for one in direct.description]
        for one, other in zip(direct.fetchall(), ours.fetchall(), strict=True):
            for hides, raw, shown in zip(secret, one, other, strict=True):
                assert shown == ("m" if hides else raw), text


def test_predicates_orders_and_errors_see_masked_values_alone(
    names: Names, server: Connection
) -> None:
    def run(text: str) -> list[tuple[object, ...]]:
        return server.execute(rewrite(text, names, hidden).text).fetchall()

    assert run("select id from customers where ssn like '0%'") == []
    assert run("select count(*) from customers where ssn = 'm'") == [(2,)]
    assert run("select max(ssn) || min(email) from customers") == [("mm",)]
    assert run("select to_json(c) ->> 'ssn' from customers c limit 1") == [("m",)]
    with pytest.raises(Exception, match='integer: "m"'):
        run("select ssn::int from customers")


def test_a_rewriting_has_a_bound_whatever_the_tables_are(names: Names) -> None:
    """Each reference gets all columns of its relation: a short text must not become a huge one."""

    def wide(relation: Relation) -> SourceMasks:
        long = f"CAST('{'m' * 500}' AS pg_catalog.text)"
        return SourceMasks(dict.fromkeys(MASKED.get((relation.schema, relation.name), ()), long))

    twenty = ", ".join(f"customers c{number}" for number in range(20))
    assert rewrite(f"select c1.ssn || '' from {twenty}", names, wide)
    many = ", ".join(f"customers c{number}" for number in range(200))
    with pytest.raises(Unfollowed, match="too often"):
        rewrite(f"select c1.ssn || '' from {many}", names, wide)


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (
            "copy customers (id, ssn) to stdout",
            "COPY (SELECT id, ssn FROM ({only}) customers) TO STDOUT",
        ),
        (
            "copy public.customers(ssn) to stdout (format csv, header)",
            "COPY (SELECT ssn FROM ({only}) customers) TO STDOUT WITH (FORMAT CSV, HEADER)",
        ),
        (
            "copy customers to stdout with binary",
            "COPY (SELECT id, name, email, ssn, country, profile, tags, born FROM ({only}) "
            "customers) TO STDOUT WITH (FORMAT BINARY)",
        ),
        ("copy orders (id) to stdout", "COPY (SELECT id FROM ONLY public.orders) TO STDOUT"),
    ],
)
def test_a_table_is_copied_as_a_query(names: Names, text: str, becomes: str) -> None:
    shown = plain(rewrite(text, names, hidden).text).replace("CAST('m' AS text)", "'m'::text")
    only = CUSTOMERS[1:-1].replace("FROM public", "FROM ONLY public")
    assert shown == becomes.replace("{only}", only)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("copy customer_names to stdout", "a view"),
        ("copy kept to stdout", "a materialized-view"),
        ("copy events to stdout", "partitioned"),
        ("copy animals to stdout", "partitioned"),
        ("copy customers (nothing) to stdout", "not known"),
        ("copy customers from stdin", "goes to STDOUT"),
        ("copy customers to '/tmp/x'", "goes to STDOUT"),
        ("copy nowhere to stdout", "not known"),
    ],
)
def test_what_would_not_be_copied_the_same_is_refused(names: Names, text: str, says: str) -> None:
    with pytest.raises(Unfollowed, match=says):
        rewrite(text, names, hidden)


def test_copies_are_the_same_to_the_byte(names: Names, server: Connection) -> None:
    """With masks that change nothing."""

    def same(relation: Relation) -> SourceMasks:
        masked = MASKED.get((relation.schema, relation.name), ())
        return SourceMasks({name: f"pg_catalog.concat({name})" for name in masked if name == "ssn"})

    for text in (
        "copy customers to stdout",
        "copy customers (ssn, id) to stdout (format csv, header, force_quote *)",
        "copy customers (id, ssn) to stdout (format csv, force_quote (ssn), null 'none')",
        "copy customers to stdout (format binary)",
        "copy customers (profile, tags) to stdout (delimiter '|')",
    ):
        copied = []
        for each in (text, rewrite(text, names, same).text):
            with server.cursor() as cursor, cursor.copy(each.encode()) as copy:
                copied.append(b"".join(bytes(part) for part in copy))
        assert copied[0] == copied[1], text
