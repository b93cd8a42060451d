"""Query: a filter as SQL over the index, and rows as records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, Text, and_, cast, column, exists, func, select, table
from sqlalchemy import literal as bound
from sqlalchemy.engine import RowMapping

from sallyport.recording.index import FULL_TEXT
from sallyport.recording.matching import like, literal
from sallyport.recording.records import (
    AuditRecord,
    Filter,
    OperationRecord,
    SessionRecord,
)
from sallyport.store.recording_schema import (
    audit,
    operations,
    sessions,
    shapes,
    texts,
    touched,
)

_SESSIONS_PART = (sessions.c.subject, sessions.c.target, sessions.c.protocol)
_SHAPES_PART = tuple(column for column in shapes.c if column.name != "id")

MAXIMUM_LIMIT = 10_000
"""Rows of one answer."""

Condition = ColumnElement[bool]


class Holding(Struct, frozen=True):
    """How texts that hold a part are found: by `full_text`, by LIKE, or as these `numbers`."""

    full_text: bool
    numbers: list[int] | None = None


_full_text = table(FULL_TEXT, column("rowid"), column("text"))


def find_sessions(wanted: Filter, holding: Holding) -> Select[Any]:
    """Return the query of the sessions that `wanted` asks for, newest first."""
    query = select(sessions).where(*_of_session(wanted))
    conditions = _of_operation(wanted, holding)
    if conditions:
        one = select(operations.c.id).where(operations.c.session == sessions.c.id, *conditions)
        query = query.where(exists(one.correlate(sessions)))
    return _page(query.order_by(sessions.c.opened.desc(), sessions.c.id.desc()), wanted)


def find_operations(wanted: Filter, holding: Holding) -> Select[Any]:
    """Return the query of the decisions that `wanted` asks for, newest first."""
    conditions = [*_of_operation(wanted, holding), *_times(operations.c.at, wanted)]
    narrow = msgspec.structs.replace(wanted, since=None, until=None)
    joined = (
        operations.join(sessions, sessions.c.id == operations.c.session)
        .join(shapes, shapes.c.id == operations.c.shape)
        .join(texts, texts.c.id == operations.c.text)
    )
    own = [column for column in operations.c if column.name not in ("shape", "text")]
    query = (
        select(*own, *_SESSIONS_PART, *_SHAPES_PART, texts.c.text)
        .select_from(joined)
        .where(*conditions, *_of_session(narrow))
    )
    return _page(query.order_by(operations.c.at.desc(), operations.c.id.desc()), wanted)


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


def operation_record(row: RowMapping, opened: Callable[[str], str]) -> OperationRecord:
    """Return a row of `recording_operations` as a record; `opened` reads its stored text."""
    values = {name: row[name] for name in OperationRecord.__struct_fields__}
    values["text"] = opened(values["text"])
    values["rules"] = tuple(values["rules"])
    values["resources"] = tuple(values["resources"])
    return OperationRecord(**values)


def audit_record(row: RowMapping) -> AuditRecord:
    """Return a row of `recording_audit` as a record."""
    return AuditRecord(**{name: row[name] for name in AuditRecord.__struct_fields__})


def _page(query: Select[Any], wanted: Filter) -> Select[Any]:
    limit = max(0, min(wanted.limit, MAXIMUM_LIMIT))
    return query.limit(limit).offset(max(0, wanted.offset))


def _of_session(wanted: Filter) -> list[Condition]:
    """Conditions on the session itself. `since` and `until` speak of any part of its life."""
    found = _exact(sessions.c.id, wanted.session) + _exact(sessions.c.subject, wanted.own)
    for name in ("subject", "target", "protocol", "application"):
        found += _glob(sessions.c[name], getattr(wanted, name))
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


def _of_operation(wanted: Filter, holding: Holding) -> list[Condition]:
    """Conditions on an operation, by the few shapes and the texts that it may have."""
    narrow: list[Condition] = []
    for name in ("verb", "effect", "decision"):
        narrow += _exact(shapes.c[name], getattr(wanted, name))
    if wanted.table is not None:
        some = select(touched.c.id).where(*_glob(touched.c.name, wanted.table))
        narrow.append(shapes.c.id.in_(some))
    if wanted.rule is not None:
        narrow.append(_in_list(wanted.rule))
    found: list[Condition] = []
    if narrow:
        found.append(operations.c.shape.in_(select(shapes.c.id).where(*narrow)))
    if wanted.text:
        found.append(operations.c.text.in_(_contains(wanted.text, holding)))
    return found


def _in_list(rule: str) -> Condition:
    """The rule's name stands in the JSON list: as a whole, so that no name is part of another."""
    pattern = f"%{literal(json.dumps(rule))}%"
    return cast(shapes.c.rules, Text).like(pattern, escape="\\")


def _contains(text: str, holding: Holding) -> Select[Any]:
    if holding.numbers is not None:
        listed = func.json_each(json.dumps(holding.numbers)).table_valued("value")
        return select(listed.c.value)
    if holding.full_text and len(text) >= 3 and "\0" not in text:
        phrase = '"' + text.replace('"', '""') + '"'
        hit = _full_text.c.text.op("MATCH", is_comparison=True)(bound(phrase))
        return select(_full_text.c.rowid).where(hit)
    return select(texts.c.id).where(texts.c.text.ilike(f"%{literal(text)}%", escape="\\"))


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
