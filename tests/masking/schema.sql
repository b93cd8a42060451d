-- The shape of both worlds. No row: both databases are copies of one template, so that every oid is
-- the same in them; `rows.sql` fills each with its own secrets.

create table public.customers (
    id int primary key,
    name text not null,
    ssn varchar(11) unique,
    email text,
    city text,
    salary numeric(10,2),
    born date,
    profile jsonb,
    tags text[],
    picture bytea,
    active boolean not null default true,
    visits int not null default 0,
    ssn_tail text generated always as (right(ssn, 4)) stored,
    ssn_size int generated always as (length(replace(ssn, '0', ''))) virtual,
    notes text
);
create index customers_salary on public.customers (salary);
create index customers_email on public.customers (lower(email));
create table public.payments (
    id int primary key,
    customer_id int references public.customers,
    card_number text,
    amount numeric(10,2) not null,
    state text not null default 'new',
    paid timestamptz,
    card_kind text generated always as (case when card_number like '4%' then 'visa' else 'other' end) stored
);
create table public.orders (
    id int primary key,
    customer_id int references public.customers,
    product text not null,
    total numeric(10,2) not null,
    state text not null default 'new',
    note text,
    placed date not null
);
create table public.scratch (id int primary key, body text, n numeric);
create table public.badges (id int primary key, ssn varchar(11) references public.customers (ssn), level int);
create table public.visits (id int primary key, who varchar(11) references public.customers (ssn), at int);
create table public.coded (
    id int primary key, pin text, room int, guess text,
    ends text generated always as (right(pin, 4)) stored unique,
    check (guess is distinct from pin), unique (room, pin)
);
create table public.kinds (code text primary key, label text);
create table public.kinded (id int primary key, kind text references public.kinds on delete cascade);
create table public.fixed (id int primary key, kind text references public.kinds);
create table public.halls (id int primary key);
create table public.stalls (id int primary key, hall int references public.halls on delete cascade, kind int default 1, unique (id, kind));
create table public.held (id int primary key, stall int, kind int, foreign key (stall, kind) references public.stalls (id, kind));
create table public.twins (id int primary key, pin text unique);
create table public.twins_of (id int primary key, pin text references public.twins (pin));
create table public.reckoned (id int primary key, pin text, n int generated always as (pin::int) virtual);
create table public.priced (
    id int primary key, pin text, cost int, n int, note text,
    total int generated always as (cost * n) stored, check (position(coalesce(note, 'x') in split_part(priced::text, ',', 2)) = 0)
);
create table public.priced_too (id int primary key, cost int, n int);
create index on public.priced_too ((cost * n));
create view public.coded_some as select id, guess, room from public.coded;
-- What a row has to be like is another thing in another partition.
create table public.moved (id int, pin text, room int, bed int) partition by list (room);
create table public.moved_1 partition of public.moved for values in (1);
create table public.moved_2 partition of public.moved for values in (2);
create unique index on public.moved_2 (pin);
create table public.moved_3 partition of public.moved (check (pin like 'PIN%')) for values in (3);
create table public.moved_4 partition of public.moved for values in (4) partition by list (bed);
create table public.moved_4_1 partition of public.moved_4 for values in (1);
create table public.moved_4_2 partition of public.moved_4 (check (pin like 'PIN%')) for values in (2);
create view public.moved_view as select id, room as r from public.moved;
create table public.parts (id int, pin text, room int) partition by list (id);
create table public.parts_1 partition of public.parts default;
create unique index on public.parts_1 (room, pin);
create domain public.worded as text;
create materialized view public.moved_kept as select id, pin from public.moved with no data;
create unique index on public.moved_kept (pin);
create table public.words_of (id int primary key, word public.worded);
create table public.indexed (id int primary key, city text, pin text);
create index on public.indexed (city, pin);
create index on public.indexed (lower(pin), city) where pin is not null;
create table public.filled (id int primary key, room int, pin text default 'PIN-KESTREL-9', unique (room, pin));
create view public.filled_some as select id, room from public.filled;
create table public.ranged (id int, cost int, n int) partition by range (((cost + n)));
create table public.ranged_1 partition of public.ranged for values from (minvalue) to (1500000);
create view public.coded_view as select id, pin, room from public.coded;
create table public.api_keys (
    id int primary key, owner text, key text, hash bytea, rights text[],
    exclude using btree (key with =)
);
create sequence public.counter;
-- An index that a masked column leads and that holds all that is asked for: a declared limit.
create table public.wages (id int, name text, salary numeric(10,2));
create index wages_pay on public.wages (salary) include (id, name);

-- Partitions and heirs: only the parents are named by the policy.
create table public.events (id int, at date, kind text, token text) partition by range (at);
create table public.events_2024 partition of public.events for values from ('2024-01-01') to ('2025-01-01');
create table public.events_2025 partition of public.events for values from ('2025-01-01') to ('2026-01-01');
create table public.logins (id int, token text) partition by hash (token);
create table public.logins_0 partition of public.logins for values with (modulus 2, remainder 0);
create table public.logins_1 partition of public.logins for values with (modulus 2, remainder 1);
create table public.base (id int, pin text);
create table public.heir (extra text) inherits (public.base);
create table public.grandheir (more text) inherits (public.heir);
-- Here the policy names the heir and the partition alone.
create table public.locks (id int, pin text);
create table public.safes (pin text) inherits (public.locks);
create table public.doors (id int, pin text) partition by list (id);
create table public.gates partition of public.doors default;
create view public.locked as select id, pin from public.locks;

-- Names that need quotes, a type of one's own, a second schema.
create schema crm;
create table crm.customers (id int, ssn text, "Full Name" text);
create table public."Odd Name" (id int, "Secret Word" text, "ssn" text);
create type public.person as (first text, ssn text);
create domain public.pin_code as text;
create table public.typed (id int, who public.person, code public.pin_code, host inet, token uuid, at timestamptz, n bigint, d double precision, doc json);

-- Views.
create view public.contacts as select id, name, email from public.customers;
create view public.everybody as select * from public.customers;
create view public.renamed (a, b, c) as select id, ssn, email from public.customers;
create view public.computed as select id, upper(ssn) || '!' as loud, salary * 2 as twice from public.customers;
create view public.nested as select b as z from public.renamed;
create view public.filtered as select id, name from public.customers where salary > 5000;
create view public.sorted as select id, name from public.customers order by ssn;
create view public.grouped as select left(ssn, 1) as first, count(*) as n from public.customers group by 1;
create view public.spending as
    select c.id, c.name, sum(p.amount) as total from public.customers c
    join public.payments p on p.customer_id = c.id group by c.id, c.name;
create view public.ranked as
    select id, (select count(*) from public.customers o where o.ssn < c.ssn) as place from public.customers c;
create view public.windowed as select id, rank() over (order by ssn) as place from public.customers;
create view public.judged as select id, case when ssn like '5%' then 'a' else 'b' end as kind from public.customers;
create view public.judged_null as select id, case when ssn like '5%' then name end as kind from public.customers;
create view public.ended as select id, right(left(email, 14), 5) as part from public.customers;
create view public.through_cte as with q as (select id from public.customers where ssn > '8') select id from q;
create view public.matched as
    select c.id, b.level from public.customers c join public.badges b on b.ssn = c.ssn and c.ssn > '8';
create view public.had as select city from public.customers group by city having max(ssn) > '8';
create view public.different as select distinct salary > 50000 as rich from public.customers;
create view public.few as select id from public.orders limit (select length(ssn) from public.customers where id = 4);
create view public.over_filtered as select name from public.filtered;
create view public.either as select id from public.customers where ssn > '8' union all select 99;
create view public.lateral_view as
    select o.id from public.orders o, lateral (select 1 from public.customers c where c.id = o.customer_id and c.ssn > '8') l;
create view public.barrier with (security_barrier) as select id, name, ssn from public.customers;
create view public.paired as select c.id, p.card_number as card from public.customers c join public.payments p on p.customer_id = c.id;
create view public.unioned as select ssn as v from public.customers union all select card_number from public.payments;
create materialized view public.kept as select id, ssn as kept, lower(email) as low, name from public.customers with no data;
create materialized view public.totals as select city, count(*) as n from public.customers group by city with no data;

-- What only the database can mask: each column has another transform.
create domain public.wage as int;
create table public.folk (
    id int primary key, name text, born date not null, income public.wage, host inet, nick varchar(20),
    phone char(12), contact jsonb, info json, seen timestamptz(0), score numeric(8,2), pins text[],
    twice int generated always as (income * 2) stored
);
create table public.elders (title text) inherits (public.folk);
create view public.folk_view as select id, income as pay, contact as c, nick from public.folk;
create view public.folk_shout as select id, income + 1 as more, upper(nick) as loud from public.folk;
create table public.parcels (id int, sender text, receiver text) partition by list (id);
create table public.parcels_1 partition of public.parcels default;

-- What the comments of columns say of them.
create table public.wards (id int, name text, ssn text, pay numeric, room text) partition by range (id);
create table public.wards_low partition of public.wards for values from (0) to (100);
create view public.ward_view as select id, ssn as s, pay + 1 as more from public.wards;
create table public."Odd.*{Ward}" (id int, "a\b,{*}" text);
comment on column public.wards.ssn is 'The number of a person (GDPR.ssn).';
comment on column public.wards.pay is 'A month''s. sallyport: internal.pay, hr';
comment on column public.wards_low.room is 'sensitive';
comment on column public.ward_view.id is 'secretive, gdpr-like, gdprs, non-gdpr';
comment on column public."Odd.*{Ward}"."a\b,{*}" is 'gdpr';

-- Copies that no rule names.
create table public.audit (id int, what text);

-- Code.
create function public.peek(n int) returns text language sql stable as $$ select ssn from public.customers where id = n $$;
create function public.run(q text) returns text language plpgsql as $$ declare r text; begin execute q into r; return r; end $$;
create function public.ssn_of(c public.customers) returns text language sql stable as $$ select c.ssn $$;
create function public.who(c public.customers) returns text language plpgsql stable as $$ begin return c.email; end $$;
create function public.reverse(c public.customers) returns text language sql stable as $$ select c.ssn $$;
create function public.same_ssn(n int, t text) returns boolean language sql stable as
    $$ select exists (select 1 from public.customers where id = n and ssn = t) $$;
create operator public.=== (leftarg = int, rightarg = text, function = public.same_ssn);
create type public.shown as (v text);
create function public.as_shown(p public.person) returns public.shown language sql stable as
    $$ select row(max(ssn))::public.shown from public.customers $$;
create cast (public.person as public.shown) with function public.as_shown (public.person);
create function public.all_ssns() returns setof text language sql stable as $$ select ssn from public.customers order by id $$;
create function public.shout(t text) returns text language plpgsql as $$ begin raise notice 'got %', t; return t; end $$;
create function public.fail(t text) returns int language plpgsql as $$ begin raise exception 'no: %', t; end $$;
create function public.double(n int) returns int language sql immutable as $$ select n * 2 $$;
create aggregate public.glue(text) (sfunc = textcat, stype = text);
create procedure public.copy_out() language plpgsql as
    $$ begin insert into public.scratch select id, ssn from public.customers on conflict do nothing; end $$;
create function public.traced() returns trigger language plpgsql as
    $$ begin raise notice 'customer % has %', new.id, new.ssn; return new; end $$;
create trigger traced before update of visits on public.customers for each row execute function public.traced();
create statistics public.pairs (mcv, dependencies) on city, ssn from public.customers;

-- Rules: what they do beside a write, and in its place.
create table public.shown_too (id int primary key, note text);
create rule shown_too as on update to public.shown_too do also select ssn from public.customers order by id;
create table public.noted (id int primary key, note text);
create rule noted as on update to public.noted do also insert into public.audit values (old.id, new.note);
create table public.guessed (id int primary key, pin text, note text);
create rule guessed as on update to public.guessed where old.pin like 'PIN%' do instead nothing;
create view public.ruled_view as select id, note from public.noted;
create rule ruled_view as on update to public.ruled_view do instead
    update public.noted set note = new.note where id = old.id
    returning id, (select ssn::text from public.customers c where c.id = noted.id);
create rule ruled_view_gone as on delete to public.ruled_view do instead delete from public.customers where ssn > old.note;
create view public.plainly as select id, note from public.guessed;

-- What is computed fails, or makes rows, by the value.
create view public.parsed as select id, name, ssn::int as n from public.customers;
create view public.parsed_over as select id, n as m from public.parsed;
create view public.spread as select id, generate_series(1, length(ssn)) as g from public.customers;
create view public.spread_tags as select id, unnest(tags) is null as t from public.customers;
-- Operators that a user made of the server's own functions, and a view over one that runs a text.
create operator public.<~~> (leftarg = tsquery, rightarg = text, function = pg_catalog.ts_rewrite);
create operator public.#@# (rightarg = text, function = pg_catalog.ts_stat);
create view public.words as select word from ts_stat('select to_tsvector(''simple'', ssn) from public.customers');
create view public.rewritten as select ('a'::tsquery <~~> 'select ''a''::tsquery, plainto_tsquery(''simple'', ssn) from public.customers where id = 1')::text as v;
create materialized view public.parsed_kept as select id, ssn::int as n from public.customers with no data;
