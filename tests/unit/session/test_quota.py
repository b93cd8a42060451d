"""Quotas as a worker spends them: leases, and what happens without one."""

from __future__ import annotations

import asyncio

from sallyport.core.messages import Lease, Leased
from sallyport.session.quota import FIRST, Account, QuotaRule
from tests.unit.session.conftest import Desk

RULE = QuotaRule("statements_per_minute", "limits", 100, 60.0)


def account(desk: Desk) -> Account:
    made = Account(desk, "agent", "store")
    made.update((RULE,))
    return made


async def test_without_a_rule_there_is_nothing_to_spend() -> None:
    made = Account(Desk(), "agent", "store")
    assert made.wait() is None
    assert made.spend("statements_per_minute", 1) is None


async def test_the_first_spending_waits_for_a_lease() -> None:
    desk = Desk()
    desk.answer = lambda request: Leased({"statements_per_minute": 10})
    made = account(desk)
    assert made.spend("statements_per_minute", 1) is RULE
    lease = made.wait()
    assert lease is not None
    await lease
    assert made.wait() is None
    assert made.spend("statements_per_minute", 1) is None


async def test_a_slice_is_asked_for_and_not_all_of_it() -> None:
    desk = Desk()
    desk.answer = lambda request: Leased({"statements_per_minute": 10})
    made = account(desk)
    lease = made.wait()
    assert lease is not None
    await lease
    asked = desk.asked[0]
    assert isinstance(asked, Lease)
    assert asked.wants == {"statements_per_minute": 100 // FIRST}


async def test_no_lease_is_a_refusal() -> None:
    desk = Desk()
    desk.answer = lambda request: Leased({}, retry=30.0)
    made = account(desk)
    lease = made.wait()
    assert lease is not None
    await lease
    assert made.wait() is None
    assert made.spend("statements_per_minute", 1) is RULE


async def test_a_lost_control_is_a_refusal() -> None:
    desk = Desk()
    desk.alive = False
    made = account(desk)
    lease = made.wait()
    assert lease is not None
    await lease
    assert made.spend("statements_per_minute", 1) is RULE


async def test_a_result_may_overdraw_by_one_slice_and_pays_it_back() -> None:
    desk = Desk()
    desk.answer = lambda request: Leased({"statements_per_minute": 10})
    made = account(desk)
    lease = made.wait()
    assert lease is not None
    await lease
    assert made.spend("statements_per_minute", 11, overdraw=True) is None
    assert made.spend("statements_per_minute", 11, overdraw=True) is None
    assert made.spend("statements_per_minute", 11, overdraw=True) is RULE
    await asyncio.sleep(0.01)


async def test_never_more_passes_than_was_leased() -> None:
    desk = Desk()
    given = 0

    def answer(request: object) -> Leased:
        nonlocal given
        if given >= 100:
            return Leased({}, retry=30.0)
        given += 10
        return Leased({"statements_per_minute": 10})

    desk.answer = answer
    made = account(desk)
    passed = 0
    for _ in range(300):
        lease = made.wait()
        if lease is not None:
            await lease
        passed += made.spend("statements_per_minute", 1) is None
    assert passed == 100


async def test_a_quota_of_results_that_is_used_up_lets_nothing_new_begin() -> None:
    """Small results are over before they are counted: only the next statement can be refused."""
    rows = QuotaRule("rows_per_hour", "few-rows", 100, 3600.0)
    remaining = [100]

    def give(request: object) -> Leased:
        assert isinstance(request, Lease)
        given = min(request.wants["rows_per_hour"], remaining[0])
        remaining[0] -= given
        return Leased({"rows_per_hour": given}, 60.0)

    desk = Desk()
    desk.answer = give
    made = Account(desk, "agent", "store")
    made.update((rows,))
    passed = 0
    for _ in range(40):
        lease = made.wait()
        if lease is not None:
            await lease
        if made.used_up() is not None:
            break
        assert made.spend("rows_per_hour", 10, overdraw=True) is None
        passed += 10
    assert made.used_up() is rows
    assert passed == 100
