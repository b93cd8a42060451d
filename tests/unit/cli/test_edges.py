"""What goes wrong: no API, no token, wrong usage, hostile answers, closed pipes, local files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from sallyport.cli.client import Client, path
from sallyport.cli.errors import CommandError
from sallyport.cli.output import Output, plain
from sallyport.cli.transcript import one_line, recorded
from sallyport.cli.units import moment, seconds
from sallyport.core.event import Audited, LoginRefused, RecordedEvent
from sallyport.core.visible import visible
from sallyport.recording.export import export_event
from sallyport.recording.who import Who
from tests.unit.cli.conftest import SOURCE, Terminal
from tests.unit.web.harness import Api, session_events
from tools.write_interface_reference import DOCS


async def test_every_way_of_having_no_token_is_told(nobody: Terminal, tmp_path: Path) -> None:
    said = await nobody.run("whoami")
    assert said.code == 2 and "no token" in said.err and "SALLYPORT_TOKEN_FILE" in said.err
    for arguments in (
        ("--token", ""),
        ("--token", "two words"),
        ("--token", "sp_\u00e9"),
        ("--token-file", str(tmp_path)),
        ("--token-file", str(tmp_path / "nothing")),
    ):
        said = await nobody.run("whoami", *arguments)
        assert said.code == 2 and said.err.startswith("error: ") and said.out == ""


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:1", 3),
        ("http://localhost:1", 3),
        ("http://192.0.2.1:8642", 2),
        ("https://user:pass@host", 2),
        ("ftp://host", 2),
        ("http://127.0.0.1:99999", 2),
        ("nonsense", 2),
        ("https://host/?token=x", 2),
    ],
)
async def test_addresses(nobody: Terminal, url: str, code: int) -> None:
    said = await nobody.run("whoami", "--url", url, "--token", "sp_secret")
    assert (said.code == code and "hint:" in said.err) or code == 2
    assert "sp_secret" not in said.err


async def test_wrong_usage_is_two_and_says_what_is_expected(nobody: Terminal) -> None:
    for arguments in (["frob"], ["sessions", "frob"], ["token", "create"], ["explain"], ["serve"]):
        said = await nobody.run(*arguments)
        assert said.code == 2 and said.err and not said.out
    assert (await nobody.run("serve", "-c", "/nowhere.yaml")).code == 2
    assert (await nobody.run("check", "/nowhere.yaml")).code == 2
    assert (await nobody.run("verify", "/nowhere")).code == 2


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """A server that is not Sallyport's."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def http(status: str, body: bytes, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{more}\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http("200 OK", b"<html>"), 1),
        (http("200 OK", b"[1]"), 1),
        (http("200 OK", b"[" * 100_000), 1),
        (http("500 Oops", b"oops \x1b[2J"), 1),
        (http("403 No", b'{"detail": "\\u001b[2Jno", "hint": "\\u202e", "errors": [7]}'), 1),
        (http("302 Found", b"", "Location: http://192.0.2.1/\r\n"), 1),
        (b"garbage\r\n\r\n", 3),
        (b"", 3),
    ],
)
async def test_another_servers_answer_is_told_and_cannot_draw(
    nobody: Terminal, answer: bytes, code: int
) -> None:
    async with answering(answer) as url:
        said = await nobody.run("whoami", "--url", url, "--token", "sp_secret")
    assert said.code == code and said.err.startswith("error: ")
    assert "\x1b" not in said.err and "\u202e" not in said.err and "sp_secret" not in said.err


async def test_a_reader_that_goes_is_no_failure(admin: Terminal, api: Api) -> None:
    await api.recorded("s-1", text="select '" + "x" * 500_000 + "'")
    process = await admin.start("sessions", "export", "s-1")
    assert process.stdout is not None
    await process.stdout.read(10)
    process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert err == b""


def every_command() -> Iterator[tuple[list[str], list[str]]]:
    """Yield the words of each command and the lines of its examples."""
    page = (DOCS / "cli.md").read_text()
    for part in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        if "```sh" in part:
            examples = part.partition("```sh\n")[2].partition("```")[0]
            yield part.splitlines()[0].split(), examples.splitlines()


HELP = """
import contextlib, io, json, sys
from sallyport.cli import main
for words in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.suppress(SystemExit):
        main([*words, "--help"])
    print(json.dumps(told.getvalue()))
"""


async def help_of(commands: Iterable[Sequence[str]]) -> list[str]:
    """Return what `--help` of each command says: asked in one process, for a start takes longer."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HELP, env={"PYTHONPATH": str(SOURCE)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate(json.dumps([list(words) for words in commands]).encode())
    assert process.returncode == 0
    return [json.loads(line) for line in out.decode().splitlines()]


async def test_help_is_everywhere_and_imports_little(nobody: Terminal) -> None:
    said = await nobody.run("--help")
    assert said.code == 0 and "Exit codes" in said.out
    for group in ("token", "credential", "target", "sessions", "approvals", "policy"):
        assert (await nobody.run(group, "--help")).code == 0
        assert group in said.out
    commands = list(every_command())
    for (_, lines), text in zip(
        commands, await help_of(words for words, _ in commands), strict=True
    ):
        shown = text.splitlines()
        assert lines
        assert set(lines) <= {line.strip() for line in shown}, "an example can be pasted whole"
        assert not [line for line in shown if line.lstrip().startswith("-") and "<" in line]
    heavy = "import sys; sys.argv = ['x', '--help']\n"
    heavy += "from sallyport.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    heavy += "print(sorted({'fastapi', 'pydantic', 'sqlalchemy', 'httpx2', 'asyncio'} & set(sys.modules)))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", heavy, env={"PYTHONPATH": str(SOURCE)}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]"


async def test_a_configuration_is_checked_with_lines(nobody: Terminal, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nstate: ./state\npolcy: {}\n")
    said = await nobody.run("check", str(bad))
    assert said.code == 1 and "bad.yaml:3" in said.err and "polcy" in said.err
    listed = json.loads((await nobody.run("check", str(bad), "--json")).out)
    assert listed["valid"] is False and listed["problems"][0]["line"]
    assert (await nobody.run("serve", "-c", str(bad))).code == 1
    assert (await nobody.run("serve", "-c", str(tmp_path))).code == 2


async def test_what_is_hardly_meant_is_a_hint(nobody: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "hint.yaml"
    file.write_text(
        "version: 1\nstate: ./state\nvault: {key: file:key, generate: true}\n"
        "issuers: [{name: mail, preset: google, audience: [x]}]\n"
    )
    said = await nobody.run("check", str(file))
    assert said.code == 0 and "hint: issuer `mail`: any Google account" in said.err
    listed = json.loads((await nobody.run("check", str(file), "--json")).out)
    assert listed["valid"] is True and len(listed["hints"]) == 1


async def test_recordings_are_verified_from_their_files(
    admin: Terminal, api: Api, tmp_path: Path
) -> None:
    await api.recorded("s-1")
    folder = tmp_path / "recordings"
    whole = await admin.run("verify", str(folder))
    assert whole.code == 0 and "ok" in whole.out
    journal = next(folder.rglob("*.journal"))
    raw = bytearray(journal.read_bytes())
    raw[len(raw) // 2] ^= 1
    journal.write_bytes(raw)
    broken = await admin.run("verify", str(folder), "--json")
    assert broken.code == 1 and json.loads(broken.out)["ok"] is False
    (tmp_path / "empty").mkdir()
    assert (await admin.run("verify", str(tmp_path / "empty"))).code == 2
    assert (await admin.run("verify", str(folder), "--key-file", str(journal))).code == 2


def test_events_survive_export_and_back() -> None:
    events = session_events("s-1", text="select '\u00e9\u202e'")
    assert list(recorded(export_event(event, None) for event in events)) == events


@pytest.mark.parametrize(
    "line", [{}, {"type": "x"}, {"type": "result-rows", "data": {"base64": "*"}}]
)
def test_what_is_no_event_is_told(line: dict[str, object]) -> None:
    with pytest.raises(CommandError):
        list(recorded([line]))


def test_a_line_of_a_tail_is_one_line_whatever_was_recorded() -> None:
    for event in session_events("s-1", text="a\nb\x1b[2J\r\u2028\u202e[red]"):
        line = one_line(export_event(event, None))
        if line is not None:
            assert (
                "\n" not in line.plain and "\x1b" not in line.plain and "\u2028" not in line.plain
            )
    assert one_line({"type": "dropped", "count": 7}) is not None
    assert one_line({"type": "unheard-of"}) is None


WHO = Who("ann", "corp", ("report-bot", "planner"), "JIRA-7", "", "shop")


def line_of(event: RecordedEvent, who: Who | None = WHO) -> str:
    found = one_line(export_event(event, who))
    assert found is not None
    return found.plain.partition(" s-1 ")[2]


def test_a_line_of_a_tail_says_whose_it_is() -> None:
    decided = session_events("s-1")[1]
    mine = 'ann by report-bot, planner for "JIRA-7": allow [agents-read] select 1'
    assert line_of(decided) == mine
    assert line_of(decided, None) == "allow [agents-read] select 1"
    said = msgspec.structs.replace(WHO, actors=(), task=None)
    assert line_of(decided, said) == "ann: allow [agents-read] select 1"
    opened = msgspec.structs.replace(
        session_events("s-1")[0], actors=("report-bot",), task="JIRA-7"
    )
    begun = 'opened agent-1 by report-bot -> shop/shop from 127.0.0.1 (psql, task: "JIRA-7")'
    assert line_of(opened) == begun
    audited = Audited("s-1", 1.0, "root", "session-killed", "s-1", {}, ("ops-bot",))
    assert line_of(audited, None) == "root by ops-bot session-killed s-1"
    refused = LoginRefused(
        "s-1", 1.0, "postgres", "::1", "shop", "ann", "no", "corp", ("bot",), "JIRA-7"
    )
    assert line_of(refused) == 'refused ann by bot from ::1 for "JIRA-7": no'


@pytest.mark.parametrize(
    "task", ['x": deny [none] DROP', "x\\", 'x\n"\x1b[2J\u202e: allow', '\\" for "']
)
def test_what_a_client_says_ends_no_quotes(task: str) -> None:
    """Whatever it says stands in its quotes, and what follows them is the gateway's own word."""
    decided = session_events("s-1")[1]
    line = line_of(decided, msgspec.structs.replace(WHO, actors=(), task=task))
    before, after = "ann for ", ": allow [agents-read] select 1"
    assert line.startswith(before) and line.endswith(after) and line.isprintable()
    said = line.removeprefix(before).removesuffix(after)
    shown, end = json.JSONDecoder().raw_decode(said)
    assert end == len(said)
    assert visible(shown) == visible(task)


def test_json_is_ascii_and_cannot_draw(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).json({"a": "\x1b\x7f\x9b\u202e"})
    out = capsys.readouterr().out
    assert out.isascii() and not set(out) & {"\x1b", "\x7f"}
    assert json.loads(out) == {"a": "\x1b\x7f\x9b\u202e"}


def test_units() -> None:
    assert [seconds(text) for text in ("90s", "15m", "8h", "30d", "2w")] == [
        90, 900, 28_800, 2_592_000, 1_209_600,
    ]  # fmt: skip
    assert moment("1970-01-01T00:01:00Z") == moment("1970-01-01 00:01:00") == 60.0
    assert moment(None) is None
    for text in ("", "0s", "5", "-5m", "1y", "99999999999h", "\u0661s"):
        with pytest.raises(CommandError):
            seconds(text)
    assert plain("expires", 1e30) == "1e+30" and plain("at", 0) == "1970-01-01 00:00:00Z"


def test_an_id_cannot_leave_its_segment() -> None:
    assert path("sessions", "../tokens", "a?b#c") == "/sessions/..%2Ftokens/a%3Fb%23c"


def test_no_proxy_and_no_redirect_ever_sees_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:1")
    client = Client("http://127.0.0.1:1", "sp_x")
    assert client._http.trust_env is False and client._http.follow_redirects is False
