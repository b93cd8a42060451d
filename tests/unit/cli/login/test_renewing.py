"""A token that is over is had anew, once; what goes wrong meanwhile loses nothing it need not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sallyport.cli.errors import CommandError
from sallyport.cli.login.kept import Login, Logins
from sallyport.cli.login.leaving import leave
from sallyport.cli.login.renewing import current, exchange
from tests.support.hostile import CLIENT, Hostile, answer


@pytest.fixture
def logins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logins:
    monkeypatch.setenv("SALLYPORT_KEYRING", "off")
    return Logins(tmp_path / "logins")


@pytest.fixture
def world(hostile: Hostile) -> Hostile:
    """The provider, with a gateway at the same address that gives `sp_new`."""
    hostile.paths["/token"] = lambda _: hostile.gives()
    hostile.paths["/oauth/token"] = lambda _: answer(
        {"access_token": "sp_new", "token_type": "Bearer", "expires_in": 900}
    )
    return hostile


def login(world: Hostile, left: float = -1.0, **more: Any) -> Login:
    now = time.time()
    begun = Login(
        world.url, "corp", world.url, CLIENT, "ann", "ann", "n-1", now + left - 900, now + left,
        "sp_old", "refresh-1",
    )  # fmt: skip
    return msgspec.structs.replace(begun, **more)


def asked(world: Hostile, path: str) -> list[dict[str, str]]:
    return [form for name, form in world.asked if name == path]


def test_one_that_lasts_is_used_as_it_is(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world, 300.0))
    assert current(logins, world.url).token == "sp_old"
    assert current(logins, "https://other.example") is None
    assert not world.asked


def test_one_that_is_over_is_had_anew(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world))
    found = current(logins, world.url)
    assert (found.token, found.refresh_token) == ("sp_new", "refresh-2")
    assert found.expires == pytest.approx(time.time() + 900, abs=10)
    assert logins.find(world.url) == found
    assert asked(world, "/token") == [
        {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": CLIENT}
    ]
    (form,) = asked(world, "/oauth/token")
    assert form["subject_token_type"].endswith(":id_token")


def test_half_its_time_is_enough_but_for_a_session(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world, 300.0))
    assert current(logins, world.url, half=True).token == "sp_new"
    logins.keep(login(world, 300.0, refresh_token=""))
    assert current(logins, world.url, half=True).token == "sp_old", "it is better than none"


def test_many_at_once_renew_once(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world))
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(current(logins, world.url).token))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["sp_new"] * 8 and len(asked(world, "/token")) == 1


def test_without_a_refresh_token_one_logs_in_again(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world, refresh_token=""))
    with pytest.raises(CommandError, match="has expired") as why:
        current(logins, world.url)
    assert "sallyport login" in why.value.hint and not world.asked


def test_a_login_that_is_over_there_is_forgotten(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world))
    world.paths["/token"] = lambda _: answer({"error": "invalid_grant"}, 400)
    with pytest.raises(CommandError, match="is over"):
        current(logins, world.url)
    assert logins.find(world.url) is None


@pytest.mark.parametrize(
    "how",
    [
        lambda _: answer({"error": "temporarily_unavailable"}, 400),
        lambda _: answer({}, 503),
        lambda _: answer({}, 302, location="/elsewhere"),
    ],
)
def test_a_provider_that_fails_costs_nothing(world: Hostile, logins: Logins, how: Any) -> None:
    before = logins.keep(login(world))
    world.paths["/token"] = how
    with pytest.raises(CommandError):
        current(logins, world.url)
    assert logins.find(world.url) == before


def test_a_new_refresh_token_is_kept_before_all_else(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world))
    world.paths["/oauth/token"] = lambda _: answer(
        {"error": "invalid_request", "error_description": "a token is not valid"}, 400
    )
    with pytest.raises(CommandError, match="the gateway does not take this login"):
        current(logins, world.url)
    found = logins.find(world.url)
    assert (found.token, found.refresh_token) == ("sp_old", "refresh-2")


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "bob"},
        {"nonce": "n-2"},
        {"aud": "other"},
        {"iss": "https://evil.example"},
        {"at_hash": "x"},
    ],
)
def test_what_is_not_of_this_login_is_not_exchanged(
    world: Hostile, logins: Logins, claims: Any
) -> None:
    logins.keep(login(world))
    world.paths["/token"] = lambda _: world.gives(**claims)
    with pytest.raises(CommandError, match="ID token"):
        current(logins, world.url)
    assert not asked(world, "/oauth/token")


def test_a_gateway_that_gives_no_token_is_told(world: Hostile) -> None:
    for given in ({}, {"access_token": 1, "expires_in": 1}, {"access_token": "x"}):
        world.paths["/oauth/token"] = lambda _, given=given: answer(given)
        with pytest.raises(CommandError, match="holds no token"):
            exchange(world.url, "id-token")


# --- logging out


def test_leaving_revokes_both_and_forgets(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world, 300.0))
    world.paths["/api/v1/whoami/revoke"] = lambda _: answer({"revoked": 1})
    world.paths["/revoke"] = lambda _: answer({})
    assert leave(logins, world.url) == {"url": world.url, "name": "ann", "problems": []}
    assert asked(world, "/revoke") == [
        {"token": "refresh-1", "token_type_hint": "refresh_token", "client_id": CLIENT}
    ]
    assert logins.find(world.url) is None and leave(logins, world.url) is None


def test_leaving_forgets_whatever_they_say(world: Hostile, logins: Logins) -> None:
    logins.keep(login(world, 300.0))
    world.paths["/revoke"] = lambda _: answer({}, 503)
    done = leave(logins, world.url)
    assert done is not None and len(done["problems"]) == 2
    assert logins.find(world.url) is None


def test_leaving_where_there_is_nothing_to_revoke(world: Hostile, logins: Logins) -> None:
    world.document = {"revocation_endpoint": ...}
    logins.keep(login(world))
    assert leave(logins, world.url)["problems"] == [], "its token is over"
    assert "/api/v1/whoami/revoke" not in [path for path, _ in world.asked]


def test_leaving_forgets_what_cannot_be_read(
    world: Hostile, logins: Logins, tmp_path: Path
) -> None:
    logins.keep(login(world))
    (file,) = (tmp_path / "logins").glob("*.json")
    file.write_text("{}")
    assert leave(logins, world.url)["problems"]
    assert not file.exists()
