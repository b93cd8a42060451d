"""The device flow against providers that are slow, late, or mean it ill."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from sallyport.cli.errors import CommandError
from sallyport.cli.login import device
from sallyport.cli.login.device import Code, NotOffered
from sallyport.identity.relying.provider import Endpoints, ProviderError, Tokens, Web, discover
from tests.support.hostile import Answer, Form, Hostile, answer

BEGUN = {
    "device_code": "device",
    "user_code": "ABCD-EFGH",
    "verification_uri": "https://login.example.com/device",
    "expires_in": 120,
    "interval": 2,
}


class Time:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def asked(hostile: Hostile, *answers: Callable[[], Answer]) -> None:
    """Let the token endpoint answer so, one after another."""
    left = list(answers)
    hostile.paths["/token"] = lambda _: left.pop(0)()


def no(word: str) -> Callable[[], Answer]:
    return lambda: answer({"error": word}, 400)


def wait(hostile: Hostile, web: Web, passing: Time, **more: Any) -> Tokens:
    code = device.read_code({**BEGUN, **more})
    return device.wait(
        web, discover(web), hostile.provider, code,
        sleep=passing.sleep, clock=lambda: passing.now,
    )  # fmt: skip


def test_it_polls_until_the_code_was_entered(hostile: Hostile, web: Web) -> None:
    passing = Time()
    asked(hostile, no("authorization_pending"), no("authorization_pending"), hostile.gives)
    assert wait(hostile, web, passing).refresh_token == "refresh-2"
    assert passing.slept == [2, 2, 2], "the first poll waits, too"
    form = hostile.asked[-1][1]
    assert form == {
        "grant_type": device.GRANT,
        "device_code": "device",
        "client_id": "sallyport-cli",
    }


def test_google_has_other_words_for_it(hostile: Hostile, web: Web) -> None:
    given = {**BEGUN, "verification_url": "https://www.google.com/device"}
    del given["verification_uri"]
    assert device.read_code(given).uri == "https://www.google.com/device"
    with pytest.raises(ProviderError):
        device.read_code({**given, "verification_url": "http://www.google.com/device"})
    pending = answer({"error": "authorization_pending"}, 428)
    asked(hostile, lambda: pending, hostile.gives)
    hostile.provider = structs.replace(hostile.provider, public_secret="told to anybody")
    wait(hostile, web, Time())
    assert hostile.asked[-1][1]["client_secret"] == "told to anybody"


def test_slow_down_adds_five_seconds_for_good(hostile: Hostile, web: Web) -> None:
    passing = Time()
    asked(hostile, no("slow_down"), no("authorization_pending"), no("slow_down"), hostile.gives)
    wait(hostile, web, passing)
    assert passing.slept == [2, 7, 7, 12]


def test_a_provider_that_only_slows_down_is_left_when_the_code_is_over(
    hostile: Hostile, web: Web
) -> None:
    passing = Time()
    hostile.paths["/token"] = lambda _: answer({"error": "slow_down"}, 400)
    with pytest.raises(CommandError, match="expired"):
        wait(hostile, web, passing)
    assert passing.now < 120


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("expired_token", "has expired before it was entered"),
        ("access_denied", "refused in the browser"),
        ("invalid_grant", "invalid_grant"),
        ("\x1b[2J", "refuses"),
    ],
)
def test_an_end_is_an_end(hostile: Hostile, web: Web, error: str, said: str) -> None:
    asked(hostile, no("authorization_pending"), no(error))
    with pytest.raises(CommandError, match=said):
        wait(hostile, web, Time())


def test_an_outage_makes_it_more_patient(hostile: Hostile) -> None:
    """RFC 8628, 3.5: a connection that times out is tried again, less often."""
    passing, web = Time(), Web("http://127.0.0.1:1")
    endpoints = Endpoints(web.issuer, f"{web.issuer}/token", f"{web.issuer}/jwks")
    code = Code("device", "A", "https://x.example", "", 100.0, 2.0)
    with pytest.raises(CommandError, match="expired"):
        device.wait(
            web, endpoints, hostile.provider, code,
            sleep=passing.sleep, clock=lambda: passing.now,
        )  # fmt: skip
    assert passing.slept == [2, 4, 8, 16, 32]
    web.close()


def test_odd_answers_end_it(hostile: Hostile, web: Web) -> None:
    asked(hostile, lambda: answer({"error": "authorization_pending"}, 500))
    with pytest.raises(ProviderError):
        wait(hostile, web, Time())
    asked(hostile, lambda: (200, b"<html>", {}))
    with pytest.raises(ProviderError):
        wait(hostile, web, Time())


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_code": "\x1b]0;evil\x07"},
        {"user_code": "A\nB"},
        {"user_code": "X" * 65},
        {"user_code": ""},
        {"user_code": 1234},
        {"device_code": ...},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://login.example.com/device"},
        {"verification_uri": "https://login.example.com/\nOpen https://evil.example"},
        {"verification_uri_complete": "file:///etc/passwd"},
        {"verification_uri": ...},
        {"expires_in": ...},
        {"expires_in": 0},
        {"expires_in": True},
        {"expires_in": "120"},
        {"interval": -1},
        {"interval": 0},
        {"interval": "1"},
    ],
)
def test_a_code_that_is_odd_is_not_shown(wrong: dict[str, Any]) -> None:
    given = {name: value for name, value in {**BEGUN, **wrong}.items() if value is not ...}
    with pytest.raises(ProviderError):
        device.read_code(given)


def test_times_are_bounded_and_have_a_default() -> None:
    given = {**BEGUN, "expires_in": 10**8, "interval": 10**6}
    code = device.read_code(given)
    assert (code.expires_in, code.interval) == (1800.0, 60.0)
    del given["interval"]
    assert device.read_code(given).interval == 5.0


def test_where_it_is_not_offered(hostile: Hostile, web: Web) -> None:
    hostile.paths["/device"] = lambda _: answer({"error": "unauthorized_client"}, 400)
    with pytest.raises(NotOffered):
        device.begin(web, discover(web), hostile.provider)
    hostile.paths["/device"] = lambda _: answer({"error": "invalid_scope"}, 400)
    with pytest.raises(ProviderError, match="invalid_scope"):
        device.begin(web, discover(web), hostile.provider)
    hostile.document = {"device_authorization_endpoint": ...}
    with pytest.raises(NotOffered):
        device.begin(web, discover(web), hostile.provider)


def test_it_asks_for_the_scopes(hostile: Hostile, web: Web) -> None:
    def begin(_: Form) -> Answer:
        return answer(BEGUN)

    hostile.paths["/device"] = begin
    code = device.begin(web, discover(web), hostile.provider)
    assert code.user_code == "ABCD-EFGH" and "device" not in repr(code)
    assert hostile.asked[-1][1] == {
        "client_id": "sallyport-cli",
        "scope": "openid offline_access",
    }
