"""Quotas, as a worker spends them: slices that control leased.

Control counts per subject and target over all workers and reconnects; here is only what it gave.
FAILS CLOSED: no lease is a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import NamedTuple

from sallyport.core.errors import ControlLost
from sallyport.core.messages import Lease, Leased
from sallyport.core.ports import ControlLink

SLICES = 10
"""A quota is leased in at least this many slices, so that one worker cannot sit on all of it."""

FIRST = 100
"""The first slice is this part of a quota; each next one is twice as large, up to the largest.

What a worker has leased is lost with it, so that a crash gives nobody a fresh quota: so no more is
leased than the pace of spending asks for.
"""


class QuotaRule(NamedTuple):
    """One quota of a subject on a target: `amount` in each `window` seconds, from rule `rule`."""

    name: str
    rule: str
    amount: int
    window: float


class Account:
    """What is left of the leases of one subject on one target, shared by its sessions."""

    def __init__(self, link: ControlLink, subject: str, target: str) -> None:
        self._link = link
        self._subject = subject
        self._target = target
        self._left: dict[str, int] = {}
        self._rules: dict[str, QuotaRule] = {}
        self._refill: asyncio.Task[None] | None = None
        self._barren: dict[str, float] = {}
        self._slices: dict[str, int] = {}

    def update(self, rules: tuple[QuotaRule, ...]) -> None:
        """Use these rules from now; leases of rules that are gone are dropped."""
        self._rules = {rule.name: rule for rule in rules}
        self._left = {name: left for name, left in self._left.items() if name in self._rules}

    def wait(self) -> Awaitable[None] | None:
        """What to wait for before a decision: None when it can be told at once."""
        for name in self._rules:
            if self._left.get(name, 0) <= 0 and not self._is_barren(name):
                return asyncio.shield(self._ask(name))
        return None

    def used_up(self) -> QuotaRule | None:
        """Return a rule of which nothing is left: then nothing new begins, whatever it returns."""
        for name, rule in self._rules.items():
            if self._left.get(name, 0) <= 0:
                return rule
        return None

    def spend(self, name: str, amount: int, *, overdraw: bool = False) -> QuotaRule | None:
        """Spend `amount` of `name`; the rule that refuses when nothing is left.

        `overdraw`: what is already on its way may exceed the lease by one slice while the next
        lease is being asked for. The debt stays and is paid by that lease.
        """
        rule = self._rules.get(name)
        if rule is None or amount <= 0:
            return None
        left = self._left.get(name, 0)
        if left < amount and not (overdraw and left > -self._slice(rule)):
            return rule
        if left <= 0 and self._is_barren(name):
            return rule
        self._left[name] = left - amount
        if self._left[name] < self._slice(rule) // 2 + 1 and not self._is_barren(name):
            self._ask(name)
        return None

    # --- inside

    def _slice(self, rule: QuotaRule) -> int:
        return self._slices.get(rule.name) or max(1, rule.amount // FIRST)

    def _larger(self, rule: QuotaRule) -> int:
        return min(max(1, rule.amount // SLICES), self._slice(rule) * 2)

    def _is_barren(self, name: str) -> bool:
        until = self._barren.get(name)
        if until is None:
            return False
        if asyncio.get_running_loop().time() >= until:
            del self._barren[name]
            return False
        return True

    def _ask(self, name: str) -> asyncio.Task[None]:
        if self._refill is None or self._refill.done():
            self._refill = asyncio.get_running_loop().create_task(self._fetch())
        return self._refill

    async def _fetch(self) -> None:
        wants = {
            name: self._slice(rule) - self._left.get(name, 0)
            for name, rule in self._rules.items()
            if self._left.get(name, 0) < self._slice(rule) // 2 + 1 and not self._is_barren(name)
        }
        if not wants:
            return
        now = asyncio.get_running_loop().time()
        try:
            reply = await self._link.ask(Lease("", self._subject, self._target, wants))
        except ControlLost:
            reply = Leased({}, 1.0)
        gives = reply.gives if isinstance(reply, Leased) else {}
        retry = reply.retry if isinstance(reply, Leased) else 1.0
        for name in wants:
            given = gives.get(name, 0)
            if given <= 0:
                self._barren[name] = now + max(retry, 0.25)
            else:
                self._left[name] = self._left.get(name, 0) + given
                if name in self._rules:
                    self._slices[name] = self._larger(self._rules[name])
