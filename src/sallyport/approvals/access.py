"""Access requests as a pure state machine: from asking for a grant to its end.

    pending --yes, quorum reached--> approved --its time is over--> over
       |----no---------------------> denied  '--taken back-------> revoked
       |----nobody answered--------> expired
       '----asked no more----------> withdrawn

An approved request is a grant: the right of one subject to reach one target with one login, until
`ends`. INVARIANT: `ends` is set once, at the approval; nothing moves it, so that more time takes
another request. Nothing here knows a store or a clock: `now` is given.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from sallyport.approvals.requests import Vote


class AccessState(enum.StrEnum):
    """Where an access request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    OVER = "over"


class AccessRequest(Struct, frozen=True):
    """One subject's wish to reach one target. Times in epoch seconds, `duration` in seconds.

    `rule` is the access rule that it was asked under, with its terms of that moment: who may
    answer, how many people. `expires`: until when it can be answered.
    """

    id: str
    state: AccessState
    version: int
    subject: str
    issuer: str
    owner: str
    actors: tuple[str, ...]
    groups: tuple[str, ...]
    target: str
    database: str
    login: str
    why: str
    duration: float
    rule: str
    approvers: tuple[str, ...]
    people: int
    opened: float
    expires: float
    begins: float | None = None
    ends: float | None = None
    settled: float | None = None
    settled_by: str = ""
    settled_reason: str = ""
    votes: tuple[Vote, ...] = ()

    def is_for(self, subject: str, issuer: str, target: str, database: str, login: str) -> bool:
        """Whether it is about this very access."""
        return (self.subject, self.issuer, self.target, self.database, self.login) == (
            subject,
            issuer,
            target,
            database,
            login,
        )

    def gives(self, now: float) -> bool:
        """Whether it gives access at `now`."""
        return self.state is AccessState.APPROVED and self.ends is not None and now < self.ends

    def is_worth(self, approvers: Iterable[str], people: int, longest: float) -> bool:
        """Whether its approval is worth what its rule demands today.

        FAILS CLOSED: the rule may have grown stricter since; an approval by fewer people, by other
        groups or for longer than is given now does not count.
        """
        return (
            set(self.approvers) <= set(approvers)
            and self.people >= people
            and self.duration <= longest
        )


def voted(request: AccessRequest, vote: Vote) -> AccessRequest:
    """Return a pending request with one more answer of somebody who may give it. One no denies.

    FAILS CLOSED: a request that is not pending stays as it is.
    """
    if request.state is not AccessState.PENDING:
        return request
    after = replace(request, votes=(*request.votes, vote), version=request.version + 1)
    if not vote.yes:
        return _settle(after, AccessState.DENIED, vote.at, vote.name, vote.reason)
    if sum(one.yes for one in after.votes) < max(1, request.people):
        return after
    begun = replace(after, begins=vote.at, ends=vote.at + request.duration)
    return _settle(begun, AccessState.APPROVED, vote.at, vote.name, vote.reason)


def at(request: AccessRequest, now: float) -> AccessRequest:
    """Return the request as it stands at `now`: what is past its time is expired, or over."""
    if request.state is AccessState.PENDING and now >= request.expires:
        reason = "nobody answered in time"
        return _settle(_next(request), AccessState.EXPIRED, now, "", reason)
    if request.state is AccessState.APPROVED and not request.gives(now):
        reason = "its time is over"
        return _settle(_next(request), AccessState.OVER, now, "", reason)
    return request


def withdrawn(request: AccessRequest, now: float, by: str, reason: str) -> AccessRequest:
    """Return a pending request as one that is asked no more; any other as it is."""
    if request.state is not AccessState.PENDING:
        return request
    return _settle(_next(request), AccessState.WITHDRAWN, now, by, reason)


def revoked(request: AccessRequest, now: float, by: str, reason: str) -> AccessRequest:
    """Return a grant as one that was taken back; any other request as it is."""
    if request.state is not AccessState.APPROVED:
        return request
    return _settle(_next(request), AccessState.REVOKED, now, by, reason)


def _next(request: AccessRequest) -> AccessRequest:
    return replace(request, version=request.version + 1)


def _settle(
    request: AccessRequest, state: AccessState, now: float, by: str, reason: str
) -> AccessRequest:
    return replace(request, state=state, settled=now, settled_by=by, settled_reason=reason)
