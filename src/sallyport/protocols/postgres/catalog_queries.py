"""What is asked of a PostgreSQL target's catalogue (13 to 18), for the snapshot made of it.

`QUERIES` are run in their order on one side connection, each as a simple query; `catalog.build`
makes the snapshot of their rows. `DIGEST_QUERY` gives one text that changes whenever the answers
may have: it is cheap, and asked often. The first query empties the side connection's search_path,
so that every name in a definition comes qualified.

INVARIANT: nothing here waits for a lock that a session may hold: that session may be waiting for
this snapshot, and everybody else would. Only pg_get_viewdef takes locks (on what its view reads):
a view that a lock stands on has no definition, and `VIEWS_UNREAD` is asked instead of the whole
query where one came in between. Without its definition every column that a view reads counts.

Bounds: each query has a LIMIT. FAILS CLOSED: what lies past it is not in the snapshot, so it does
not resolve.
"""

from __future__ import annotations

from typing import Final

from sallyport.sql.column_types import COLUMN_TYPES

MAX_RELATIONS: Final = 50_000
MAX_ROWS: Final = 200_000
FIRST_USER_OID: Final = 16384

_OWN_NAMESPACE = "n.nspname !~ '^pg_(toast|temp)'"

_TAGGED: Final = "|".join(
    "".join(f"[{letter.upper()}{letter}]" for letter in word)
    for word in ("pii", "pci", "phi", "gdpr", "secret", "sensitive", "sallyport")
)
"""What comments with tags in them have (`sql.tags`), in whatever locale the server compares by."""

_WRITES_ALONE: Final = r"^\(\{QUERY :commandType [234] "
_SHOWS: Final = r":commandType 1 |:returningList \(|:rtekind 1 "
"""How the tree of a rule's actions begins that write, and what is in it where something is read or
shown: a rule that only writes more, and always, is trusted as a trigger is."""

DIGEST_QUERY: Final = """
with own as materialized (
    select c.oid, c.xmin, c.relnamespace from pg_catalog.pg_class c
    where c.oid >= 16384 and c.relpersistence <> 't'
        and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'i', 'I', 'c')
), parts (name, entries, total) as (
    select 'c', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1)) from own
    union all
    select 'a', count(*), sum(a.xmin::text::bigint * (a.attrelid::bigint % 997 + a.attnum + 9))
    from pg_catalog.pg_attribute a join own on own.oid = a.attrelid
    union all
    select 'g', count(*), sum(d.xmin::text::bigint * (d.oid::bigint % 9973 + 1))
    from pg_catalog.pg_attrdef d join own on own.oid = d.adrelid
    union all
    select 'n', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1))
    from pg_catalog.pg_namespace where nspname !~ '^pg_(toast_)?temp'
    union all
    select 'p', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1))
    from pg_catalog.pg_proc where oid >= 16384
    union all
    select 'w', count(*), sum(w.xmin::text::bigint * (w.oid::bigint % 9973 + 1))
    from pg_catalog.pg_rewrite w join own on own.oid = w.ev_class
    union all
    select 'i', count(*), sum(xmin::text::bigint * (inhrelid::bigint % 9973 + 1))
    from pg_catalog.pg_inherits
    union all
    select 'k', count(*), sum(k.xmin::text::bigint * (k.oid::bigint % 9973 + 1))
    from pg_catalog.pg_constraint k
    where k.oid >= 16384 and (k.contypid <> 0 or k.conrelid in (select own.oid from own))
    union all
    select 'o', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1))
    from pg_catalog.pg_operator where oid >= 16384
    union all
    select 't', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1))
    from pg_catalog.pg_cast where oid >= 16384
    union all
    select 'd', count(*), sum(t.xmin::text::bigint * (t.oid::bigint % 9973 + 1))
    from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
    where t.oid >= 16384 and n.nspname !~ '^pg_(toast_)?temp'
        and (t.typtype in ('b', 'd', 'e', 'r', 'm') or t.typrelid in (
            select c.oid from pg_catalog.pg_class c where c.relkind = 'c'))
    union all
    select 'm', count(*), sum(xmin::text::bigint * (roleid::bigint % 997 + member::bigint % 9973))
    from pg_catalog.pg_auth_members
    union all
    select 'x', count(*), sum(xmin::text::bigint * (oid::bigint % 9973 + 1))
    from pg_catalog.pg_extension
    union all
    select 'h', count(*), sum(h.xmin::text::bigint * (h.objoid::bigint % 9973 + h.objsubid))
    from pg_catalog.pg_description h join own on own.oid = h.objoid
    where h.classoid = 1259 and h.objsubid > 0
)
select pg_catalog.string_agg(name || entries || ':' || coalesce(total, 0), ' ' order by name)
from parts
"""
"""One row, one text. xmin changes with every version of a row, and is kept by vacuum."""

QUERIES: Final[dict[str, str]] = {
    "settings": """
select pg_catalog.current_setting('server_version_num'), current_user::text,
    pg_catalog.set_config('search_path', '', false)
""",
    "digest": DIGEST_QUERY,
    "schemas": """
select n.nspname from pg_catalog.pg_namespace n where n.nspname !~ '^pg_(toast|temp)' limit 20000
""",
    "relations": f"""
select c.oid, n.nspname, c.relname, c.relkind,
    (select coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(a.attname, a.attnum,
            case t.typnamespace when 11 then t.typname else tn.nspname || '.' || t.typname end,
            a.attnotnull, a.atttypid::bigint, a.atttypmod,
            a.atthasdef and a.attgenerated = '' or a.attidentity <> '' or t.typdefault is not null)
            order by a.attnum), '[]')::text
        from pg_catalog.pg_attribute a
        join pg_catalog.pg_type t on t.oid = a.atttypid
        join pg_catalog.pg_namespace tn on tn.oid = t.typnamespace
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
    c.relrowsecurity or exists (select from pg_catalog.unnest(c.reloptions) o
        where o ~ '^security_barrier=' and o !~ '=(false|off)$'),
    case when c.oid < {FIRST_USER_OID} then '' else (
        select coalesce(sum(a.xmin::text::bigint * (a.attnum + 9)), 0)
        from pg_catalog.pg_attribute a where a.attrelid = c.oid) || ' ' || (
        select coalesce(sum(d.xmin::text::bigint * d.adnum), 0)
        from pg_catalog.pg_attrdef d where d.adrelid = c.oid) end
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and {_OWN_NAMESPACE}
order by c.oid limit {MAX_RELATIONS}
""",
    "inherits": f"""
select i.inhrelid, i.inhparent from pg_catalog.pg_inherits i
join pg_catalog.pg_class c on c.oid = i.inhrelid
where c.relkind in ('r', 'p', 'f') order by 1, 2 limit {MAX_ROWS}
""",
    "column_types": COLUMN_TYPES,
    "keys": f"""
select k.conrelid, a.attname from pg_catalog.pg_constraint k,
    pg_catalog.unnest(k.conkey) with ordinality u (attnum, place), pg_catalog.pg_attribute a
where k.contype = 'p' and k.conrelid >= {FIRST_USER_OID}
    and a.attrelid = k.conrelid and a.attnum = u.attnum
order by 1, u.place limit {MAX_ROWS}
""",
    "guarded": f"""
select i.indrelid, k.attnum from pg_catalog.pg_index i, pg_catalog.unnest(i.indkey) k (attnum)
where (i.indisunique or i.indisexclusion) and k.attnum > 0 and i.indrelid >= {FIRST_USER_OID}
union select k.conrelid, u.attnum from pg_catalog.pg_constraint k,
    pg_catalog.unnest(k.conkey) u (attnum)
where k.contype in ('p', 'u', 'x', 'f') and k.conrelid >= {FIRST_USER_OID}
union select d.refobjid, d.refobjsubid from pg_catalog.pg_depend d
    join pg_catalog.pg_index i on i.indexrelid = d.objid
where d.classid = 1259 and d.refclassid = 1259 and d.refobjsubid > 0
    and (i.indisunique or i.indisexclusion) and i.indrelid >= {FIRST_USER_OID}
limit {MAX_ROWS}
""",
    "refers": f"""
select k.conrelid, u.own, k.confrelid, u.other from pg_catalog.pg_constraint k,
    rows from (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey)) u (own, other)
where k.contype = 'f' and k.conrelid >= {FIRST_USER_OID} order by 1, 2, 3, 4 limit {MAX_ROWS}
""",
    "cascades": f"""
select distinct k.confrelid, k.conrelid from pg_catalog.pg_constraint k
where k.contype = 'f' and k.conrelid >= {FIRST_USER_OID}
    and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd'))
order by 1, 2 limit {MAX_ROWS}
""",
    "tied": f"""
with recursive parted (oid, key) as materialized (
    select p.partrelid, (select coalesce(pg_catalog.string_agg(a.attnum::text, ' '), '')
        from pg_catalog.pg_attribute a
        where a.attrelid = p.partrelid and (a.attnum = any (p.partattrs)
            or exists (select from pg_catalog.pg_depend d where d.classid = 1259
                and d.objid = p.partrelid and d.refclassid = 1259 and d.refobjid = p.partrelid
                and d.objsubid = a.attnum and d.deptype = 'i')))
    from pg_catalog.pg_partitioned_table p
), heirs (root, heir) as (
    select i.inhparent, i.inhrelid from pg_catalog.pg_inherits i
    join parted on parted.oid = i.inhparent
    union select t.root, i.inhrelid from heirs t
    join pg_catalog.pg_inherits i on i.inhparent = t.heir
)
select d.refobjid, pg_catalog.string_agg(distinct d.refobjsubid::text, ' '),
    pg_catalog.bool_or(k.contype = 'c')
from pg_catalog.pg_depend d
left join pg_catalog.pg_constraint k on d.classid = 2606 and k.oid = d.objid
left join pg_catalog.pg_index i on d.classid = 1259 and i.indexrelid = d.objid
where d.refclassid = 1259 and d.refobjid >= {FIRST_USER_OID}
    and (k.contype in ('c', 'p', 'u', 'x', 'f') and k.conrelid = d.refobjid
        or i.indrelid = d.refobjid and (i.indisunique or i.indisexclusion))
group by d.classid, d.objid, d.refobjid
having count(distinct d.refobjsubid) > 1 or pg_catalog.bool_or(d.refobjsubid = 0)
union all select k.conrelid, '0', true from pg_catalog.pg_constraint k
where k.contype = 'c' and 0 = any (k.conkey) and k.conrelid >= {FIRST_USER_OID}
union all select i.indrelid, pg_catalog.string_agg(a.attnum::text, ' '), false
from pg_catalog.pg_index i
join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum > 0
where (i.indexprs is not null or i.indpred is not null) and i.indrelid >= {FIRST_USER_OID}
    and (select count(*) from pg_catalog.pg_depend d
        where d.classid = 1259 and d.objid = i.indexrelid and d.refclassid = 1259
            and d.refobjid = i.indrelid and d.refobjsubid = a.attnum)
        > case when a.attnum = any (i.indkey::int2[]) then 1 else 0 end
group by i.indexrelid, i.indrelid having count(*) > 1
union all select parted.oid, parted.key, false from parted
union all select t.root, parted.key || ' ' || pg_catalog.string_agg(own.attnum::text, ' '), false
from heirs t join parted on parted.oid = t.root
join pg_catalog.pg_depend d on d.refclassid = 1259 and d.refobjid = t.heir and d.refobjsubid > 0
left join pg_catalog.pg_constraint k on d.classid = 2606 and k.oid = d.objid
left join pg_catalog.pg_index i on d.classid = 1259 and i.indexrelid = d.objid
join pg_catalog.pg_attribute a on a.attrelid = t.heir and a.attnum = d.refobjsubid
join pg_catalog.pg_attribute own on own.attrelid = t.root and own.attname = a.attname
where k.contype in ('c', 'p', 'u', 'x', 'f') and k.conrelid = t.heir and k.coninhcount = 0
    or i.indrelid = t.heir and (i.indisunique or i.indisexclusion)
        and not exists (select from pg_catalog.pg_inherits n where n.inhrelid = i.indexrelid)
group by t.root, parted.key, d.classid, d.objid
limit {MAX_ROWS}
""",
    "generated": f"""
select d.adrelid, d.adnum, p.refobjsubid, a.attgenerated from pg_catalog.pg_attrdef d
join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
join pg_catalog.pg_depend p on p.refclassid = 1259 and p.refobjid = d.adrelid
    and (p.classid = 2604 and p.objid = d.oid
        or p.classid = 1259 and p.objid = d.adrelid and p.objsubid = d.adnum)
where a.attgenerated <> '' and p.refobjsubid > 0 and p.refobjsubid <> d.adnum
    and d.adrelid >= {FIRST_USER_OID}
limit {MAX_ROWS}
""",
    "views": f"""
select c.oid, case when exists (
        select from pg_catalog.pg_locks l
        where l.locktype = 'relation' and l.mode = 'AccessExclusiveLock'
            and l.database = (select oid from pg_catalog.pg_database
                where datname = pg_catalog.current_database())
            and (l.relation = c.oid or l.relation in (select d.refobjid
                from pg_catalog.pg_rewrite r join pg_catalog.pg_depend d
                    on d.classid = 2618 and d.objid = r.oid and d.refclassid = 1259
                where r.ev_class = c.oid)))
    then null else pg_catalog.pg_get_viewdef(c.oid) end
from pg_catalog.pg_class c
where c.relkind in ('v', 'm') and c.oid >= {FIRST_USER_OID} and c.relpersistence <> 't'
order by c.oid limit 5000
""",
    "reads": f"""
select distinct r.ev_class, d.refclassid, d.refobjid, d.refobjsubid
from pg_catalog.pg_rewrite r
join pg_catalog.pg_depend d on d.classid = 2618 and d.objid = r.oid
where r.ev_class >= {FIRST_USER_OID} and r.ev_type = '1' and d.refclassid in (1259, 1255)
    and d.refobjid <> r.ev_class and (d.refclassid = 1259 or d.refobjid >= {FIRST_USER_OID})
union select r.ev_class, 1255, o.oprcode::oid, 0
from pg_catalog.pg_rewrite r
join pg_catalog.pg_depend d on d.classid = 2618 and d.objid = r.oid and d.refclassid = 2617
join pg_catalog.pg_operator o on o.oid = d.refobjid
where r.ev_class >= {FIRST_USER_OID} and r.ev_type = '1' and o.oid >= {FIRST_USER_OID}
order by 1, 2, 3, 4 limit {MAX_ROWS}
""",
    "rules": f"""
with ruled as materialized (
    select r.oid, r.ev_class, r.ev_qual::text || r.ev_action::text as tree
    from pg_catalog.pg_rewrite r where r.ev_class >= {FIRST_USER_OID} and r.ev_type <> '1'
        and (r.is_instead or r.ev_qual::text <> '<>' or r.ev_action::text !~ '{_WRITES_ALONE}'
            or r.ev_action::text ~ '{_SHOWS}')
)
select distinct r.ev_class, d.refclassid, d.refobjid, d.refobjsubid from ruled r
join pg_catalog.pg_depend d on d.classid = 2618 and d.objid = r.oid
    and d.refclassid in (1259, 1255)
where (d.refclassid = 1259 or d.refobjid >= {FIRST_USER_OID})
    and (d.refobjid <> r.ev_class or d.refobjsubid <> 0 or r.tree ~ ':varattno 0 ')
union select r.ev_class, 1255, o.oprcode::oid, 0 from ruled r
join pg_catalog.pg_depend d on d.classid = 2618 and d.objid = r.oid and d.refclassid = 2617
join pg_catalog.pg_operator o on o.oid = d.refobjid
where o.oid >= {FIRST_USER_OID}
order by 1, 2, 3, 4 limit {MAX_ROWS}
""",
    "unreadable": f"""
select distinct d.refobjid from pg_catalog.pg_rewrite r
join pg_catalog.pg_depend d on d.classid = 2618 and d.objid = r.oid
where r.ev_class >= {FIRST_USER_OID} and r.ev_type = '1' and d.refclassid = 1259
    and d.refobjid <> r.ev_class
    and not coalesce(pg_catalog.has_table_privilege(d.refobjid, 'SELECT'), false)
limit {MAX_ROWS}
""",
    "functions": f"""
select n.nspname, p.proname,
    case when pg_catalog.bool_or(p.provolatile = 'v') then 'v'
        when pg_catalog.bool_or(p.provolatile = 's') then 's' else 'i' end,
    pg_catalog.string_agg(distinct p.prokind::text, ''), pg_catalog.bool_or(p.proretset),
    pg_catalog.bool_and(p.prolang in (12, 13) or p.prolang = 14 and p.provolatile = 'i'
        and coalesce(e.extname, '') = 'citext' and exists (
            select from pg_catalog.pg_roles o where o.oid = p.proowner and o.rolsuper)),
    pg_catalog.bool_and(p.oid < {FIRST_USER_OID}),
    case when pg_catalog.count(e.oid) = pg_catalog.count(*)
        and pg_catalog.count(distinct e.oid) = 1 then pg_catalog.min(e.extname::text) else '' end,
    coalesce(pg_catalog.string_agg(p.oid::text || ':' || p.xmin::text, ' ' order by p.oid)
        filter (where p.oid >= {FIRST_USER_OID} or p.oid in (
            select o.oprcode from pg_catalog.pg_operator o where o.oid >= {FIRST_USER_OID})), '')
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace
left join pg_catalog.pg_depend d on d.classid = 1255 and d.objid = p.oid and d.deptype = 'e'
    and d.refclassid = 3079 and p.oid >= {FIRST_USER_OID}
left join pg_catalog.pg_extension e on e.oid = d.refobjid
where {_OWN_NAMESPACE}
group by 1, 2 limit {MAX_ROWS}
""",
    "types": f"""
select n.nspname, t.typname from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_class c on c.oid = t.typrelid
where {_OWN_NAMESPACE} and (t.typtype <> 'c' or c.relkind = 'c') limit {MAX_ROWS}
""",
    "operators": f"""
select o.oprname, n.nspname, fn.nspname, p.proname from pg_catalog.pg_operator o
join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
join pg_catalog.pg_proc p on p.oid = o.oprcode
join pg_catalog.pg_namespace fn on fn.oid = p.pronamespace
where o.oid >= {FIRST_USER_OID} limit {MAX_ROWS}
""",
    "casts": f"""
select sn.nspname, s.typname, tn.nspname, t.typname, c.castcontext, fn.nspname, p.proname
from pg_catalog.pg_cast c
join pg_catalog.pg_type s on s.oid = c.castsource
join pg_catalog.pg_namespace sn on sn.oid = s.typnamespace
join pg_catalog.pg_type t on t.oid = c.casttarget
join pg_catalog.pg_namespace tn on tn.oid = t.typnamespace
join pg_catalog.pg_proc p on p.oid = c.castfunc
join pg_catalog.pg_namespace fn on fn.oid = p.pronamespace
where c.oid >= {FIRST_USER_OID} limit {MAX_ROWS}
""",
    "holders": f"""
with recursive cast_types (oid) as materialized (
    select castsource from pg_catalog.pg_cast where oid >= {FIRST_USER_OID} and castfunc <> 0
    union select casttarget from pg_catalog.pg_cast where oid >= {FIRST_USER_OID} and castfunc <> 0
), edges (holder, part) as materialized (
    select t.oid, e.part from pg_catalog.pg_type t, lateral (
        select t.typelem where t.typcategory = 'A'
        union all select t.typbasetype where t.typtype = 'd') e (part)
    where exists (select from cast_types)
    union all
    select c.reltype, a.atttypid
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
    where exists (select from cast_types) and a.attnum > 0 and not a.attisdropped
        and c.reltype <> 0 and (c.relkind = 'c' or a.atttypid >= {FIRST_USER_OID})
), holders (holder, part) as (
    select oid, oid from cast_types
    union select e.holder, h.part from holders h join edges e on e.part = h.holder
)
select hn.nspname, h.typname, pn.nspname, p.typname from holders
join pg_catalog.pg_type h on h.oid = holder
join pg_catalog.pg_namespace hn on hn.oid = h.typnamespace
join pg_catalog.pg_type p on p.oid = part
join pg_catalog.pg_namespace pn on pn.oid = p.typnamespace
limit {MAX_ROWS}
""",
    "comments": f"""
select d.objoid, d.objsubid, pg_catalog.left(d.description, 4200)
from pg_catalog.pg_description d join pg_catalog.pg_class c on c.oid = d.objoid
where d.classoid = 1259 and d.objsubid > 0 and d.objoid >= {FIRST_USER_OID}
    and c.relpersistence <> 't' and d.description ~ '{_TAGGED}' limit {MAX_ROWS}
""",
    "role_schemas": """
select n.nspname from pg_catalog.pg_namespace n
join pg_catalog.pg_roles r on r.rolname = n.nspname limit 20000
""",
    "usage": """
select r.rolname, n.nspname, pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
from pg_catalog.pg_roles r, pg_catalog.pg_namespace n
where n.nspname !~ '^pg_' and r.rolname !~ '^pg_' and (r.rolname = current_user
    or (select pg_catalog.count(*) from pg_catalog.pg_roles)
        * (select pg_catalog.count(*) from pg_catalog.pg_namespace) < 20000)
""",
}
"""By name, what `build` takes. Each answers with texts."""

VIEWS_UNREAD: Final = f"""
select c.oid, null from pg_catalog.pg_class c
where c.relkind in ('v', 'm') and c.oid >= {FIRST_USER_OID} and c.relpersistence <> 't'
order by c.oid limit 5000
"""
"""Stands in for `QUERIES["views"]`: no view's definition."""
