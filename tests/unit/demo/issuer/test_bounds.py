"""What is kept is bounded in number and time."""

from __future__ import annotations

import secrets

import pytest

from sallyport.demo.issuer import devices, logins, seals
from sallyport.demo.issuer.devices import Devices
from sallyport.demo.issuer.logins import Logins
from sallyport.demo.issuer.people import PEOPLE
from sallyport.demo.issuer.seals import Seals
from sallyport.demo.issuer.tables import Table
from sallyport.identity.relying.code import challenge
from sallyport.web.forms import OAuthProblem
from sallyport.web.problems import Problem
from tests.support.clock import Clock

CLIENT = "sallyport-cli"
SCOPES = ("openid", "offline_access")
VERIFIER = secrets.token_urlsafe(32)
BACK = "http://127.0.0.1:1/callback"


def word(refused: pytest.ExceptionInfo[OAuthProblem]) -> str:
    return refused.value.error


def test_a_table_keeps_the_latest_and_nothing_for_ever() -> None:
    clock = Clock()
    table: Table[int] = Table(3, 10.0, clock)
    for number in range(5):
        table.put(str(number), number)
    assert table.values() == [2, 3, 4]
    clock.now += 9.9
    table.put("5", 5)
    assert table.get("3") == 3
    clock.now += 0.2
    assert (table.get("3"), table.values()) == (None, [5])
    assert table.pop("5") == 5 and len(table) == 0


def test_codes_and_logins_end_with_their_time() -> None:
    clock = Clock()
    book = Logins(clock)
    login = book.begin(PEOPLE["robin"], CLIENT, SCOPES)
    code = book.give_code(login, BACK, challenge(VERIFIER), "")
    clock.now += logins.CODE_LASTS
    with pytest.raises(OAuthProblem) as refused:
        book.take_code(code, CLIENT, BACK, VERIFIER)
    assert word(refused) == "invalid_grant"
    token = book.give_refresh(login)
    clock.now += logins.LASTS - logins.CODE_LASTS - 1
    token = book.give_refresh(book.take_refresh(token, CLIENT))
    clock.now += 1
    with pytest.raises(OAuthProblem):
        book.take_refresh(token, CLIENT)


def test_a_code_of_a_login_that_has_ended_is_worth_nothing() -> None:
    book = Logins(Clock())
    login = book.begin(PEOPLE["robin"], CLIENT, SCOPES)
    code = book.give_code(login, BACK, challenge(VERIFIER), "")
    book.end(login.sid)
    with pytest.raises(OAuthProblem) as refused:
        book.take_code(code, CLIENT, BACK, VERIFIER)
    assert word(refused) == "invalid_grant"


def test_however_many_log_in_no_more_are_kept() -> None:
    book = Logins(Clock())
    first = book.begin(PEOPLE["robin"], CLIENT, SCOPES)
    token = book.give_refresh(first)
    for _ in range(logins.MAXIMUM_LOGINS):
        book.begin(PEOPLE["sam"], CLIENT, SCOPES)
    assert len(book.all()) == logins.MAXIMUM_LOGINS
    with pytest.raises(OAuthProblem):
        book.take_refresh(token, CLIENT)


def test_who_polls_too_fast_is_slowed_down_and_then_heard() -> None:
    clock = Clock()
    terminals = Devices(clock)
    code, device = terminals.begin(CLIENT, SCOPES)
    said = []
    for wait in (0.0, 1.0, 0.5, 5.0, 6.0 + devices.SLOWER):
        clock.now += wait
        with pytest.raises(OAuthProblem) as refused:
            terminals.poll(code, CLIENT)
        said.append(word(refused))
    pending = "authorization_pending"
    assert said == [pending, pending, "slow_down", "slow_down", pending]
    device.login = Logins(clock).begin(PEOPLE["robin"], CLIENT, SCOPES)
    clock.now += device.interval
    assert terminals.poll(code, CLIENT).person.subject == "robin"
    with pytest.raises(OAuthProblem) as refused:
        terminals.poll(code, CLIENT)
    assert word(refused) == "invalid_grant", "it counts once"


def test_a_device_code_is_over_in_time_and_for_its_client() -> None:
    clock = Clock()
    terminals = Devices(clock)
    code, device = terminals.begin(CLIENT, SCOPES)
    with pytest.raises(OAuthProblem) as refused:
        terminals.poll(code, "sallyport-web")
    assert word(refused) == "invalid_grant"
    clock.now += devices.LASTS
    assert terminals.entered(device.user_code) is None
    with pytest.raises(OAuthProblem) as refused:
        terminals.poll(code, CLIENT)
    assert word(refused) == "expired_token"
    for _ in range(devices.MAXIMUM + 1):
        last = terminals.begin(CLIENT, SCOPES)
    with pytest.raises(OAuthProblem) as refused:
        terminals.poll(code, CLIENT)
    assert word(refused) == "invalid_grant", "no more are kept"
    last[1].refused = True
    with pytest.raises(OAuthProblem) as refused:
        terminals.poll(last[0], CLIENT)
    assert word(refused) == "access_denied"


def test_a_page_that_is_too_old_counts_no_more() -> None:
    clock = Clock()
    mine, other = Seals(clock), Seals(clock)
    sealed = mine.seal("device", {"user_code": "X"})
    assert mine.open("device", sealed) == {"user_code": "X"}
    for reader, purpose in ((other, "device"), (mine, "logout")):
        with pytest.raises(Problem):
            reader.open(purpose, sealed)
    clock.now += seals.GOOD_FOR + 1
    with pytest.raises(Problem, match="too old"):
        mine.open("device", sealed)
