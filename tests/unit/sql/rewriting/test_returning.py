"""RETURNING: masked columns in it are masked where they stand, whatever writes."""

from __future__ import annotations

import pytest

from sallyport.sql.catalogue import CatalogueSnapshot, Relation
from sallyport.sql.names import Names
from sallyport.sql.rewriting.rewrite import SourceMasks, Unfollowed, rewrite
from sallyport.sql.session import SessionState
from tests.unit.sql.conftest import Connection

MASKED = {("public", "customers"): ("email", "ssn"), ("public", "customer_names"): ("mail", "ssn")}
CUSTOMERS = "id, name, email, ssn, country, profile, tags, born"


def hidden(relation: Relation) -> SourceMasks:
    names = MASKED.get((relation.schema, relation.name), ())
    return SourceMasks({name: f"pg_catalog.left({name}, 1)" for name in names})


@pytest.fixture
def names(catalogue: CatalogueSnapshot) -> Names:
    return Names(SessionState.start("understanding", "postgres", None, 18), catalogue)


def given_back(text: str, names: Names) -> str:
    written = " ".join(rewrite(text, names, hidden).text.replace("pg_catalog.", "").split())
    written = written.replace('"left"', "left")
    return written[written.index("RETURNING ") + 10 :]


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("ssn", "left(customers.ssn, 1) AS ssn"),
        ("upper(ssn)", "upper(left(customers.ssn, 1))"),
        ("ssn::varchar", "left(customers.ssn, 1)::varchar AS ssn"),
        ('ssn collate "C"', 'left(customers.ssn, 1) COLLATE "C" AS ssn'),
        (
            "case when id > 1 then name else ssn end",
            "CASE WHEN id > 1 THEN name ELSE left(customers.ssn, 1) END AS ssn",
        ),
        ("customers.ssn as x, id", "left(customers.ssn, 1) AS x, id AS id"),
        ("public.customers.ssn", "left(customers.ssn, 1) AS ssn"),
        (
            "public.customers.id, upper(ssn)",
            "public.customers.id AS id, upper(left(customers.ssn, 1))",
        ),
        (
            "old.ssn = new.ssn",
            "left(old.ssn, 1) = left(new.ssn, 1)",
        ),
        ("with (old as was) was.ssn || ''", "WITH (OLD AS was) left(was.ssn, 1) || ''"),
        (
            "old.*",
            "old.id AS id, old.name AS name, left(old.email, 1) AS email, left(old.ssn, 1) AS ssn, "
            "old.country AS country, old.profile AS profile, old.tags AS tags, old.born AS born",
        ),
        (
            "upper(name), *",
            "upper(name), customers.id AS id, customers.name AS name, left(customers.email, 1) AS email, "
            "left(customers.ssn, 1) AS ssn, customers.country AS country, customers.profile AS profile, "
            "customers.tags AS tags, customers.born AS born",
        ),
        (
            "customers",
            "row(customers.id, customers.name, left(customers.email, 1), left(customers.ssn, 1), "
            "customers.country, customers.profile, customers.tags, customers.born)"
            "::public.customers AS customers",
        ),
        (
            "(customers).ssn",
            "(row(customers.id, customers.name, left(customers.email, 1), left(customers.ssn, 1), "
            "customers.country, customers.profile, customers.tags, customers.born)"
            "::public.customers).ssn",
        ),
        ("ctid, tableoid", "ctid AS ctid, tableoid AS tableoid"),
        (
            "xmlforest(ssn, id as n), xmlelement(name a, xmlattributes(email))",
            "xmlforest(left(customers.ssn, 1) AS ssn, id AS n), "
            "xmlelement(name a, xmlattributes(left(customers.email, 1) AS email))",
        ),
        (
            "upper(ssn), (select count(*) from orders where customer_id = customers.id)",
            "upper(left(customers.ssn, 1)), (SELECT count(*) FROM public.orders "
            "WHERE customer_id = customers.id)",
        ),
        (
            "(select max(c.ssn) from customers c)",
            "(SELECT max(c.ssn) FROM (SELECT id, name, left(email, 1) AS email, left(ssn, 1) AS ssn, "
            "country, profile, tags, born FROM public.customers) c)",
        ),
    ],
)
def test_masked_columns_are_masked_where_they_stand(names: Names, given: str, becomes: str) -> None:
    written = given_back(f"update customers set name = name returning {given}", names)
    assert written.replace("ROW(", "row(") == becomes


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        (
            "insert into customers as c (id) values (9) returning upper(c.ssn)",
            "upper(left(c.ssn, 1))",
        ),
        (
            "insert into customers (id) values (1) on conflict (id) do update set name = 'x' "
            "returning length(ssn)",
            "length(left(customers.ssn, 1))",
        ),
        (
            "delete from customers where id = 1 returning ssn || email",
            "left(customers.ssn, 1) || left(customers.email, 1)",
        ),
        (
            "update orders o set total = 1 from customers c where c.id = o.customer_id "
            "returning o.id, lower(c.ssn)",
            "o.id AS id, lower(left(c.ssn, 1))",
        ),
        (
            "delete from orders using customers where customer_id = customers.id returning ssn::text",
            "left(customers.ssn, 1)::text AS ssn",
        ),
        (
            "merge into orders o using customers c on c.id = o.customer_id when matched then delete "
            "returning merge_action(), upper(c.ssn)",
            "merge_action() , upper(left(c.ssn, 1))",
        ),
        (
            "delete from orders o using customers c, lateral (select c.name) q, (select 1 as ssn) r "
            "returning upper(q.name), upper(c.ssn)",
            "upper(q.name), upper(left(c.ssn, 1))",
        ),
        (
            "update customers set name = new.ssn from (values (1, 'x')) as new (id, ssn) "
            "where customers.id = new.id returning new.id, new.ssn, upper(old.ssn)",
            "new.id AS id, new.ssn AS ssn, upper(left(old.ssn, 1))",
        ),
        (
            "update customers set name = 'x' from (orders as old join orders as new on true) as o "
            "returning upper(old.ssn), new.ssn || ''",
            "upper(left(old.ssn, 1)), left(new.ssn, 1) || ''",
        ),
        (
            "update customers set name = 'x' from (orders join orders as new on true) "
            "returning upper(old.ssn), new.total || ''",
            "upper(left(old.ssn, 1)), new.total || ''",
        ),
        (
            "with next as (select id from orders o limit 1 for update of o skip locked) update customers c "
            "set name = 'x' from next where c.id = next.id returning upper(c.ssn)",
            "upper(left(c.ssn, 1))",
        ),
        (
            "prepare p as delete from customers returning upper(ssn)",
            "upper(left(customers.ssn, 1))",
        ),
        (
            "copy (delete from customers returning upper(ssn)) to stdout",
            "upper(left(customers.ssn, 1))) TO STDOUT",
        ),
        (
            "with o as (select id from orders) delete from customers where id in (select id from o) "
            "returning upper(ssn)",
            "upper(left(customers.ssn, 1))",
        ),
    ],
)
def test_every_statement_that_writes(names: Names, text: str, becomes: str) -> None:
    assert given_back(text, names) == becomes


def test_a_row_called_like_a_system_column_is_not_that(names: Names) -> None:
    found = given_back("update customers ctid set name = name returning ctid, ssn", names)
    assert found == "ctid AS ctid, left(ctid.ssn, 1) AS ssn"


def test_what_a_mask_names_itself_hides_no_row(names: Names) -> None:
    def inner(relation: Relation) -> SourceMasks:
        shown = "(SELECT max(p1.v || p1_.v) FROM unnest(tags) AS p1 (v), unnest(tags) AS p1_ (v))"
        return SourceMasks({"tags": shown} if relation.name == "customers" else {})

    text = "delete from customers p1 returning p1.tags, old.tags"
    written = rewrite(text, names, inner).text
    assert "max(p1__.v || p1_.v) FROM unnest(p1.tags) p1__(v), unnest(p1.tags) p1_(v)" in written
    assert "max(p1.v || p1_.v) FROM unnest(old.tags) p1(v), unnest(old.tags) p1_(v)" in written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("delete from customers where id = 1", "it writes"),
        (
            "delete from orders o using (select * from customers) c where true returning c.ssn",
            "writes from",
        ),
        (
            "delete from orders o using customers c join orders p on true returning c.ssn",
            "writes from",
        ),
        (
            "delete from orders o using customers c, lateral (select c.ssn as v) q returning upper(v)",
            "FROM names `c.ssn`",
        ),
        (
            "delete from orders o using customers c, lateral (select c.*) q returning upper(q.ssn)",
            "FROM names `c.*`",
        ),
        (
            "update orders o set total = 1 from customers c, (orders x join lateral "
            "(with w as (select ssn) select ssn from w) q on true) returning q.ssn || ''",
            "FROM names `ssn`",
        ),
        (
            "delete from orders o using customers c, upper(c.ssn) u returning u || c.email",
            "FROM names `c.ssn`",
        ),
        ("update orders set total = (select 1 from customers) returning id", "writes from"),
        (
            "update customers set name = 'x' where id = (select id from customers for update) "
            "returning upper(ssn)",
            "cannot be locked",
        ),
        (
            "with c as (select ssn from customers) delete from orders using c returning ssn",
            "writes from",
        ),
        (
            "with d as (delete from customers returning ssn) delete from orders returning id",
            "writes",
        ),
        ("insert into orders (id) select id from customers returning id", "writes from"),
        ("delete from customer_names returning upper(ssn)", "a view"),
        ("delete from customers returning (select ssn)", "subselect"),
        ("delete from customers returning (select customers.ssn)", "subselect"),
        ("delete from customers returning (select public.customers.ssn)", "subselect"),
        ("delete from customers returning (select customers)", "subselect"),
        ("delete from customers returning (select old.ssn)", "subselect"),
        ("delete from customers returning (select (old).ssn)", "subselect"),
        ("delete from customers returning (select customers.peek)", "subselect"),
        ("delete from customers returning json_array(select ssn)", "subselect"),
        ("delete from customers returning exists (select from orders group by ssn)", "subselect"),
        ("delete from customers returning customers.peek", "no column"),
        ("delete from customers returning old", "taken whole"),
        ("delete from customers returning to_json(new)", "taken whole"),
        ("delete from customers returning row(customers.*)", "apart"),
        ("delete from customers c using orders o returning *, upper(ssn)", "several relations"),
        ("delete from orders o using customers c returning to_json(c)", "taken whole"),
        ("delete from customers c using customers d returning upper(ssn)", "several columns"),
        ("delete from customers using customers returning upper(ssn)", "two relations"),
        ("delete from customers c using orders o (ssn) returning upper(ssn)", "other names"),
        ("delete from customers c using (select 1) o returning c", "a column or a row"),
        ("delete from customers returning other.customers.ssn", "more than its table"),
        ("delete from customers returning a.b.customers.ssn", "more than its table"),
        (
            "delete from customers returning upper(ssn), (select max(sales.customers.id) "
            "from sales.customers where public.customers.id = 1)",
            "more than its table",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused(names: Names, text: str, says: str) -> None:
    with pytest.raises(Unfollowed, match=says):
        rewrite(text, names, hidden)


def test_what_is_given_back_has_the_same_names_types_and_values(
    names: Names, server: Connection
) -> None:
    """With masks that change nothing, and by each way in which a write gives rows back."""

    def same(relation: Relation) -> SourceMasks:
        found = MASKED.get((relation.schema, relation.name), ())
        return SourceMasks(
            {
                name: f"CASE WHEN {name} IS NULL THEN {name} ELSE pg_catalog.concat({name}) END"
                for name in found
            }
        )

    texts = [
        "update customers set name = name returning *",
        "update customers set name = name returning customers.*, ssn::varchar(3), ssn collate \"C\"",
        "update customers c set name = 'x' returning c, (c).ssn, to_jsonb(c), old.name, new.ssn",
        "update customers set name = 'y' returning with (old as o, new as n) o.*, n.ssn",
        "update customers set name = name returning case when id > 1 then name else ssn end",
        "update customers set name = name returning ssn, ssn, upper(ssn), length(ssn), ssn || email",
        "insert into customers (id, name) values (70, 'new') returning *, old.ssn, new.ssn is null",
        "insert into customers (id, name) values (1, 'x') on conflict (id) do update "
        "set name = excluded.name returning id, old.ssn, upper(new.ssn), customers",
        "update orders set total = total from customers c where c.id = customer_id "
        "returning orders.id, c.*, upper(c.ssn)",
        "merge into customers c using orders o on o.customer_id = c.id and o.id = 1 when matched then "
        "update set name = 'm' when not matched by source then do nothing "
        "returning merge_action(), o.id, c.ssn, upper(c.ssn), c",
        "update customers set name = name returning id, (select max(o.id) from orders o "
        "where o.customer_id = customers.id), (select max(ssn) from customers x where x.id = 1)"
        .replace("max(ssn)", "max(x.ssn)"),
    ]  # fmt: skip
    for text in texts:
        found = rewrite(text, names, same)
        answers = []
        for each in (text, found.text):
            with server.transaction(force_rollback=True):
                cursor = server.execute(each.encode())
                assert cursor.description
                columns = [(c.name, c.type_code, c.internal_size) for c in cursor.description]
                answers.append((columns, sorted(map(repr, cursor.fetchall()))))
        assert answers[0][1], text
        for one, other in zip(*(answer[0] for answer in answers), strict=True):
            assert one[:2] == other[:2], text
        assert answers[0][1] == answers[1][1], text
