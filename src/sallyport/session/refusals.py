"""Refusals: what a client is told where a decision waits for people, or a quota is used up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from sallyport.core.decision import Deny, Hold
from sallyport.core.messages import HoldAnswered
from sallyport.core.operation import Operation
from sallyport.session.quota import QuotaRule


def shorter(hold: Hold, seconds: float) -> Hold:
    """Return a hold that waits no longer than that."""
    return hold if hold.timeout <= seconds else replace(hold, timeout=seconds)


def ticket(hold: Hold, approval: str) -> Deny:
    """Return what is said at once where a ticket is needed."""
    return Deny(
        hold.rules,
        f"needs approval: ticket {approval}",
        f"when {approval} is approved, send the same statement again "
        f"within {hold.window / 60:.0f} minutes",
    )


async def unbindable(operation: Operation, stands: Callable[[], Awaitable[bool]] | None) -> str:
    """Return why no ticket can be given for an operation; empty: one can be."""
    if stands is not None and not await stands():
        return "what it names has changed since it was looked at"
    if not operation.bound:
        return "no ticket can be given: what it does is not all in its text"
    return ""


def over(reason: str) -> Deny:
    """Return what is said when the session is over."""
    return Deny(("session",), f"the session is over: {reason}", "connect again")


def quota_used_up(rule: QuotaRule) -> Deny:
    """Return what is said when a quota is used up."""
    return Deny(
        (rule.rule,),
        f"the quota {rule.name.replace('_', ' ')} of {rule.amount} is used up",
        "wait, or ask the operator for more",
    )


_OUTCOMES = {"denied": "was denied", "cancelled": "was withdrawn", "expired": "expired"}


def unapproved(answer: HoldAnswered) -> str:
    """Return why a held operation does not run."""
    by = f" by {', '.join(answer.by)}" if answer.by else ""
    because = f": {answer.reason}" if answer.reason else ""
    return f"approval {answer.approval} {_OUTCOMES.get(answer.state, 'failed')}{by}{because}"
