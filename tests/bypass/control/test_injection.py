"""Class 61: what a hostile client or rule writes must stay text, and cost little.

Names, statements and errors go into the log, the audit, recordings, the CLI and the API: nothing
of them may start a new line, move a cursor or turn the direction of what is read. Rules and files
may not cost more than their size.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sallyport.cli.client import Client, path
from sallyport.cli.errors import CommandError
from sallyport.demo.server import EmbeddedPostgres
from tests.bypass.postgres import wire
from tests.bypass.postgres.wire import Gone, Wire
from tests.support.evidence import recorded
from tests.support.gateway import EVERYTHING, Gateway
from tests.support.processes import wait_for

DATABASE = "injected"
MARK = "FORGED"
NASTY = [
    f'x\n{{"event":"{MARK}","level":"info"}}',
    f"x\r{MARK}",
    f"x\x1b[2J\x1b]0;{MARK}\x07",
    f"x\u202e{MARK}\u202c",
    f"x\u2028{MARK}",
    f"x\x85{MARK}",
    f"x\x9b31m{MARK}",
    f"x\u200b{MARK}\ufeff",
    f"x<script>{MARK}</script>",
    f"x{{0.__class__}}%s%n{MARK}",
]
HOLD = {
    "name": "updates-wait", "effect": "hold", "operations": {"verbs": ["update"]},
    "hold": {"approvers": ["dba"], "timeout": "60s"},
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    postgres.psql(f"create database {DATABASE} owner app")
    postgres.psql("set role app; create table t (a text); insert into t values ('x')", DATABASE)
    with Gateway(
        tmp_path_factory.mktemp("injected"), postgres, database=DATABASE, rules=[*EVERYTHING, HOLD]
    ) as running:
        yield running


def attempt(gateway: Gateway, token: str | None = None, **parameters: str) -> str:
    """Try to begin a session; return what is said where it fails."""
    given = {"user": "app", "database": "db", **parameters}
    try:
        with Wire(gateway.port, given, token or gateway.agent) as session:
            session.send(wire.query("select 1"))
            session.until_ready()
    except Gone as gone:
        return str(gone)
    return ""


def command(gateway: Gateway, *words: str, color: bool = False) -> str:
    """Run the CLI as an operator does; return what it prints."""
    environment = {
        **os.environ, "SALLYPORT_URL": gateway.url, "SALLYPORT_TOKEN": gateway.admin_token,
        "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip
    if color:
        environment |= {"FORCE_COLOR": "1", "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", *words],
        env=environment, capture_output=True, text=True, check=False, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def clean(text: str, where: str) -> None:
    """No control character, no bidi; a text of several lines is set in, so none of them poses as ours."""
    for line in text.split("\n"):
        bad = [hex(ord(c)) for c in line if (ord(c) < 32 and c != "\t") or 0x7F <= ord(c) < 0xA0]
        bad += [
            hex(ord(c)) for c in line if c in "\u202e\u202c\u2028\u2029\u200b\ufeff\u2066\u2067"
        ]
        assert not bad, f"{where}: {bad} in {line!r}"
        assert not line.startswith((MARK, f'{{"event":"{MARK}"')), f"{where}: {line!r}"


def test_names_at_the_login_stay_text_in_the_log(gateway: Gateway) -> None:
    for nasty in NASTY:
        for where in ("user", "database", "application_name"):
            attempt(gateway, **{where: nasty})
        attempt(gateway, token=nasty.replace("\0", ""))
    log = gateway.log()
    clean(log, "gateway.log")
    for line in log.splitlines():
        if line.strip():
            assert isinstance(json.loads(line), dict), line


def test_statements_stay_text_wherever_they_are_shown(gateway: Gateway) -> None:
    with Wire(
        gateway.port,
        {"user": "app", "database": "db", "application_name": f"app-{NASTY[0]}"},
        gateway.agent,
    ) as session:
        for nasty in NASTY:
            quoted = nasty.replace("'", "''")
            session.send(wire.query(f"select '{quoted}' as \"{quoted}\""))
            session.until_ready()
            session.send(wire.query(f'select * from "{quoted}"'))
            session.until_ready()
            session.send(wire.query(f"-- {nasty}\nselekt"))
            session.until_ready()
    clean(gateway.log(), "gateway.log")
    found = wait_for(
        lambda: [
            one for one in gateway.admin.get("/sessions")["sessions"]
            if one["state"] != "open" and one["operations"] > 9
        ],
        "the session is listed",
    )  # fmt: skip
    identifier = found[0]["id"]
    for words in (
        ["sessions", "list"],
        ["sessions", "show", identifier],
        ["sessions", "search", MARK],
        ["sessions", "replay", identifier, "--speed", "1000"],
    ):
        clean(command(gateway, *words), " ".join(words))


def test_an_approver_sees_what_would_run_and_nothing_else(gateway: Gateway) -> None:
    for nasty in NASTY:
        quoted = nasty.replace("'", "''")
        with Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session:
            session.send(wire.query(f"update t set a = 'z' where a = '{quoted}'"))
            approval = wait_for(
                lambda: gateway.approver.get("/approvals", state="pending")["approvals"], "pending"
            )[0]
            clean(command(gateway, "approvals", "show", approval["id"]), f"show {nasty!r}")
            clean(command(gateway, "approvals", "list"), f"list {nasty!r}")
            gateway.deny(approval["id"])
            session.until_ready()


def test_names_of_tokens_and_reasons_stay_text(gateway: Gateway) -> None:
    for nasty in NASTY:
        for body in (
            {"name": nasty, "subject": "plain"}, {"name": "plain", "subject": nasty},
            {"name": "plain", "subject": "plain", "groups": [nasty]},
        ):  # fmt: skip
            try:
                gateway.admin.post("/tokens", {"lifetime": 60, **body})
            except CommandError:
                continue
    clean(command(gateway, "token", "list"), "token list")
    with Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session:
        session.send(wire.query("update t set a = 'z' where a = 'nobody'"))
        approval = wait_for(
            lambda: gateway.approver.get("/approvals", state="pending")["approvals"], "pending"
        )[0]
        gateway.approver.post(
            path("approvals", approval["id"], "deny"), {"reason": f"no\x1b[2J\n{MARK}\u202e"}
        )
        answers = session.until_ready()
        told = next(answer for answer in answers if answer.kind == "E").fields
        assert "\x1b" not in str(told)
    clean(command(gateway, "approvals", "show", approval["id"]), "approvals show")
    clean(gateway.log(), "gateway.log")


def test_a_parameter_cannot_pose_as_a_line_of_the_approval(gateway: Gateway) -> None:
    forged = "x\ndana approved: looks fine\nFORGED"
    with Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session:
        session.send(
            wire.parse("", "update t set a = $1 where a = 'nobody'")
            + wire.bind("", "", [forged])
            + wire.execute()
            + wire.SYNC
        )
        approval = wait_for(
            lambda: gateway.approver.get("/approvals", state="pending")["approvals"], "pending"
        )[0]
        shown = command(gateway, "approvals", "show", approval["id"])
        assert "looks fine" in shown
        assert not any(line.startswith("dana") for line in shown.splitlines())
        clean(shown, "approvals show")
        gateway.deny(approval["id"])
        session.until_ready()


def test_what_is_recorded_is_what_was_sent(gateway: Gateway) -> None:
    """Only what shows it makes it harmless: the record itself keeps every byte."""
    nasty = NASTY[0] + NASTY[2] + NASTY[3]
    with Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session:
        session.send(wire.query(f"select $q${nasty}$q$"))
        session.until_ready()
    texts = [getattr(event, "text", "") for event in recorded(gateway.folder / "state")]
    assert f"select $q${nasty}$q$" in texts


# --- what belongs to others


def test_an_agent_reaches_nothing_of_the_api_but_its_own(gateway: Gateway) -> None:
    """Each object by its id, with each role that has no business there."""
    with Wire(gateway.port, {"user": "app", "database": "db"}, gateway.agent) as session:
        session.send(wire.query("update t set a = 'z' where a = 'theirs'"))
        approval = wait_for(
            lambda: gateway.approver.get("/approvals", state="pending")["approvals"], "pending"
        )[0]["id"]
        open_session = gateway.admin.get("/sessions", state="open")["sessions"][0]["id"]
        token = gateway.admin.get("/tokens")["tokens"][0]["id"]
        stranger = Client(gateway.url, gateway.token("stranger", groups=["agents"]))
        other = Client(
            gateway.url, gateway.token("other-approver", groups=["board"], roles=["approver"])
        )
        auditor = Client(gateway.url, gateway.token("auditor", groups=["x"], roles=["auditor"]))
        reads = [
            path("sessions", open_session), path("sessions", open_session, "events"),
            path("sessions", open_session, "export"), "/sessions", "/sessions/search",
            "/tokens", "/credentials", "/targets", "/audit", "/status", "/policy",
        ]  # fmt: skip
        writes: list[tuple[str, dict[str, Any]]] = [
            (path("sessions", open_session, "kill"), {"reason": "x"}),
            (path("sessions", open_session, "hold"), {}),
            ("/tokens", {"name": "x", "subject": "x", "lifetime": 60, "roles": ["admin"]}),
            ("/tokens/revoke", {"id": token}), ("/tokens/revoke", {"all": True}),
            ("/policy/reload", {}), (path("targets", "db", "check"), {}),
            (path("approvals", approval, "approve"), {"reason": "x"}),
            (path("approvals", approval, "deny"), {"reason": "x"}),
        ]  # fmt: skip
        for client in (stranger, other):
            for where in (*reads, path("approvals", approval)):
                with pytest.raises(CommandError):
                    client.get(where)
        for client in (stranger, other, auditor):
            for where, body in writes:
                with pytest.raises(CommandError):
                    client.post(where, body)
            with pytest.raises(CommandError):
                client.put(path("credentials", "db"), {"value": "stolen"})
        assert gateway.admin.get(path("approvals", approval))["state"] == "pending"
        assert stranger.get("/approvals")["approvals"] == []
        gateway.deny(approval)
        session.until_ready()


# --- what may not cost more than its size


def check(tmp_path: Path, text: str) -> tuple[int, str]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "sallyport.cli", "check", str(file)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
BOMBS: dict[str, str] = {
    "aliases-that-multiply": LAUGHS,
    "an-alias-of-itself": "version: &x [*x]\n",
    "deep-lists": "version: " + "[" * 5000 + "]" * 5000,
    "deep-maps": "".join(" " * n + f"k{n}:\n" for n in range(500)),
    "merge-keys": "a: &a {x: 1}\nb: {<<: *a}\n",
    "a-python-object": "version: !!python/object/apply:os.system ['touch /tmp/forged']\n",
    "a-tag-of-ones-own": "version: !include /etc/passwd\n",
    "two-documents": "version: 1\n---\nversion: 1\n",
    "a-key-twice": "version: 1\nversion: 1\n",
    "a-huge-number": "version: " + "9" * 100_000 + "\n",
    "sexagesimal-and-octal": "version: 1:00:00\n",
    "not-utf8": "version: \udcff\n".encode("utf-8", "surrogateescape").decode("latin-1"),
    "two-megabytes": "# " + "x" * 2_000_000 + "\nversion: 1\n",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_is_a_bomb_is_refused(bomb: str, tmp_path: Path) -> None:
    code, said = check(tmp_path, BOMBS[bomb])
    assert code != 0
    assert "Traceback" not in said and "fault of sallyport" not in said
    assert "c.yaml" in said


CONDITIONS: dict[str, str] = {
    "a-pattern-that-explodes": "op.text.matches('(a+)+$') || op.text.matches('^(([a-z])+.)+[A-Z]([a-z])+$')",
    "nested-loops": "[1,2,3,4,5,6,7,8,9].all(a, " * 8 + "true" + ")" * 8,
    "a-huge-list": "[" + ",".join(["1"] * 20_000) + "].exists(x, x == 2)",
    "deep-parentheses": "(" * 2000 + "true" + ")" * 2000,
    "deep-ternaries": "true ? " * 2000 + "true" + " : false" * 2000,
    "a-text-that-doubles": "('a' + 'a').size() > 0 && " + " + ".join(["op.text"] * 3000) + " != ''",
    "no-boolean": "'yes'",
    "an-error": "1 / 0 == 1",
    "what-is-not-there": "subject.claims['nothing'] == 'x'",
}


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_condition_that_is_a_bomb_allows_nothing_and_holds_nobody_up(
    gateway: Gateway, condition: str
) -> None:
    """It is refused when the policy is loaded, or fails closed in time: others are served."""
    before = gateway.config["policy"]["rules"]
    rule = {
        "name": "bomb", "effect": "allow", "subjects": {"groups": ["bombed"]},
        "when": CONDITIONS[condition],
    }  # fmt: skip
    everybody = {**EVERYTHING[0], "subjects": {"groups": ["agents"]}}
    access = gateway.config["access"][0]["subjects"]
    gateway.config["policy"]["rules"] = [everybody, rule]
    gateway.config["access"][0]["subjects"] = {"groups": ["agents", "bombed"]}
    try:
        try:
            gateway.reload()
        except CommandError as refused:
            assert "condition" in str(refused)
            return
        token = gateway.token("bomber", groups=["bombed"])
        with Wire(gateway.port, {"user": "app", "database": "db"}, token) as session:
            session.send(wire.query("select '" + "a" * 50_000 + "!'"))
            start = time.monotonic()
            assert attempt(gateway) == ""
            answers = session.until_ready()
            print(f"{condition}: {time.monotonic() - start:.2f} s, {[a.kind for a in answers]}")
            if condition in ("no-boolean", "an-error", "what-is-not-there"):
                assert answers[0].kind == "E"
    finally:
        gateway.config["policy"]["rules"] = before
        gateway.config["access"][0]["subjects"] = access
        gateway.reload()
