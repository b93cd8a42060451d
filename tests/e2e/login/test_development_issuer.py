"""The demo's own issuer, before the demo's own gateway: people log in, renew, and are logged out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psycopg
import pytest

from sallyport.cli.client import Client
from sallyport.demo.command import Demo
from tests.e2e.login.conftest import SOURCES, Person
from tests.support.chromium import Chromium
from tests.support.demo_issuer import Visitor
from tests.support.processes import wait_for
from tests.support.provider import Browser
from tests.support.sessions import Listener

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo"))
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def someone(demo: Demo, tmp_path: Path) -> Person:
    return Person(tmp_path / "home", demo.details["api"]["url"])


def by_device(person: Person, subject: str) -> None:
    running = person.start("login")
    address = running.hear("or open ").split()[2]
    with Browser(subject) as browser:
        page = browser.visit(address, person=subject)
    assert page.status_code == 200 and f"You are {subject}" in page.text
    assert running.end().startswith(f"{subject} is logged in at {person.url} by demo until ")


def by_code(person: Person, subject: str) -> None:
    running = person.start("login", "--flow", "code", "--no-browser")
    with Browser(subject) as browser:
        page = browser.visit(running.hear("http"), person=subject)
    assert page.status_code == 200 and "You can close this page" in page.text
    running.end()


def dsn(demo: Demo, password: str) -> str:
    place = demo.details["postgres"]
    return (
        f"host={place['host']} port={place['port']} user={place['user']} "
        f"dbname={place['database']} password={password}"
    )


@pytest.mark.parametrize(
    ("subject", "group", "roles"),
    [
        ("dana", "dba", ["approver"]),
        ("robin", "contractors", []),
        ("alex", "agents", []),
        ("sam", "auditors", ["auditor"]),
    ],
)
def test_everybody_logs_in_with_their_groups_and_roles(
    someone: Person, subject: str, group: str, roles: list[str]
) -> None:
    by_device(someone, subject)
    told = someone.told("whoami")
    assert (told["name"], told["groups"], told["provider"]) == (subject, [group], "demo")
    assert [role for role in told["roles"] if role in ("approver", "auditor", "admin")] == roles


def test_by_a_browser_on_this_machine(someone: Person, demo: Demo) -> None:
    by_code(someone, "alex")
    assert someone.kept()["nonce"]
    password = someone.run("connect", "shop", "--password").strip()
    with psycopg.connect(dsn(demo, password)) as connection:
        assert connection.execute("SELECT count(*) FROM customers").fetchone() == (6000,)


def test_who_refuses_in_the_browser_is_not_logged_in(someone: Person) -> None:
    running = someone.start("login", "--flow", "device")
    with Browser("robin") as browser:
        browser.visit(running.hear("or open ").split()[2], person="")
    running.end(1)
    assert "refused in the browser" in "".join(running.said)
    assert not list(someone.logins.glob("*.json"))


def test_a_login_that_is_over_is_had_anew_with_another_refresh_token(someone: Person) -> None:
    by_device(someone, "alex")
    first = someone.kept()
    (path,) = someone.logins.glob("*.json")
    path.write_text(path.read_text().replace(f'"expires":{first["expires"]}', '"expires":1.0'))
    assert someone.kept()["expires"] == 1.0
    assert someone.told("whoami")["name"] == "alex"
    second = someone.kept()
    assert second["token"] != first["token"]
    assert second["refresh_token"] != first["refresh_token"]


def test_asking_and_approving_as_people_who_logged_in(someone: Person, tmp_path: Path) -> None:
    dana = Person(tmp_path / "dana", someone.url)
    by_device(someone, "robin")
    by_device(dana, "dana")
    asked = someone.told("access", "request", "shop", "--for", "5m", "--reason", "ticket 1")
    someone.refused("access", "approve", asked["id"])
    dana.run("access", "approve", asked["id"])
    shown = dana.told("access", "show", asked["id"])
    assert shown["state"] == "approved"


def test_a_logout_there_ends_tokens_and_sessions_here(
    someone: Person, demo: Demo, tmp_path: Path
) -> None:
    other = Person(tmp_path / "other", someone.url)
    by_device(other, "alex")
    by_code(someone, "alex")
    password = someone.run("connect", "shop", "--password").strip()
    session = Listener(dsn(demo, password))
    stays = Listener(dsn(demo, other.run("connect", "shop", "--password").strip()))
    with Visitor(demo.issuer) as browser:
        page = browser.get("/logout")
        latest = page.text.partition('name="sid" value="')[2].partition('"')[0]
        ended = browser.press(page, sid=latest)
    assert "alex is logged out here and at the gateway" in ended.text
    wait_for(session.over, "the session is ended")
    assert "log in with `sallyport login`" in someone.refused("whoami")
    assert not stays.over() and other.told("whoami")["name"] == "alex"
    admin = Client(someone.url, demo.details["api"]["admin_token"])
    found = admin.get("/audit", action="logged-out")["audit"]
    assert found[0]["object"] == demo.issuer.url and found[0]["details"]["sub"] == "alex"


def test_what_the_command_line_forgets_is_revoked_there(someone: Person, demo: Demo) -> None:
    by_code(someone, "alex")
    kept = someone.kept()
    assert someone.told("logout")["problems"] == []
    with Visitor(demo.issuer) as program:
        assert program.refresh(kept["refresh_token"]).json()["error"] == "invalid_grant"


def exchange(demo: Demo, token: str) -> httpx2.Response:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN}
    url = demo.details["api"]["url"]
    return httpx2.post(f"{url}/oauth/token", data=form, trust_env=False)


def test_an_id_token_counts_until_its_login_has_ended(demo: Demo) -> None:
    with Visitor(demo.issuer) as visitor:
        given = visitor.tokens("robin")
        assert exchange(demo, given["id_token"]).status_code == 200
        visitor.get("/logout", id_token_hint=given["id_token"])
        assert exchange(demo, given["id_token"]).status_code == 400


def test_a_browser_signs_in_and_out_again(demo: Demo) -> None:
    api, own = demo.details["api"]["url"], {"sec-fetch-site": "same-origin"}
    with Browser("dana") as browser:
        browser.visit(f"{api}/login", person="dana")
        told = browser.get(f"{api}/api/v1/whoami", headers=own).json()
        assert (told["name"], told["groups"]) == ("dana", ["dba"])
        out = browser.post(f"{api}/logout", headers=own)
        assert out.headers["location"].startswith(f"{demo.issuer.url}/logout?")
        there = browser.visit(out.headers["location"])
        assert there.url.path == "/logout" and "signed out" in there.text, "and back again"
        assert browser.get(f"{api}/api/v1/whoami", headers=own).status_code == 401


def test_a_logout_there_ends_a_browsers_session(demo: Demo) -> None:
    api, own = demo.details["api"]["url"], {"sec-fetch-site": "same-origin"}
    with Browser("sam") as browser, Visitor(demo.issuer) as elsewhere:
        browser.visit(f"{api}/login", person="sam")
        assert browser.get(f"{api}/api/v1/whoami", headers=own).status_code == 200
        page = elsewhere.get("/logout")
        latest = page.text.partition('name="sid" value="')[2].partition('"')[0]
        assert "and at the gateway" in elsewhere.press(page, sid=latest).text
        assert browser.get(f"{api}/api/v1/whoami", headers=own).status_code == 401


def test_its_configuration_is_refused_by_hand(demo: Demo, tmp_path: Path) -> None:
    config = Path(demo.details["config"])
    copied = tmp_path / "sallyport.yaml"
    copied.write_text(config.read_text())
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": SOURCES}
    for words in (("check", str(config)), ("check", str(copied)), ("serve", "-c", str(copied))):
        done = subprocess.run(
            [sys.executable, "-m", "sallyport.cli", *words],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout
        assert "asks for no password: it is refused outside the demo" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "gateway").exists()


def test_a_reload_takes_it_while_nothing_of_the_demo_leaves_this_machine(
    someone: Person, demo: Demo
) -> None:
    config = Path(demo.details["config"])
    before = config.read_text()
    admin = {"SALLYPORT_TOKEN": demo.details["api"]["admin_token"]}
    someone.run("policy", "reload", **admin)
    listener = f"address: 127.0.0.1:{demo.details['postgres']['port']}"
    assert listener in before
    try:
        config.write_text(before.replace(listener, f"{listener}\n    public: db.example.com:5432"))
        running = someone.start("policy", "reload", **admin)
        running.end(1)
        assert "expected loopback beside a development issuer" in "".join(running.said)
    finally:
        config.write_text(before)
    by_device(someone, "alex")


def test_in_chromium(demo: Demo, someone: Person, tmp_path: Path) -> None:
    """The pages' own policy lets their answers go where they must, and nothing is remembered."""
    url = demo.details["api"]["url"]
    with Chromium(tmp_path) as chromium:
        for subject in ("dana", "sam"):
            chromium.visit(f"{url}/login")
            chromium.click(f"button[value={subject}]")
            wait_for(lambda: chromium.url == f"{url}/api/v1/whoami", "it is back")
            assert f'"{subject}"' in chromium.text
        running = someone.start("login", "--flow", "code", "--no-browser")
        chromium.visit(running.hear("http"))
        chromium.click("button[value=alex]")
        wait_for(lambda: "You can close this page" in chromium.text, "the terminal has heard")
        running.end()
        running = someone.start("login")
        chromium.visit(running.hear("or open ").split()[2])
        chromium.click("button[value=robin]")
        wait_for(lambda: "You are robin" in chromium.text, "the terminal is told")
        assert running.end().startswith("robin is logged in")
