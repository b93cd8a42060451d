"""A small schema with one of everything that makes names hard, on a real server."""

from __future__ import annotations

import psycopg

from sallyport.protocols.postgres import catalog, catalog_queries
from sallyport.sql.catalogue import CatalogueSnapshot

SCHEMA = """
create schema sales;
create schema hidden;
create table customers (
    id int primary key, name text not null, email text unique, ssn text, country text,
    profile jsonb, tags text[], born date);
create table orders (
    id serial primary key, customer_id int references customers, total numeric,
    status text default 'new', placed timestamptz default now(), note text);
create table sales.leads (id int, email text, score int, owner int);
create table sales.customers (id int, name text, secret text);
create table hidden.orders (id int, what text);
create table events (id bigint, at date, kind text, body text) partition by range (at);
create table events_old partition of events for values from ('2020-01-01') to ('2021-01-01');
create table events_new partition of events for values from ('2021-01-01') to ('2030-01-01');
create table animals (name text, legs int);
create table dogs (breed text) inherits (animals);
create table "Quoted Table" ("Odd Column" int, "select" text);
create type address as (street text, city text);
create domain percent as int check (value between 0 and 100);
create type mood as enum ('sad', 'ok');
create table people (id int, home address, feels mood, share percent);
create view customer_names as
    select id, name, lower(email) as mail, ssn from customers where country <> 'XX';
create view deeper as select id, mail, ssn as number from customer_names;
create view totals as
    select c.id, c.email, sum(o.total) as total from customers c
    join orders o on o.customer_id = c.id group by c.id, c.email;
create view whole as select c as row from customers c;
create materialized view kept as select id, email from customers;
create function touch(int) returns int language plpgsql as
    $$ begin update orders set note = 'touched' where id = $1; return $1; end $$;
create function peek(customers) returns text language sql stable as $$ select $1.ssn $$;
create view calls as select id, touch(id) as t from orders;
create function plus_bad(int, text) returns int language plpgsql as
    $$ begin delete from orders; return 1; end $$;
create operator @+ (leftarg = int, rightarg = text, function = plus_bad);
create function mood_int(mood) returns int language plpgsql as $$ begin return 1; end $$;
create cast (mood as int) with function mood_int(mood);
create procedure work() language plpgsql as $$ begin null; end $$;
create function hidden.lower(text) returns text language plpgsql as
    $$ begin return 'hidden'; end $$;
insert into customers values (1, 'Ann', 'ann@example.com', '078-05-1120', 'NL', '{"a": 1}', '{x}'),
    (2, 'Bob', 'bob@example.com', '219-09-9999', 'DE', '{}', '{}');
insert into orders (customer_id, total) values (1, 10), (2, 20), (1, 30);
insert into events values (1, '2020-05-05', 'login', 'b'), (2, '2022-05-05', 'login', 'c');
insert into sales.leads values (1, 'lead@example.com', 5, 1);
refresh materialized view kept;
analyze;
"""


def rows_of(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> catalog.Rows:
    """Return the rows of a query as the texts that the wire shows."""
    cursor = connection.execute(sql)
    return [[_shown(cell) for cell in row] for row in cursor.fetchall()]


def _shown(cell: object) -> str | None:
    if isinstance(cell, bool):
        return "t" if cell else "f"
    return None if cell is None else str(cell)


def snapshot(connection: psycopg.Connection[tuple[object, ...]]) -> CatalogueSnapshot:
    """Return the catalogue as the plugin would take it."""
    with connection.transaction(force_rollback=True):
        rows = {name: rows_of(connection, sql) for name, sql in catalog_queries.QUERIES.items()}
    return catalog.build(rows)
