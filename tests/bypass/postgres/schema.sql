-- The database that is attacked. Every value that must not leave holds the word CANARY-.

create table public.customers (
    id int primary key,
    name text not null,
    ssn text,
    email text,
    profile jsonb,
    tags text[],
    picture bytea,
    born date,
    note text
);
insert into public.customers values
    (1, 'Ada', 'CANARY-ssn-1', 'CANARY-one@leak.test', '{"pin": "CANARY-pin-1"}', '{CANARY-tag-1,x}', 'CANARY-pic-1', '1981-01-19', 'call ada.canary@example.com about CANARY'),
    (2, 'Bob', 'CANARY-ssn-2', 'CANARY-two@leak.test', '{"pin": "CANARY-pin-2"}', '{CANARY-tag-2}', 'CANARY-pic-2', '1982-02-19', 'nothing'),
    (3, 'Cy', 'CANARY-ssn-3', 'CANARY-three@leak.test', '{"pin": "CANARY-pin-3"}', null, null, null, null);
-- A generated column in front of a masked one: COPY leaves it out of a table's rows.
create table public.patients (
    id int primary key,
    shout text generated always as (upper('p' || id)) stored,
    ssn text,
    ward text
);
insert into public.patients values (1, default, 'CANARY-patient-1', 'east'), (2, default, 'CANARY-patient-2', 'west');

create table public.orders (id int primary key, customer int references public.customers, total numeric, state text default 'new', note text);
insert into public.orders select n, 1 + n % 3, n * 10, 'new', 'note ' || n from generate_series(1, 30) n;
create table public.notes (id serial primary key, body text);
insert into public.notes (body) values ('one'), ('two');
create table public.dropped_column (id int, gone text, ssn text);
alter table public.dropped_column drop column gone;
insert into public.dropped_column values (1, 'CANARY-dropped-1');

-- Nobody may read this at all.
create table public.vault (id int primary key, secret text);
insert into public.vault values (1, 'CANARY-vault-1'), (2, 'CANARY-vault-2');
create schema private;
create table private.keys (id int primary key, key text);
insert into private.keys values (1, 'CANARY-key-1');
create schema "public.vault";
create table "public.vault"."x" (id int, secret text);
create table public."vault.x" (id int, secret text);
insert into public."vault.x" values (1, 'CANARY-dotted-1');

-- Partitions and heirs.
create table public.events (id int, at date, ssn text) partition by range (at);
create table public.events_2024 partition of public.events for values from ('2024-01-01') to ('2025-01-01');
create table public.events_2025 partition of public.events for values from ('2025-01-01') to ('2026-01-01');
insert into public.events values (1, '2024-05-05', 'CANARY-event-1'), (2, '2025-05-05', 'CANARY-event-2');
create table public.base (id int, ssn text);
create table public.heir (extra text) inherits (public.base);
insert into public.heir values (1, 'CANARY-heir-1', 'x');

-- Views.
create view public.customer_names as select id, name from public.customers;
create view public.customer_all as select * from public.customers;
create view public.customer_renamed as select id as a, ssn as b, email as c from public.customers;
create view public.customer_computed as select id, substr(ssn, 1, 20) || '' as part from public.customers;
create view public.customer_nested as select b as z from public.customer_renamed;
create view public.customer_union as select ssn as u from public.customers union all select name from public.customers;
create materialized view public.customer_kept as select id, ssn as kept, lower(email) as low from public.customers;
create view public.vault_view as select secret from public.vault;

-- What runs code.
create table public.trail (id serial primary key, what text);
create function public.bump(what text default 'bump') returns int language plpgsql volatile as
    $$ begin insert into public.trail (what) values (what); return 1; end $$;
create function public.sly(what int) returns int language plpgsql immutable as
    $$ begin perform public.bump('sly'); return what; end $$;
create function public.stable_bump() returns int language sql stable as $$ select public.sly(1) $$;
create function public.peek(c public.customers) returns text language sql stable as $$ select c.ssn $$;
create function public.peek_vault() returns text language sql stable as $$ select secret from public.vault limit 1 $$;
create function public.rows_of_vault() returns setof public.vault language sql stable as $$ select * from public.vault $$;
create function public.run(what text) returns text language plpgsql volatile as
    $$ declare r text; begin execute what into r; return r; end $$;
create procedure public.proceed() language plpgsql as $$ begin insert into public.trail (what) values ('proceed'); end $$;
create function public.sly_op(a int, b int) returns boolean language plpgsql immutable as
    $$ begin perform public.bump('operator'); return true; end $$;
create operator public.=== (leftarg = int, rightarg = int, function = public.sly_op);
create function public.sly_minus(a text) returns text language plpgsql immutable as
    $$ begin perform public.bump('prefix'); return a; end $$;
create operator public.@@@ (rightarg = text, function = public.sly_minus);
create aggregate public.sly_sum (int) (sfunc = int4pl, stype = int, finalfunc = public.sly, initcond = '0');
create type public.box2 as (w int, h int);
create function public.to_box(n int) returns public.box2 language plpgsql immutable as
    $$ begin perform public.bump('cast'); return (n, n)::public.box2; end $$;
create cast (int as public.box2) with function public.to_box (int);
create function public.never(v text) returns boolean language plpgsql immutable as
    $$ begin perform public.bump('domain'); return true; end $$;
create domain public.checked as text check (public.never(value));
create view public.sneaky as select public.stable_bump() as n;
create view public.sneaky_where as select id from public.customer_names where public.sly(id) > 0;
create table public.defaulted (id int, n int default public.bump('default'));
create table public.indexed (n int);
create function public.abs_plus(n int) returns int language sql immutable as $$ select abs(n) $$;
create index indexed_n on public.indexed (public.abs_plus(n));
create function public.trailed() returns trigger language plpgsql as
    $$ begin insert into public.trail (what) values ('trigger'); return new; end $$;
create table public.triggered (id int);
create trigger t before insert on public.triggered for each row execute function public.trailed();
create table public.ruled (id int);
create rule r as on insert to public.ruled do also insert into public.trail (what) values ('rule');
create function public.lower(a public.box2) returns int language plpgsql immutable as
    $$ begin perform public.bump('overload'); return 1; end $$;
create function public.length(a public.customers) returns text language sql stable as $$ select a.ssn $$;
create function public.setter(what text) returns text language plpgsql volatile as
    $$ begin return set_config('search_path', what, false); end $$;
create sequence public.counter;
create sequence private.secret_counter;
create statistics public.customer_stats (mcv) on name, ssn from public.customers;
analyze;

-- What runs code where no call stands.
create function public.box_equal(a public.box2, b public.box2) returns boolean language plpgsql immutable as
    $$ begin perform public.bump('equal'); return true; end $$;
create schema odd;
create operator odd.= (leftarg = public.box2, rightarg = public.box2, function = public.box_equal);
create function public.box_not_less(a public.box2, b public.box2) returns boolean language plpgsql immutable as
    $$ begin perform public.bump('not less'); return true; end $$;
create operator odd.>= (leftarg = public.box2, rightarg = public.box2, function = public.box_not_less);
create operator odd.<= (leftarg = public.box2, rightarg = public.box2, function = public.box_not_less);
create domain public.box_domain as public.box2;
create type public.crate as (b public.box2);
create type public.crate2 as (n int);
create function public.to_crate(n money) returns public.crate2 language plpgsql immutable as
    $$ begin perform public.bump('unasked'); return row(1)::public.crate2; end $$;
create cast (money as public.crate2) with function public.to_crate (money) as implicit;
create table public.crates (id int, b public.box2);
create type public.mood as enum ('glad', 'sad');
create function public.mood_json(m public.mood) returns json language plpgsql immutable as
    $$ begin perform public.bump('json'); return '{}'; end $$;
create cast (public.mood as json) with function public.mood_json (public.mood);
create function public.mood_text(m public.mood) returns text language plpgsql immutable as
    $$ begin perform public.bump('implicit'); return 'm'; end $$;
create cast (public.mood as text) with function public.mood_text (public.mood) as implicit;
create table public.moods (m public.mood);
insert into public.moods values ('glad');
create view public.sneaky_operator as select id from public.customer_names where id === 1;
create view public.sneaky_aggregate as select public.sly_sum(id) from public.customer_names;
