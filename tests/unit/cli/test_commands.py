"""Every command against a running API, as a user runs it."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import msgspec
import pytest

from sallyport.core.event import FindingCount, FindingsCounted
from tests.unit.cli.conftest import Terminal
from tests.unit.identity.clients import new_key, public_pem
from tests.unit.web.harness import Api, session_events


async def test_whoami_and_status(admin: Terminal, api: Api) -> None:
    said = await admin.run("whoami")
    assert said.code == 0 and "admin-person" in said.out
    assert json.loads((await admin.run("whoami", "--json")).out)["roles"] == ["admin"]
    assert json.loads((await admin.run("--json", "status")).out)["ready"] is True
    assert (await admin.run("status", "--wait", "1m")).code == 0
    api.ready = False
    unready = await admin.run("status")
    assert unready.code == 1 and "gone" in unready.out
    assert (await admin.run("status", "--wait", "1s")).code == 1
    assert (await admin.run("status", "--wait", "soon")).code == 2


async def test_a_token_is_had_anew(admin: Terminal, api: Api) -> None:
    first = await admin.run("token", "create", "--subject", "bob", "--json")
    identifier = json.loads(first.out)["token"]["id"]
    anew = await admin.run("token", "rotate", identifier, "--grace", "10m", "--lifetime", "1h")
    assert anew.code == 0 and anew.out.startswith("sp_") and "shown this once" in anew.err
    bob = Terminal({"SALLYPORT_URL": api.url, "SALLYPORT_TOKEN": anew.out.strip()})
    assert "bob" in (await bob.run("whoami")).out
    refused = await bob.run("token", "rotate", identifier)
    assert refused.code == 1 and "admin" in refused.err
    assert (await admin.run("token", "rotate", "nothing")).code == 1


async def test_a_token_is_made_used_and_revoked(admin: Terminal, api: Api, tmp_path: Path) -> None:
    made = await admin.run(
        "token", "create", "--subject", "bob", "--group", "dba", "--lifetime", "1h"
    )
    secret = made.out.strip()
    assert made.code == 0 and secret.startswith("sp_") and secret not in made.err
    file = tmp_path / "bob.token"
    file.write_text(made.out)
    bob = Terminal({"SALLYPORT_URL": api.url})
    loose = await bob.run("whoami", "--json", "--token-file", str(file))
    assert json.loads(loose.out)["groups"] == ["dba"] and "chmod 600" in loose.err
    file.chmod(0o600)
    tight = await bob.run("--token-file", str(file), "whoami")
    assert tight.code == 0 and tight.err == ""
    assert (await bob.run("whoami", SALLYPORT_TOKEN_FILE=str(file))).code == 0
    listed = json.loads((await admin.run("token", "list", "--subject", "bob", "--json")).out)
    assert listed["owner"] == "admin-person" and secret not in str(listed)
    assert "revoked 1 token" in (await admin.run("token", "revoke", "--subject", "bob")).out
    refused = await bob.run("whoami", "--token", secret)
    assert refused.code == 1 and "not valid" in refused.err and "hint:" in refused.err
    again = await admin.run("token", "revoke", listed["id"])
    assert again.code == 1 and "no token was revoked" in again.err and again.out == ""
    early = await admin.run(
        "token", "create", "--subject", "x", "--target", "shop", "--target", "sop"
    )
    assert early.code == 0 and "no target `sop`" in early.err and "`shop`" not in early.err
    assert (await admin.run("token", "revoke")).code == 2
    assert (await admin.run("token", "revoke", "x", "--all")).code == 2
    assert (await admin.run("token", "create", "--subject", "x", "--lifetime", "soon")).code == 2
    unknown = await admin.run("token", "create", "--subject", "x", "--role", "root")
    assert unknown.code == 1 and "unknown role `root`" in unknown.err


async def test_a_service_account_from_its_making_to_its_end(
    admin: Terminal, api: Api, tmp_path: Path
) -> None:
    files = [tmp_path / "first.pub", tmp_path / "next.pub", tmp_path / "private.key"]
    keys = [new_key(), new_key("EC")]
    for file, key in zip(files, keys, strict=False):
        file.write_text(public_pem(key))
    files[2].write_text(keys[0].as_pem(private=True).decode())
    first, following, private = (str(file) for file in files)
    create = ("service-account", "create", "nightly", "--group", "agents", "--public-key")
    for wrong in (private, str(tmp_path), str(tmp_path / "nothing")):
        assert (await admin.run(*create, wrong)).code == 2
    made = await admin.run(*create, first, "--target", "shop")
    assert made.code == 0 and "nightly is made" in made.out and "Ed25519" in made.err
    twice = await admin.run(*create, first)
    assert twice.code == 1 and "already" in twice.err
    added = await admin.run(
        "service-account", "add-key", "nightly", "--public-key", following, "--json"
    )
    identifier = json.loads(added.out)["id"]
    early = await admin.run(
        "service-account", "create", "early", "--public-key", following,
        "--target", "shop", "--target", "sop",
    )  # fmt: skip
    assert early.code == 0 and "no target `sop`" in early.err and "`shop`" not in early.err
    assert (await admin.run("service-account", "remove", "early")).code == 0
    listed = await admin.run("service-account", "list")
    assert identifier in listed.out and "agents" in listed.out
    one = json.loads((await admin.run("service-account", "list", "--json")).out)
    assert one["targets"] == ["shop"] and len(one["keys"]) == 2
    gone = await admin.run("service-account", "remove-key", "nightly", identifier)
    assert gone.code == 0 and "is removed" in gone.out
    assert (await admin.run("service-account", "remove-key", "nightly", identifier)).code == 1
    dashed = await admin.run("service-account", "remove-key", "nightly", "-_begins-with-a-dash")
    assert dashed.code == 1, "it is an id, and no option"
    removed = await admin.run("service-account", "remove", "nightly", "--json")
    assert json.loads(removed.out) == {"removed": "nightly", "revoked": 0}
    again = await admin.run("service-account", "remove", "nightly")
    assert again.code == 1 and "no service account `nightly`" in again.err


async def test_a_credential_comes_from_stdin_and_never_back(admin: Terminal, api: Api) -> None:
    done = await admin.run("credential", "set", "shop/app", stdin=b"s3cret \xc3\xa9\n")
    assert done.code == 0 and "version 1" in done.out
    assert (await api.vault.get("shop/app")).reveal() == "s3cret é".encode()
    listed = await admin.run("credential", "list", "--json")
    assert json.loads(listed.out)["name"] == "shop/app" and "s3cret" not in listed.out
    assert (await admin.run("credential", "set", "shop/app", "on-argv", stdin=b"x")).code == 2
    assert (await admin.run("credential", "set", "x", stdin=b"")).code == 2
    assert (await admin.run("credential", "set", "x", stdin=b"\xff")).code == 2
    assert (await admin.run("credential", "set", "x", stdin=b"y" * 70_000)).code == 2
    assert (await admin.run("credential", "set", "@mask-key", stdin=b"y")).code == 1
    assert (await admin.run("credential", "delete", "shop/app")).code == 0
    gone = await admin.run("credential", "delete", "shop/app")
    assert gone.code == 1 and "no credential" in gone.err


async def test_targets(admin: Terminal) -> None:
    assert "127.0.0.1:5432" in (await admin.run("target", "list")).out
    every = await admin.run("target", "check")
    assert every.code == 1 and "superuser" in every.out and "connection refused" in every.out
    one = await admin.run("target", "check", "shop", "--json")
    assert one.code == 0 and json.loads(one.out)["facts"] == {"version": "18"}
    assert "no target `x`" in (await admin.run("target", "check", "x")).err


async def test_policy(admin: Terminal, api: Api) -> None:
    shown = await admin.run("policy", "show")
    assert json.loads(shown.out) == {"rules": []} and "r1" in shown.err
    assert "r2" in (await admin.run("policy", "reload")).out
    api.bad_config = True
    bad = await admin.run("policy", "reload")
    assert bad.code == 1 and "line 3" in bad.err and "`polcy`: unknown key" in bad.err
    why = await admin.run("explain", "--subject", "a", "--target", "shop", "DROP TABLE t")
    assert why.out.strip() == "deny: DROP TABLE t"
    piped = await admin.run(
        "explain", "--subject", "a", "--target", "shop", "-", "--json", stdin=b"SELECT 1"
    )
    assert json.loads(piped.out)["decision"] == "deny"
    lost = await admin.run("explain", "--subject", "a", "--target", "x", "SELECT 1")
    assert lost.code == 1 and "no target `x`" in lost.err


async def test_approvals_are_read_and_answered(api: Api) -> None:
    token = await api.token("dora", groups=("dba",), roles=("approver",))
    dora = Terminal({"SALLYPORT_URL": api.url, "SALLYPORT_TOKEN": token})
    one = await api.waiting(text="UPDATE t SET a = '\u202e'\n-- \x1b[2J [red]")
    two = await api.waiting(people=2)
    listed = await dora.run("approvals", "list")
    assert one.id in listed.out and two.id in listed.out
    shown = await dora.run("approvals", "show", one.id)
    assert shown.code == 0, shown.err
    assert "<U+202E>" in shown.out and "[red]" in shown.out and "\x1b" not in shown.out
    assert "is approved" in (await dora.run("approvals", "approve", one.id, "-m", "ok")).out
    assert "1 of 2" in (await dora.run("approvals", "approve", two.id)).out
    twice = await dora.run("approvals", "approve", two.id)
    assert twice.code == 1 and "answered" in twice.err
    assert "is denied" in (await dora.run("approvals", "deny", (await api.waiting()).id)).out
    nothing = await dora.run("approvals", "list")
    assert two.id in nothing.out and one.id not in nothing.out
    every = [
        json.loads(line)
        for line in (
            await dora.run("approvals", "list", "--state", "all", "--json")
        ).out.splitlines()
    ]
    assert {each["state"] for each in every} == {"approved", "pending", "denied"}
    assert (await dora.run("approvals", "show", "apr-nothing")).code == 1


async def test_approvals_watch_prints_what_happens(api: Api) -> None:
    token = await api.token("dora", groups=("dba",), roles=("approver",))
    dora = Terminal({"SALLYPORT_URL": api.url, "SALLYPORT_TOKEN": token})
    one = await api.waiting()
    process = await dora.start("approvals", "watch", "--json")
    assert process.stdout is not None
    first = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert first["approval"]["id"] == one.id
    two = await api.waiting()
    second = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert second["approval"]["id"] == two.id
    assert await dora.interrupt(process) == 130
    process = await dora.start("approvals", "watch")
    assert process.stdout is not None
    told = await asyncio.wait_for(process.stdout.readline(), 30)
    assert b"pending" in told
    denied = await dora.run("approvals", "deny", one.id, "-m", "not on a Friday")
    assert denied.code == 0, denied.err
    while b"not on a Friday" not in told:
        told = await asyncio.wait_for(process.stdout.readline(), 30)
    assert told == b"    no by dora: not on a Friday\n"
    assert await dora.interrupt(process) == 130


async def test_a_list_says_who_acts_and_what_for(admin: Terminal, api: Api) -> None:
    first, *rest = session_events("s-1", subject="ann")
    for event in (msgspec.structs.replace(first, actors=("bot",), task="JIRA-7"), *rest):
        api.journal.record(event)
    api.journal.record(session_events("s-2")[1])
    await api.indexed()
    for command in (("sessions", "list"), ("sessions", "search")):
        shown = await admin.run(*command, "--actor", "b*", "--task", "JIRA-7")
        assert "ann by bot" in shown.out and "JIRA-7" in shown.out and "s-2" not in shown.out
    unknown = json.loads((await admin.run("sessions", "search", "--session", "s-2", "--json")).out)
    names = ("subject", "issuer", "actors", "task", "purpose", "target")
    assert [unknown[name] for name in names] == [None] * 6
    table = (await admin.run("sessions", "search", "--session", "s-2")).out
    assert "s-2" in table and "None" not in table


async def test_sessions_are_found_replayed_and_exported(
    admin: Terminal, api: Api, tmp_path: Path
) -> None:
    await api.recorded("s-1", text="select '\x1b]0;owned\x07' [red]")
    await api.recorded("s-2", subject="agent-2")
    assert "s-1" in (await admin.run("sessions", "list")).out
    only = await admin.run("sessions", "list", "--subject", "agent-2", "--json")
    assert [json.loads(line)["id"] for line in only.out.splitlines()] == ["s-2"]
    assert json.loads((await admin.run("sessions", "show", "s-1", "--json")).out)["rows"] == 1
    found = await admin.run("sessions", "search", "owned")
    assert "s-1" in found.out and "\x1b" not in found.out and "[red]" in found.out
    played = await admin.run("sessions", "replay", "s-1")
    assert played.code == 0 and "\x1b" not in played.out
    for part in ("agent-1", "allow by agents-read", "SELECT 1", "closed: client left"):
        assert part in played.out
    raw = await admin.run("sessions", "replay", "s-1", "--json")
    assert json.loads(raw.out.splitlines()[0])["type"] == "session-opened"
    to = tmp_path / "s-1.jsonl"
    assert "6 events" in (await admin.run("sessions", "export", "s-1", "-o", str(to))).err
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert to.read_text() == (await admin.run("sessions", "export", "s-1")).out
    over = await admin.run("sessions", "export", "s-1", "-o", str(to))
    assert over.code == 1 and "exists" in over.err
    assert (await admin.run("sessions", "replay", "s-9")).code == 1
    assert (await admin.run("sessions", "list", "--since", "yesterday")).code == 2


async def test_a_session_of_http_is_replayed_and_exported_as_an_archive(
    admin: Terminal, api: Api, tmp_path: Path
) -> None:
    await api.recorded("s-1")
    await api.recorded_http("s-2")
    played = (await admin.run("sessions", "replay", "s-2")).out
    for part in ("POST /v1/refunds?dry=1", "HTTP/1.1 201 Created", "201 (13 bytes, 400.0 ms)"):
        assert part in played
    to = tmp_path / "s-2.har"
    assert (
        await admin.run("sessions", "export", "s-2", "--format", "har", "-o", str(to))
    ).code == 0
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    printed = (await admin.run("sessions", "export", "s-2", "--format", "har")).out
    assert to.read_text() == printed and printed.isascii() and "\x1b" not in printed
    (entry,) = json.loads(printed)["log"]["entries"]
    assert entry["response"]["status"] == 201
    no = tmp_path / "s-1.har"
    other = await admin.run("sessions", "export", "s-1", "--format", "har", "-o", str(no))
    assert other.code == 1 and "`postgres`" in other.err and not no.exists()
    assert (await admin.run("sessions", "export", "s-2", "--format", "pdf")).code == 2


async def test_sessions_are_tailed_ended_and_held(admin: Terminal, api: Api) -> None:
    await api.recorded("s-1")
    process = await admin.start("sessions", "tail", "--backlog", "10")
    assert process.stdout is not None
    lines = b"".join([await asyncio.wait_for(process.stdout.readline(), 30) for _ in range(5)])
    assert b"opened agent-1 -> shop/shop" in lines and b"allow [agents-read]" in lines
    await api.recorded("s-2", text="select 'live'")
    for _ in range(50):
        if b"live" in await asyncio.wait_for(process.stdout.readline(), 30):
            break
    else:
        pytest.fail("the live statement did not come")
    assert await admin.interrupt(process) == 130
    assert "exempt" in (await admin.run("sessions", "hold", "s-1", "-m", "case 7")).out
    record = await api.library.session("s-1")
    assert record is not None and record.legal_hold
    assert (await admin.run("sessions", "release", "s-1")).code == 0
    assert (await admin.run("sessions", "hold", "s-9")).code == 1
    api.live_session("s-live")
    assert "ended" in (await admin.run("sessions", "kill", "s-live", "-m", "not ours")).out
    assert api.pushed and api.pushed[0][1].reason == "ended by admin-person: not ours"  # type: ignore[union-attr]
    assert (await admin.run("sessions", "kill", "s-9")).code == 1


async def test_findings_are_shown_as_a_table_and_as_lines(admin: Terminal, api: Api) -> None:
    events = session_events("s-1")
    counts = (
        FindingCount("public.customers.notes", "email", 312, 300),
        FindingCount("public.customers.*", "card", 4, 4),
        FindingCount("", "card", 3, 3),
        FindingCount("*", "card", 2, 2),
        FindingCount("x\x1b[2J\u202e.y.z", "iban", 1, 1),
    )
    for event in [*events[:2], FindingsCounted("s-1", 1002.0, 1, counts)]:
        api.journal.record(event)
    await api.indexed()
    said = await admin.run("findings", "shop")
    rows = [line.split() for line in said.out.splitlines()]
    assert rows[0][:6] == ["TARGET", "DATABASE", "COLUMN", "DETECTOR", "HITS", "CELLS"]
    assert ["shop", "shop", "public.customers.notes", "email", "312", "300"] in [
        row[:6] for row in rows
    ]
    for shown in ("public.customers.* (computed)", " (computed) ", " (others) "):
        assert shown in said.out
    assert "1970-01-01 00:16:42Z" in said.out
    lines = [json.loads(line) for line in (await admin.run("findings", "--json")).out.splitlines()]
    assert [line["column"] for line in lines] == [one.column for one in counts]
    assert len((await admin.run("findings", "--limit", "2", "--json")).out.splitlines()) == 2
    none = await admin.run("findings", "prod")
    assert (none.code, none.out) == (0, "") and "no findings" in none.err
    assert "\x1b" not in said.out and "\u202e" not in said.out
    auditor = Terminal({"SALLYPORT_URL": api.url, "SALLYPORT_TOKEN": await api.as_role("auditor")})
    assert (await auditor.run("findings")).code == 1
