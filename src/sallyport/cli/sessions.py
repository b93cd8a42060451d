"""`sallyport sessions`: what was done through the gateway, live and on record."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from sallyport.cli.errors import CommandError
from sallyport.cli.invocation import Invocation, command
from sallyport.cli.units import moment
from sallyport.core.visible import acting

app = typer.Typer(name="sessions", no_args_is_help=True, help="See, replay and end sessions.")

COLUMNS = {
    "ID": "id",
    "STATE": "state",
    "SUBJECT": "subject",
    "TASK": "task",
    "TARGET": "target",
    "DATABASE": "database",
    "OPENED": "opened",
    "OPS": "operations",
    "DENIED": "denied",
    "HELD": "held",
    "ROWS": "rows",
    "APPLICATION": "application",
}
FOUND = {
    "SESSION": "session",
    "AT": "at",
    "SUBJECT": "subject",
    "TASK": "task",
    "TARGET": "target",
    "VERB": "verb",
    "DECISION": "decision",
    "RULES": "rules",
    "STATEMENT": "text",
}


class Form(enum.StrEnum):
    """What a session is exported as."""

    JSONL = "jsonl"
    HAR = "har"


Identifier = Annotated[str, typer.Argument(metavar="ID", help="The session.")]
Subject = Annotated[str | None, typer.Option("--subject", help="Of this subject (`*` globs).")]
Actor = Annotated[
    str | None, typer.Option("--actor", help="That this one acts in, for others (`*` globs).")
]
Task = Annotated[str | None, typer.Option("--task", help="Said to be for this (`*` globs).")]
Target = Annotated[str | None, typer.Option("--target", help="At this target (`*` globs).")]
Application = Annotated[str | None, typer.Option("--application", help="By this client program.")]
Since = Annotated[str | None, typer.Option("--since", help="Like 2h (ago), or an ISO time.")]
Until = Annotated[str | None, typer.Option("--until", help="Like 2h (ago), or an ISO time.")]
Verb = Annotated[str | None, typer.Option("--verb", help="With this verb, like select.")]
Table = Annotated[str | None, typer.Option("--table", help="That touch this, like public.t.")]
Decision = Annotated[str | None, typer.Option("--decision", help="allow, deny or hold.")]
Part = Annotated[str | None, typer.Option("--text", help="Whose statement holds this text.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]


@command(
    app,
    "list",
    examples=(
        "sallyport sessions list --since 2h",
        "sallyport sessions list --subject 'agent-*' --decision deny",
        "sallyport sessions list --actor report-bot --task 'JIRA-*'",
    ),
)
def list_(
    call: Invocation,
    subject: Subject = None,
    actor: Actor = None,
    task: Task = None,
    target: Target = None,
    application: Application = None,
    since: Since = None,
    until: Until = None,
    verb: Verb = None,
    table: Table = None,
    decision: Decision = None,
    text: Part = None,
    state: Annotated[str | None, typer.Option("--state", help="open, closed or sealed.")] = None,
    limit: Limit = 50,
) -> None:
    """List sessions, newest first; by what was done in them too."""
    found = call.client.pages(
        "/sessions",
        "sessions",
        limit,
        subject=subject,
        actor=actor,
        task=task,
        target=target,
        application=application,
        since=moment(since),
        until=moment(until),
        verb=verb,
        table=table,
        decision=decision,
        text=text,
        state=state,
    )
    _table(call, found, COLUMNS, "no sessions")


@command(app, "show", examples=("sallyport sessions show ses-01h2x3y4",))
def show(call: Invocation, identifier: Identifier) -> None:
    """Show one session."""
    call.output.record(call.client.get(_path(identifier)))


@command(
    app,
    "search",
    examples=(
        "sallyport sessions search customers",
        "sallyport sessions search --verb delete --decision deny --since 1d",
    ),
)
def search(
    call: Invocation,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="Part of the statement.")
    ] = None,
    session: Annotated[str | None, typer.Option("--session", help="In this session.")] = None,
    subject: Subject = None,
    actor: Actor = None,
    task: Task = None,
    target: Target = None,
    application: Application = None,
    since: Since = None,
    until: Until = None,
    verb: Verb = None,
    table: Table = None,
    decision: Decision = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Decided by this rule.")] = None,
    limit: Limit = 50,
) -> None:
    """Search the statements of all sessions, newest first."""
    found = call.client.pages(
        "/sessions/search",
        "operations",
        limit,
        text=text,
        session=session,
        subject=subject,
        actor=actor,
        task=task,
        target=target,
        application=application,
        since=moment(since),
        until=moment(until),
        verb=verb,
        table=table,
        decision=decision,
        rule=rule,
    )
    _table(call, found, FOUND, "nothing found")


@command(
    app,
    "tail",
    examples=("sallyport sessions tail", "sallyport sessions tail --decision deny --backlog 20"),
)
def tail(
    call: Invocation,
    session: Annotated[str | None, typer.Option("--session", help="Of this session.")] = None,
    subject: Subject = None,
    actor: Actor = None,
    task: Task = None,
    target: Target = None,
    verb: Verb = None,
    table: Table = None,
    decision: Decision = None,
    backlog: Annotated[
        int, typer.Option("--backlog", min=0, max=1000, help="Begin with so many of the past.")
    ] = 0,
) -> None:
    """Follow what happens, live across sessions, until Ctrl-C."""
    from sallyport.cli.transcript import one_line

    stream = call.client.lines(
        "/sessions/tail",
        session=session,
        subject=subject,
        actor=actor,
        task=task,
        target=target,
        verb=verb,
        table=table,
        decision=decision,
        backlog=backlog,
    )
    for item in stream:
        if call.as_json:
            call.output.json(item, line=True)
        elif (line := one_line(item)) is not None:
            call.output.safe_line(line)


@command(
    app,
    "replay",
    examples=(
        "sallyport sessions replay ses-01h2x3y4",
        "sallyport sessions replay ses-01h2x3y4 --speed 4",
        "sallyport sessions replay ses-01h2x3y4 --follow",
    ),
)
def replay(
    call: Invocation,
    identifier: Identifier,
    speed: Annotated[
        float, typer.Option("--speed", min=0, help="Times as fast as it was; 0: without pauses.")
    ] = 0.0,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay with a session that is still open.")
    ] = False,
) -> None:
    """Play a session back: statements, decisions and results, with their timing."""
    from sallyport.cli.transcript import play

    events = call.client.lines(_path(identifier, "events"), follow=follow)
    if call.as_json:
        for event in events:
            call.output.json(event, line=True)
        return
    play(call.output, events, speed)


@command(
    app,
    "export",
    examples=(
        "sallyport sessions export ses-01h2x3y4 > session.jsonl",
        "sallyport sessions export ses-01h2x3y4 --format har -o session.har",
    ),
)
def export(
    call: Invocation,
    identifier: Identifier,
    form: Annotated[
        Form, typer.Option("--format", help="jsonl, or har (HTTP Archive 1.2) of an HTTP session.")
    ] = Form.JSONL,
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new file (0600), not stdout.", metavar="FILE"),
    ] = None,
) -> None:
    """Export a session as JSON lines, in the form that docs/recording-format.md describes, or as
    an HTTP Archive, which browsers read."""
    from sallyport.cli.output import Output, note

    lines = call.client.lines(_path(identifier, "export"))
    if form is Form.HAR:
        _archive(call, lines, to)
        return
    if to is None:
        for line in lines:
            call.output.json(line, line=True)
        return
    count = 0
    with _made(to) as file:
        output = Output(as_json=True, stream=file)
        for line in lines:
            output.json(line, line=True)
            count += 1
    note(f"{count} events written to {to}")


def _archive(call: Invocation, lines: Iterable[Mapping[str, Any]], to: Path | None) -> None:
    """Write an HTTP Archive, an entry at a time. Its text is ASCII: nothing in it can draw."""
    from sallyport.cli.output import note
    from sallyport.cli.transcript import recorded
    from sallyport.recording.har import NoArchive, archive

    pieces = archive(recorded(lines))
    try:
        begin = next(pieces)  # before a file is made: a session of another protocol has none
    except NoArchive as error:
        raise CommandError(str(error), hint="leave out `--format har`") from None
    if to is None:
        for piece in chain([begin], pieces):
            call.output.raw(piece)
        return
    with _made(to) as file:
        file.writelines(chain([begin], pieces))
    note(f"written to {to}")


def _made(to: Path) -> TextIO:
    """Open a new file that only its owner may read. Raises: CommandError."""
    try:
        return os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        raise CommandError(f"cannot make `{to}`: {(error.strerror or '').lower()}") from None


@command(app, "kill", examples=('sallyport sessions kill ses-01h2x3y4 -m "not ours"',))
def kill(
    call: Invocation,
    identifier: Identifier,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; the client sees it.")] = "",
) -> None:
    """End a live session now."""
    answer = call.client.post(_path(identifier, "kill"), {"reason": reason})
    call.output.done(answer, f"session {identifier} is ended")


@command(app, "hold", examples=("sallyport sessions hold ses-01h2x3y4",))
def hold(
    call: Invocation,
    identifier: Identifier,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it goes on record.")] = "",
) -> None:
    """Keep a session's recording, whatever retention says."""
    answer = call.client.post(_path(identifier, "hold"), {"reason": reason})
    call.output.done(answer, f"session {identifier} is exempt from retention")


@command(app, "release", examples=("sallyport sessions release ses-01h2x3y4",))
def release(
    call: Invocation,
    identifier: Identifier,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; it goes on record.")] = "",
) -> None:
    """Let retention delete a session's recording again when its time comes."""
    answer = call.client.post(_path(identifier, "release"), {"reason": reason})
    call.output.done(answer, f"session {identifier} is subject to retention again")


def _table(
    call: Invocation, found: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str
) -> None:
    """Print what was found; for people who acts stands beside the subject."""
    if not call.as_json:
        found = [
            {**one, "subject": acting(one["subject"] or "-", one.get("actors") or ())}
            for one in found
        ]
    call.output.table(found, columns, empty)


def _path(*parts: str) -> str:
    from sallyport.cli.client import path

    return path("sessions", *parts)
