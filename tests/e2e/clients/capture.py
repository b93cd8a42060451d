"""Writes the friction corpus: what these clients sent, out of the gateways' own recordings.

    SALLYPORT_CAPTURE=1 python -m pytest tests/e2e/clients

makes `tests/e2e/corpus/friction/*.jsonl` anew. The first line of a file names its client, each
database that it worked in (with the script that filled it), and the guardrails that it ran into;
then comes one statement a line, with its session. A statement that differs from an earlier one in
its literals alone is left out where it reads or writes rows.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway

CORPUS = Path(__file__).parent.parent / "corpus" / "friction"
WANTED = bool(os.environ.get("SALLYPORT_CAPTURE"))
ROWS = {"select", "insert", "update", "delete", "copy-in", "copy-out", "explain"}
PORTAL = re.compile(r"__asyncpg_portal_\w+")
"""A portal that asyncpg bound by the protocol, and reads by FETCH and MOVE as well."""
ENDS = {"commit", "rollback"}
LONGEST = 8192
PROGRAMS = {"pgbench", "pg_dump"}

GUARDRAILS = {
    "alembic": {"no-destructive-ddl"},  # the way back drops; a column's type changes
    "pgbench": {"no-destructive-ddl"},  # -i drops and truncates; so does a run without -n
    "pg_dump": {"no-catalogue-secrets"},  # an archive holds the database's own settings
    "psql": {"no-catalogue-secrets"},  # \\deu+ \\dRs+ \\drds
}
"""What the clients run into, and should."""

databases: dict[str, tuple[str, str]] = {}
"""By name: the client that a database was made for, and its script."""
_sessions: list[dict[str, Any]] = []


def made(database: str, script: str) -> None:
    """Note for which test a database was made."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    found = re.search(r"/test_(\w+)\.py::(\w+)", test)
    client = "alembic" if found and "migrations" in found[2] else found[1] if found else ""
    databases[database] = (client, script)


def collect(gateway: Gateway) -> None:
    """Take what a gateway recorded, once its tests are over."""
    cursor: dict[str, str] = {}
    while True:
        page = gateway.admin.get("/sessions", limit="100", **cursor)
        known = [each for each in page["sessions"] if each["database"] in databases]
        _sessions.extend({**each, "events": _events(gateway, each["id"])} for each in known)
        if not page["next"]:
            return
        cursor = {"cursor": page["next"]}


def _events(gateway: Gateway, session: str) -> list[dict[str, Any]]:
    answer = gateway.admin.lines(f"/sessions/{session}/events")
    return [event for event in answer if event["type"] in ("operation-decided", "result-ended")]


def write() -> None:
    """Write one file for each client."""
    clients: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for session in sorted(_sessions, key=lambda each: each["opened"]):
        client, application = databases[session["database"]][0], session["application"]
        if client in ("programs", "building", "friction"):
            client = application if application in PROGRAMS else ""
        if client:
            clients[client].append(session)
    for client, sessions in clients.items():
        _write(client, sessions)


def begun(line: dict[str, Any], session: int) -> bool:
    """Whether a line begins a transaction of this session."""
    return line["session"] == session and line["text"].lower().startswith(("begin", "start "))


def _write(client: str, sessions: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    lines: list[dict[str, Any]] = []
    used: dict[str, str] = {}
    for number, session in enumerate(sessions):
        failed = {
            e["operation"] for e in session["events"] if e["type"] == "result-ended" and e["code"]
        }
        for event in session["events"]:
            if event["type"] != "operation-decided" or len(event["text"]) > LONGEST:
                continue
            if event["verb"] in ROWS:
                if event["fingerprint"] in seen:
                    continue
                seen.add(event["fingerprint"])
            used[session["database"]] = databases[session["database"]][1]
            line = {"session": number, "database": session["database"], "text": event["text"]}
            if event["operation"] in failed:
                line["failed"] = True
            if event["verb"] == "fetch" and PORTAL.search(event["text"]):
                line["portal"] = [PORTAL.search(event["text"])[0], lines[-1]["text"]]
            if event["verb"] in ENDS and lines and begun(lines[-1], number):
                lines.pop()  # nothing new in between
            else:
                lines.append(line)
    guardrails = sorted(GUARDRAILS.get(client, ()))
    header = {"client": client, "databases": used, "guardrails": guardrails}
    text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in [header, *lines])
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{client}.jsonl").write_text(text)
