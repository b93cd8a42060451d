"""Query: a filter as SQL over the index, and rows as records.

SQL finds the sessions and the blocks that may hold what is asked for; what is in a block, and above
all the texts, `recording.search` reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, Text, and_, cast, exists, func, or_, select
from sqlalchemy.engine import RowMapping

from sallyport.recording.matching import like, literal
from sallyport.recording.records import (
    AuditRecord,
    Details,
    Filter,
    SessionRecord,
)
from sallyport.recording.who import Who
from sallyport.store.recording_schema import (
    audit,
    block_shapes,
    blocks,
    sessions,
    shapes,
    touched,
)

MAXIMUM_LIMIT = 10_000
"""Rows of one answer."""

Condition = ColumnElement[bool]

_OF_SESSION = [sessions.c[name] for name in (*Who.__struct_fields__, "protocol")]
"""What is said of an operation's session."""


def find_sessions(wanted: Filter) -> Select[Any]:
    """Return the query of the sessions that `wanted` asks for but for texts, newest first."""
    query = select(sessions).where(*_of_session(wanted))
    narrow = of_shape(wanted)
    if narrow or wanted.text:
        one = select(blocks.c.id).where(blocks.c.session == sessions.c.id)
        if narrow:
            one = one.where(_with_shapes(narrow))
        query = query.where(exists(one.correlate(sessions)))
    return query.order_by(sessions.c.opened.desc(), sessions.c.id.desc())


def find_blocks(wanted: Filter) -> Select[Any]:
    """Return the query of the blocks that may hold what `wanted` asks for, newest first."""
    narrow = of_shape(wanted)
    conditions = [_with_shapes(narrow)] if narrow else []
    if wanted.since is not None:
        conditions.append(blocks.c.last >= wanted.since)
    if wanted.until is not None:
        conditions.append(blocks.c.first < wanted.until)
    whenever = msgspec.structs.replace(wanted, since=None, until=None)
    return (
        select(blocks, *_OF_SESSION)
        .join_from(blocks, sessions, sessions.c.id == blocks.c.session)
        .where(*conditions, *_of_session(whenever))
        .order_by(blocks.c.last.desc(), blocks.c.id.desc())
    )


def older_than(last: float, number: int) -> Condition:
    """Blocks that come after this one in the order of `find_blocks`."""
    return or_(blocks.c.last < last, and_(blocks.c.last == last, blocks.c.id < number))


def find_blocks_of(names: list[str], wanted: Filter) -> Select[Any]:
    """Return the query of the blocks of some sessions that may hold what `wanted` asks for."""
    narrow = of_shape(wanted)
    query = select(blocks).where(blocks.c.session.in_(names))
    return query.where(_with_shapes(narrow)) if narrow else query


def find_audit(wanted: Filter, action: str | None) -> Select[Any]:
    """Return the query of what was done to the product; `subject` is the actor."""
    conditions = [*_times(audit.c.at, wanted), *_glob(audit.c.actor, wanted.subject)]
    conditions += _exact(audit.c.actor, wanted.own)
    conditions += _exact(audit.c.session, wanted.session)
    conditions += _glob(audit.c.object, wanted.target)
    conditions += _glob(audit.c.action, action)
    query = select(audit).where(*conditions)
    return _page(query.order_by(audit.c.at.desc(), audit.c.id.desc()), wanted)


def session_record(row: RowMapping) -> SessionRecord:
    """Return a row of `recording_sessions` as a record."""
    values = {name: row[name] for name in SessionRecord.__struct_fields__}
    values["groups"] = tuple(values["groups"])
    values["actors"] = tuple(values["actors"])
    return SessionRecord(**values)


def audit_record(row: RowMapping, opened: Callable[[Any], Details]) -> AuditRecord:
    """Return a row of `recording_audit` as a record; `opened` reads its stored details."""
    values = {name: row[name] for name in AuditRecord.__struct_fields__}
    values |= {"details": opened(values["details"]), "actors": tuple(values["actors"])}
    return AuditRecord(**values)


def page(wanted: Filter) -> tuple[int, int]:
    """Return how many rows are asked for, and how many come before them."""
    return max(0, min(wanted.limit, MAXIMUM_LIMIT)), max(0, wanted.offset)


def _page(query: Select[Any], wanted: Filter) -> Select[Any]:
    limit, offset = page(wanted)
    return query.limit(limit).offset(offset)


def _of_session(wanted: Filter) -> list[Condition]:
    """Conditions on the session itself. `since` and `until` speak of any part of its life."""
    found = _exact(sessions.c.id, wanted.session) + _exact(sessions.c.subject, wanted.own)
    for name in ("subject", "task", "target", "protocol", "application"):
        found += _glob(sessions.c[name], getattr(wanted, name))
    if wanted.actor is not None:
        one = func.json_each(sessions.c.actors).table_valued("value")
        acts = select(1).select_from(one).where(*_glob(one.c.value, wanted.actor))
        found.append(exists(acts))
    if wanted.since is not None:
        still = sessions.c.closed.is_(None)
        found.append(still | (sessions.c.closed >= wanted.since))
    if wanted.until is not None:
        found.append(sessions.c.opened < wanted.until)
    if wanted.state is not None:
        found.append(sessions.c.state == wanted.state)
    if wanted.held is not None:
        found.append(sessions.c.legal_hold.is_(wanted.held))
    return found


def of_shape(wanted: Filter) -> list[Condition]:
    """Return the conditions on what an operation has in common with others."""
    narrow: list[Condition] = []
    for name in ("verb", "effect", "decision"):
        narrow += _exact(shapes.c[name], getattr(wanted, name))
    if wanted.table is not None:
        some = select(touched.c.id).where(*_glob(touched.c.name, wanted.table))
        narrow.append(shapes.c.id.in_(some))
    if wanted.rule is not None:
        narrow.append(_in_list(wanted.rule))
    return narrow


def _with_shapes(narrow: list[Condition]) -> Condition:
    """Blocks with an operation of such a shape."""
    inner = select(block_shapes.c.block).where(
        block_shapes.c.shape.in_(select(shapes.c.id).where(*narrow))
    )
    return blocks.c.id.in_(inner)


def _in_list(rule: str) -> Condition:
    """The rule's name stands in the JSON list: as a whole, so that no name is part of another."""
    pattern = f"%{literal(json.dumps(rule))}%"
    return cast(shapes.c.rules, Text).like(pattern, escape="\\")


def _exact(where: ColumnElement[Any], wanted: str | None) -> list[Condition]:
    return [] if wanted is None else [where == wanted]


def _glob(where: ColumnElement[Any], wanted: str | None) -> list[Condition]:
    if wanted is None:
        return []
    if "*" not in wanted:
        return [where == wanted]
    return [where.like(like(wanted), escape="\\")]


def _times(at: ColumnElement[Any], wanted: Filter) -> list[Condition]:
    found: list[Condition] = []
    if wanted.since is not None:
        found.append(at >= wanted.since)
    if wanted.until is not None:
        found.append(at < wanted.until)
    return [and_(*found)] if found else []
