-- Every block (separated by a line of dashes) is one message, run direct and through the gateway.
create table kinds (id int primary key, a smallint, b int, c bigint, d numeric(12,3), e real, f double precision, g text, h varchar(10), i char(5), j bytea, k date, l time, m timetz, n timestamp, o timestamptz, p interval, q bool, r uuid, s inet, t cidr, u macaddr, v json, w jsonb, x int[], y text[][], z point, aa int4range, ab tsvector, ac xml, ad bit(4), ae money)
----
insert into kinds values (1, 1, 2, 3, 4.5, 1.5, 2.5, 'text', 'varchar', 'ch', '\xdeadbeef', '2024-02-29', '12:34:56.789', '12:34:56+02', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '1 year 2 mons 3 days 04:05:06', true, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '192.168.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03', '{"a": [1, null]}', '{"b": {"c": "d"}}', '{1,2,null}', '{{a,b},{"c d",null}}', '(1,2)', '[1,10)', 'fat cat', null, B'1010', '12.34')
----
insert into kinds (id) values (2), (3)
----
select * from kinds order by id
----
select id, a + b as sum, d * 2, g || 'x', upper(h), length(i), encode(j, 'hex'), k + 1, o at time zone 'UTC', p * 2, not q, w -> 'b' ->> 'c', x[1], array_length(y, 1) from kinds where id = 1
----
select null, 1::smallint, 1::bigint, 'unknown', '1'::text, 1.0, 'NaN'::float8, 'infinity'::timestamp, '{}'::int[], row(1, 'a', null)
----
update kinds set b = b + 1 where id = 1 returning id, b
----
delete from kinds where id = 3 returning *
----
select count(*), sum(c), avg(d), max(g), min(o), array_agg(id order by id), string_agg(g, ','), json_agg(id), bool_and(q) from kinds
----
create table parents (id int generated always as identity primary key, name text not null unique, score numeric check (score >= 0))
----
create table children (id serial primary key, parent int references parents on delete cascade, note text default 'none')
----
insert into parents (name, score) values ('one', 1), ('two', 2.50), ('three', 3) returning *
----
insert into parents (name) values ('one')
----
insert into parents (name) values (null)
----
insert into parents (name, score) values ('minus', -1)
----
insert into children (parent) values (99)
----
insert into children (parent, note) select id, 'of ' || name from parents returning id, parent, note
----
select p.name, c.note from parents p join children c on c.parent = p.id order by p.id
----
select p.name, x.n from parents p left join lateral (select count(*) n from children c where c.parent = p.id) x on true order by 1
----
with t as (select id, name from parents where score > 1) select * from t order by id
----
with recursive n(i) as (values (1) union all select i + 1 from n where i < 5) select i, i * i from n
----
select id, row_number() over (order by id desc), lag(name) over (order by id), sum(score) over () from parents order by id
----
select name from parents union select note from children order by 1
----
select name from parents intersect select 'one'
----
select name from parents except select 'one' order by 1
----
values (1, 'a'), (2, 'b')
----
table parents
----
select distinct on (parent) parent, note from children order by parent, id desc
----
select name, grouping(name), sum(score) from parents group by rollup (name) order by 1 nulls last
----
select * from generate_series(1, 3) with ordinality as g(v, n)
----
select * from unnest(array[1,2], array['a','b','c']) as u(a, b)
----
select case when score > 2 then 'big' when score is null then 'none' else 'small' end from parents order by id
----
select exists (select 1 from parents where name = 'one'), 1 in (select id from parents), 5 > all (select id from parents)
----
select coalesce(null, 'x'), nullif(1, 1), greatest(1, 2, 3), least('a', 'b')
----
select 'abc' like 'a%', 'abc' ~ '^a', 'abc' similar to 'a(b)c', 'ABC' ilike 'abc'
----
select extract(year from date '2024-02-29'), date_trunc('month', timestamp '2024-02-29 12:00'), age(timestamp '2024-03-01', timestamp '2023-01-15'), to_char(timestamp '2024-02-29 12:34', 'YYYY-MM-DD HH24:MI')
----
select substring('postgres' from 2 for 3), position('g' in 'postgres'), trim(both 'x' from 'xxaxx'), overlay('abcdef' placing 'ZZ' from 2 for 2), format('%s-%I', 'a', 'b c'), regexp_replace('aaa', 'a', 'b', 'g'), split_part('a,b,c', ',', 2)
----
select jsonb_build_object('a', 1, 'b', array[1,2]), jsonb_path_query('{"a": [1,2,3]}', '$.a[*]'), '{"a":1}'::jsonb || '{"b":2}', '{"a":1}'::jsonb @> '{"a":1}'
----
select md5('x'), sha256('x'), repeat('x', 5), reverse('abc'), translate('abc', 'ab', 'xy'), ascii('a'), chr(97), lpad('x', 3, '-')
----
merge into parents p using (values ('one', 10), ('four', 4)) as s(name, score) on p.name = s.name when matched then update set score = s.score when not matched then insert (name, score) values (s.name, s.score)
----
insert into parents (name, score) values ('two', 22) on conflict (name) do update set score = excluded.score returning id, name, score
----
insert into parents (name) values ('two') on conflict do nothing
----
select * from parents order by id
----
create view totals as select p.name, count(c.*) as n from parents p left join children c on c.parent = p.id group by p.name
----
select * from totals order by name
----
create materialized view frozen as select * from totals
----
select * from frozen order by name
----
refresh materialized view frozen
----
create index on children (parent)
----
create sequence numbers start 10
----
select nextval('numbers'), nextval('numbers'), currval('numbers')
----
select setval('numbers', 100), lastval()
----
create type mood as enum ('sad', 'ok', 'happy')
----
create domain positive as int check (value > 0)
----
create type pair as (a int, b text)
----
create table typed (m mood, p positive, c pair, ms mood[])
----
insert into typed values ('happy', 1, row(1, 'x'), '{sad,ok}')
----
select m, p, c, (c).a, ms, ms[1] from typed
----
insert into typed values ('angry')
----
insert into typed (p) values (0)
----
create function add_one(i int) returns int language sql immutable as 'select i + 1'
----
select add_one(41)
----
create function loud(t text) returns text language plpgsql as $$ begin raise notice 'loud: %', t; return upper(t); end $$
----
select loud('hey')
----
create procedure clear_notes() language plpgsql as $$ begin update children set note = ''; end $$
----
call clear_notes()
----
select note from children
----
do $$ begin raise warning 'from a block'; end $$
----
do $$ begin raise exception 'failed on purpose' using errcode = 'P0042', detail = 'a detail', hint = 'a hint'; end $$
----
select 1/0
----
select 'x'::int
----
select * from nowhere
----
select nothing from parents
----
selekt 1
----
select 1; select 2; select 3
----
select 1; select 1/0; select 3
----
create table multi (i int); insert into multi values (1); select * from multi
----
insert into multi values (2); insert into multi values ('x'::text::int); insert into multi values (3)
----
select * from multi order by i
----
begin
----
insert into multi values (10)
----
select count(*) from multi
----
rollback
----
select count(*) from multi
----
begin; insert into multi values (11); commit; select count(*) from multi
----
begin
----
select 1/0
----
select 1
----
commit
----
begin isolation level serializable read only
----
insert into multi values (12)
----
rollback
----
begin
----
savepoint a
----
insert into multi values (13)
----
savepoint b
----
select 1/0
----
rollback to savepoint b
----
insert into multi values (14)
----
rollback to a
----
release savepoint a
----
insert into multi values (15)
----
end
----
select * from multi order by i
----
release savepoint nowhere
----
commit
----
rollback
----
start transaction
----
declare c1 scroll cursor for select i from generate_series(1, 10) i
----
fetch 3 from c1
----
fetch backward 1 from c1
----
move 2 in c1
----
fetch all from c1
----
close c1
----
commit
----
declare c2 cursor for select 1
----
declare c3 cursor with hold for select i from multi order by i
----
fetch 2 from c3
----
close c3
----
prepare one (int) as select $1 + 1
----
execute one(41)
----
execute one('x')
----
deallocate one
----
execute one(1)
----
set application_name = 'differential'
----
show application_name
----
set datestyle = 'SQL, DMY'
----
select date '2024-02-29', timestamptz '2024-02-29 12:00+00'
----
reset datestyle
----
set timezone = 'Asia/Tokyo'
----
select timestamptz '2024-02-29 12:00+00'
----
set local statement_timeout = 5
----
set statement_timeout = '30ms'
----
select pg_sleep(1)
----
reset statement_timeout
----
show statement_timeout
----
set search_path = pg_catalog
----
select count(*) from public.multi
----
select count(*) from multi
----
reset search_path
----
set nosuchsetting = 1
----
show nosuchsetting
----
set intervalstyle = 'iso_8601'
----
select interval '1 day 2 hours'
----
set bytea_output = 'escape'
----
select '\xdeadbeef00'::bytea
----
discard all
----
show bytea_output
----
explain (costs off) select * from multi where i = 1
----
explain (costs off, format json) select count(*) from parents
----
explain (analyze, costs off, timing off, summary off, buffers off) select * from multi where i = 1
----
create temporary table scratch (i int) on commit preserve rows
----
insert into scratch select generate_series(1, 5)
----
select sum(i) from scratch
----
create temp table scratch2 on commit drop as select 1 as one
----
truncate scratch
----
drop table scratch
----
create table copied as select * from parents
----
select * into copied2 from parents where id < 3
----
select count(*) from copied2
----
alter table copied add column extra int default 7
----
select * from copied order by id
----
alter table copied rename column extra to more
----
alter table copied alter column more type text
----
alter table copied drop column more
----
alter table copied rename to renamed
----
select count(*) from renamed
----
comment on table renamed is 'a comment'
----
drop table renamed, copied2
----
drop table if exists nowhere
----
drop table nowhere
----
create table parted (k int, v text) partition by range (k)
----
create table parted_low partition of parted for values from (0) to (100)
----
insert into parted values (1, 'low')
----
insert into parted values (1000, 'none')
----
select tableoid::regclass, * from parted
----
create schema other
----
create table other.things (i int)
----
insert into other.things values (1)
----
select * from other.things
----
set search_path = other, public
----
select * from things
----
drop schema other cascade
----
reset search_path
----
create table quoted ("Weird Name" int, "semi;colon" text, "quote""d" text)
----
insert into quoted values (1, 'a;b', 'it''s')
----
select "Weird Name", "semi;colon", "quote""d" from quoted
----
select $$dollar$$, $tag$nested $$ dollar$tag$, E'esc\n\t\x41', U&'\0041\+000042', B'101', X'1F', 'a' 'b'
----
select /* a /* nested */ comment */ 1 -- to the end
----

----
;
----
select ;
----
select 'ünïcödé', '日本語', '🎉', length('🎉'), E'\u00e9'
----
select repeat('x', 100000)
----
select i, repeat(i::text, 100) from generate_series(1, 2000) i
----
select array_agg(i) from generate_series(1, 5000) i
----
select x.*, y.* from (values (1, 'a')) x(a, b), (values (2, 'b')) y(a, b)
----
select 1 as a, 2 as a, 3 as "A"
----
select from parents
----
select
----
lock table multi in share mode
----
begin; lock table multi in access exclusive mode; commit
----
listen channel_one
----
notify channel_one, 'payload'
----
unlisten *
----
analyze multi
----
vacuum multi
----
begin; vacuum multi; commit
----
rollback
----
select pg_catalog.current_setting('server_version_num')::int > 100000
----
select current_database() = current_catalog, current_schema, current_user, session_user, user
----
select relname from pg_class where relname = 'multi'
----
select table_name from information_schema.tables where table_schema = 'public' order by 1
----
select a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a where a.attrelid = 'kinds'::regclass and a.attnum > 0 order by attnum
----
select pg_typeof(1), pg_typeof('x'::text), pg_typeof(array[1])
----
select set_config('application_name', 'by function', false)
----
show application_name
----
select txid_current_if_assigned() is null, pg_is_in_recovery()
----
create rule no_delete as on delete to quoted do instead nothing
----
delete from quoted
----
select count(*) from quoted
----
create table trig (i int); create function trig_fn() returns trigger language plpgsql as $$ begin new.i := new.i * 2; return new; end $$; create trigger t before insert on trig for each row execute function trig_fn()
----
insert into trig values (21) returning i
----
grant select on multi to public
----
revoke select on multi from public
----
create user mapping for app server nowhere
----
reindex table multi
----
cluster multi
----
checkpoint
----
copy multi to stdout
----
copy (select i, 'x' from multi order by i) to stdout with (format csv, header)
----
copy nowhere to stdout
----
drop view totals cascade
----
drop function add_one(int), loud(text)
----
select add_one(1)
----
begin; create table in_tx (i int); insert into in_tx values (1); select * from in_tx; commit
----
begin
----
create table in_tx2 (i int)
----
insert into in_tx2 values (1)
----
select * from in_tx2
----
alter table in_tx2 add column j text
----
select i, j from in_tx2
----
rollback
----
select * from in_tx2
----
prepare transaction 'x'
----
select now() = now(), clock_timestamp() is not null, random() between 0 and 1
----
select 99999999999999999999
----
select 2147483647 + 1
----
select array[[1,2],[3]]
----
select lower('X') collate "C", 'a' < 'B' collate "C"
----
select '{bad json'::json
----
select xmlelement(name a, 'b')
----
select (select 1), (select i from multi order by i limit 1 offset 1)
----
select * from multi order by i limit 2 offset 1
----
select i from multi order by i fetch first 1 row with ties
----
select * from multi tablesample system (100) order by i
----
select * from multi for update
----
select count(*) filter (where i > 10), percentile_cont(0.5) within group (order by i) from multi
----
update multi set i = i + 100 from parents where parents.id = multi.i returning multi.i, parents.name
----
delete from multi using parents where multi.i = parents.id
----
with moved as (delete from multi where i > 10 returning i) select count(*) from moved
----
with ins as (insert into multi values (77) returning i) select i from ins
----
truncate multi, trig restart identity
----
reset all
