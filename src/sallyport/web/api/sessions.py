"""Sessions: what was done through the gateway, live or on record, for auditors.

Every look at a recording is itself put on record before anything of it is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Literal, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel

from sallyport.core.event import ResultEnded
from sallyport.core.subject import Subject
from sallyport.recording.export import export_event, export_who
from sallyport.recording.har import PROTOCOL, HarWriter
from sallyport.recording.records import Dropped, Filter, OperationRecord, SessionRecord
from sallyport.recording.who import Attributed, Who
from sallyport.web.api.common import OpenStreams, Services, audit_view, errors, not_found
from sallyport.web.api.models import (
    OperationList,
    OperationView,
    ReasonRequest,
    SessionChanged,
    SessionList,
    SessionView,
)
from sallyport.web.authentication import Administrator, Auditor, Operator, Overseer
from sallyport.web.pages import Cursor, Limit, Moment, cut, decode_cursor
from sallyport.web.problems import Problem
from sallyport.web.services import WebServices
from sallyport.web.streams import DocumentStream, EventStream, Item

router = APIRouter(prefix="/sessions", tags=["sessions"])

MAXIMUM_BACKLOG = 1000
Identifier = Annotated[str, Path(max_length=64)]
Glob = Annotated[str | None, Query(max_length=256, description="`*` stands for any characters")]
Word = Annotated[str | None, Query(max_length=256)]
M = TypeVar("M", bound=BaseModel)


def _filter(
    subject: Glob = None,
    actor: Glob = None,
    task: Glob = None,
    target: Glob = None,
    application: Glob = None,
    protocol: Word = None,
    since: Moment = None,
    until: Moment = None,
    verb: Word = None,
    effect: Literal["read", "write", "admin", "unknown"] | None = None,
    table: Glob = None,
    decision: Literal["allow", "deny", "hold"] | None = None,
    rule: Word = None,
    text: str | None = Query(None, max_length=500, description="part of the statement"),
) -> Filter:
    return Filter(
        subject=subject,
        actor=actor,
        task=task,
        target=target,
        application=application,
        protocol=protocol,
        since=since,
        until=until,
        verb=verb,
        effect=effect,
        table=table,
        decision=decision,
        rule=rule,
        text=text,
    )


Wanted = Annotated[Filter, Depends(_filter)]


@router.get("", responses=errors(400, 403, 422, 503))
async def list_sessions(
    caller: Overseer,
    services: Services,
    wanted: Wanted,
    state: Literal["open", "closed", "sealed"] | None = None,
    held: bool | None = Query(None, description="exempt from retention"),
    limit: Limit = 100,
    cursor: Cursor = None,
) -> SessionList:
    """List sessions, newest first."""
    offset = decode_cursor(cursor)
    wanted = msgspec.structs.replace(wanted, state=state, held=held, limit=limit + 1, offset=offset)
    found = await services.library.sessions(wanted)
    page, following = cut(found, limit, offset)
    audit_view(services, caller, "sessions-viewed", "", filter=given(wanted), count=len(page))
    return SessionList(sessions=[fill(SessionView, each) for each in page], next=following)


@router.get("/search", responses=errors(400, 403, 422, 503))
async def search_operations(
    caller: Auditor,
    services: Services,
    wanted: Wanted,
    session: Word = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> OperationList:
    """Search the operations of all sessions, newest first."""
    offset = decode_cursor(cursor)
    wanted = msgspec.structs.replace(wanted, session=session, limit=limit + 1, offset=offset)
    found = await services.library.search(wanted)
    page, following = cut(found, limit, offset)
    audit_view(services, caller, "operations-searched", "", filter=given(wanted), count=len(page))
    return OperationList(operations=[operation(each) for each in page], next=following)


@router.get("/tail", responses=errors(403, 422, 503))
async def tail_sessions(
    request: Request,
    caller: Auditor,
    services: Services,
    streams: OpenStreams,
    wanted: Wanted,
    session: Word = None,
    backlog: int = Query(0, ge=0, le=MAXIMUM_BACKLOG, description="events of the past, first"),
) -> EventStream:
    """Follow events live across sessions (JSON lines, or Server-Sent Events by `Accept`).

    A reader that is too slow is told how many it missed: `{"type": "dropped", "count": ...}`.
    """
    wanted = msgspec.structs.replace(wanted, session=session)
    audit_view(services, caller, "sessions-tailed", session or "", filter=given(wanted))
    return EventStream(request, streams, caller, _tail(services, wanted, backlog))


async def _tail(services: WebServices, wanted: Filter, backlog: int) -> AsyncIterator[Item]:
    async for one in services.library.tail(wanted, backlog):
        yield item(one)


@router.get("/{identifier}", responses=errors(403, 404, 503))
async def show_session(caller: Auditor, services: Services, identifier: Identifier) -> SessionView:
    """Show one session."""
    record = await _find(services, identifier)
    audit_view(services, caller, "session-viewed", identifier, target=record.target)
    return fill(SessionView, record)


@router.get("/{identifier}/events", responses=errors(403, 404, 503))
async def session_events(
    request: Request,
    caller: Auditor,
    services: Services,
    streams: OpenStreams,
    identifier: Identifier,
    follow: bool = Query(False, description="stay, and send what comes until the session ends"),
) -> EventStream:
    """Stream all events of one session, in order (JSON lines, or Server-Sent Events by `Accept`).

    Each is in the form that docs/recording-format.md describes."""
    record = await _find(services, identifier)
    audit_view(services, caller, "session-replayed", identifier, target=record.target)
    events = _events(services, identifier, follow and record.state == "open")
    return EventStream(request, streams, caller, events)


@router.get("/{identifier}/export", responses=errors(403, 404, 422, 503))
async def export_session(
    request: Request,
    caller: Auditor,
    services: Services,
    streams: OpenStreams,
    identifier: Identifier,
    format: Literal["jsonl", "har"] = Query("jsonl", description="`har`: of HTTP sessions alone"),
) -> EventStream:
    """Export one session: as JSON lines, in the stable form that the recording format documents,
    or as an HTTP Archive (HAR 1.2)."""
    record = await _find(services, identifier)
    if format == "jsonl":
        audit_view(services, caller, "session-exported", identifier, target=record.target)
        return EventStream(request, streams, caller, _events(services, identifier, False))
    if record.protocol != PROTOCOL:
        raise Problem(
            422,
            f"a session of `{record.protocol}` has no requests to archive",
            hint="ask for `format=jsonl`",
        )
    audit_view(services, caller, "session-exported", identifier, target=record.target, format="har")
    return DocumentStream(request, streams, caller, _archive(services, identifier))


async def _archive(services: WebServices, identifier: str) -> AsyncIterator[Item]:
    """Yield a HAR's text; what is long work is done in a thread."""
    writer = HarWriter()
    async for one in services.library.events(identifier):
        if isinstance(one.event, ResultEnded):
            piece = await asyncio.to_thread(writer.take, one.event)
        else:
            piece = writer.take(one.event)
        if piece:
            yield {"type": "har", "text": piece}
    yield {"type": "har", "text": await asyncio.to_thread(writer.end)}


async def _events(services: WebServices, identifier: str, follow: bool) -> AsyncIterator[Item]:
    async for one in services.library.events(identifier, follow=follow):
        yield item(one)


@router.post("/{identifier}/kill", responses=errors(403, 404, 422))
async def kill_session(
    body: ReasonRequest, caller: Operator, services: Services, identifier: Identifier
) -> SessionChanged:
    """End a live session now."""
    if not services.registry.kill(identifier, body.reason, caller.name, caller.actors):
        raise Problem(404, f"no live session `{identifier}`", hint="it may have ended already")
    return SessionChanged(id=identifier, state="killed")


@router.post("/{identifier}/hold", responses=errors(403, 404, 422))
async def hold_session(
    body: ReasonRequest, caller: Administrator, services: Services, identifier: Identifier
) -> SessionChanged:
    """Exempt a session's recording from retention."""
    await _set_hold(services, caller, identifier, True, body.reason)
    return SessionChanged(id=identifier, state="held")


@router.post("/{identifier}/release", responses=errors(403, 404, 422))
async def release_session(
    body: ReasonRequest, caller: Administrator, services: Services, identifier: Identifier
) -> SessionChanged:
    """Let retention delete a session's recording again when its time comes."""
    await _set_hold(services, caller, identifier, False, body.reason)
    return SessionChanged(id=identifier, state="released")


async def _set_hold(
    services: WebServices, caller: Subject, identifier: str, held: bool, reason: str
) -> None:
    record = await _find(services, identifier)
    action = "session-held" if held else "session-released"
    audit_view(services, caller, action, identifier, target=record.target, reason=reason)
    if not await services.library.hold(identifier, held):
        raise not_found("session", identifier)


async def _find(services: WebServices, identifier: str) -> SessionRecord:
    record = await services.library.session(identifier)
    if record is None:
        raise not_found("session", identifier)
    return record


def item(one: Attributed | Dropped) -> Item:
    """Return an event in the form that the recording format documents."""
    if isinstance(one, Dropped):
        return {"type": "dropped", "count": one.count, "at": one.at, "session": one.session}
    return export_event(one.event, one.who)


def operation(record: OperationRecord) -> OperationView:
    """Return what the API shows of an operation: null, where nobody knows whose it is."""
    who = dict.fromkeys(Who.__struct_fields__) if record.who is None else export_who(record.who)
    return fill(OperationView, record, **who)


def fill(model: type[M], record: msgspec.Struct, **more: object) -> M:
    """Return `model` filled with the fields of the same name, and with `more`."""
    own = {name: getattr(record, name) for name in model.model_fields if name not in more}
    lists = {name: list(value) for name, value in own.items() if isinstance(value, tuple)}
    return model(**(own | lists | more))


def given(wanted: Filter) -> dict[str, object]:
    """Return what a filter asks for, as the audit keeps it."""
    names = (name for name in wanted.__struct_fields__ if name not in ("limit", "offset"))
    return {name: value for name in names if (value := getattr(wanted, name)) is not None}
