"""Query: a filter as SQL over the index, and rows as records."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, and_, cast, column, exists, select, table
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
from sallyport.store.recording_schema import audit, operations, sessions, touched

MAXIMUM_LIMIT = 10_000
"""Rows of one answer."""

Condition = ColumnElement[bool]
_full_text = table(FULL_TEXT, column("rowid"), column("text"))


def find_sessions(wanted: Filter, full_text: bool) -> Select[Any]:
    """Return the query of the sessions that `wanted` asks for, newest first."""
    query = select(sessions).where(*_of_session(wanted))
    conditions = _of_operation(wanted, full_text)
    if conditions:
        one = select(operations.c.id).where(operations.c.session == sessions.c.id, *conditions)
        query = query.where(exists(one.correlate(sessions)))
    return _page(query.order_by(sessions.c.opened.desc(), sessions.c.id.desc()), wanted)


def find_operations(wanted: Filter, full_text: bool) -> Select[Any]:
    """Return the query of the decisions that `wanted` asks for, newest first."""
    at = operations.c.at
    conditions = [*_of_operation(wanted, full_text), *_times(at, wanted)]
    conditions += _exact(operations.c.session, wanted.session)
    conditions += _exact(operations.c.subject, wanted.own)
    for name in ("subject", "target", "protocol"):
        conditions += _glob(operations.c[name], getattr(wanted, name))
    if wanted.application is not None or wanted.state is not None or wanted.held is not None:
        narrow = Filter(application=wanted.application, state=wanted.state, held=wanted.held)
        one = select(sessions.c.id).where(
            sessions.c.id == operations.c.session, *_of_session(narrow)
        )
        conditions.append(exists(one.correlate(operations)))
    query = select(operations).where(*conditions)
    return _page(query.order_by(at.desc(), operations.c.id.desc()), wanted)


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


def operation_record(row: RowMapping) -> OperationRecord:
    """Return a row of `recording_operations` as a record."""
    values = {name: row[name] for name in OperationRecord.__struct_fields__}
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


def _of_operation(wanted: Filter, full_text: bool) -> list[Condition]:
    found: list[Condition] = []
    for name in ("verb", "effect", "decision"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(operations.c[name] == value)
    if wanted.table is not None:
        one = select(touched.c.id).where(
            touched.c.id == operations.c.id, *_glob(touched.c.name, wanted.table)
        )
        found.append(exists(one.correlate(operations)))
    if wanted.rule is not None:
        found.append(_in_list(wanted.rule))
    if wanted.text:
        found.append(_contains(wanted.text, full_text))
    return found


def _in_list(rule: str) -> Condition:
    """The rule's name stands in the JSON list: as a whole, so that no name is part of another."""
    pattern = f"%{literal(json.dumps(rule))}%"
    return cast(operations.c.rules, Text).like(pattern, escape="\\")


def _contains(text: str, full_text: bool) -> Condition:
    if full_text and len(text) >= 3 and "\0" not in text:
        phrase = '"' + text.replace('"', '""') + '"'
        hit = _full_text.c.text.op("MATCH", is_comparison=True)(bound(phrase))
        return operations.c.id.in_(select(_full_text.c.rowid).where(hit))
    return operations.c.text.ilike(f"%{literal(text)}%", escape="\\")


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
