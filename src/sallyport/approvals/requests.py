"""Approval requests as a pure state machine: who may answer, and what an answer does.

    pending --yes, quorum reached--> approved --(a ticket only) spent once, within its window
       |----no---------------------> denied
       |----its time is over-------> expired
       '----nobody waits any more--> cancelled

INVARIANT: only `pending` has successors, and only `after_vote` and `after_time` lead to approved
and expired. Nothing here knows a store or a clock: `now` is given.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from sallyport.core.subject import Refused, Subject
from sallyport.core.visible import person


class State(enum.StrEnum):
    """Where a request stands."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


Owners = Callable[[str], Awaitable[Iterable[str]]]
"""Returns who has live tokens of a subject's name."""


async def nobody(_subject: str) -> Iterable[str]:
    """Return that nobody has any."""
    return ()


class Vote(Struct, frozen=True):
    """One answer of one person. `owner` and `actors` are those of the token it came with."""

    name: str
    owner: str
    actors: tuple[str, ...]
    yes: bool
    reason: str
    at: float


class Asked(Protocol):
    """What people are asked, of whatever kind: who asks, and who may answer."""

    @property
    def id(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def actors(self) -> tuple[str, ...]: ...
    @property
    def approvers(self) -> tuple[str, ...]: ...
    @property
    def votes(self) -> tuple[Vote, ...]: ...


class ApprovalRequest(Struct, frozen=True):
    """One operation that waits, as approvers see it. Times in epoch seconds.

    `text` and `parameters` are whole and visible: what cannot be seen is spelled out. `rewritten`
    is what the target would get in the text's place, where that is something else; `masks` the
    revision of the masks that it would run under. An approval is bound to these and `digest`.
    `window`: seconds that an approved ticket can be spent in. `task` and `purpose` are what the
    client says of itself.
    """

    id: str
    state: State
    version: int
    ticket: bool
    session: str
    operation: int
    subject: str
    issuer: str
    owner: str
    actors: tuple[str, ...]
    groups: tuple[str, ...]
    protocol: str
    target: str
    database: str
    login: str
    source: str
    application: str
    verb: str
    effect: str
    resources: tuple[str, ...]
    facts: tuple[str, ...]
    text: str
    parameters: tuple[str, ...]
    digest: bytes
    rules: tuple[str, ...]
    approvers: tuple[str, ...]
    people: int
    reason: str
    window: float
    opened: float
    expires: float
    rewritten: str = ""
    masks: bytes = b""
    task: str = ""
    purpose: str = ""
    settled: float | None = None
    settled_reason: str = ""
    spent: float | None = None
    votes: tuple[Vote, ...] = ()

    @property
    def by(self) -> tuple[str, ...]:
        """Those whose answers settled it: all who said yes, or the one who said no."""
        yes = self.state is State.APPROVED
        return tuple(vote.name for vote in self.votes if vote.yes is yes)

    def spendable(self, now: float) -> bool:
        """Whether this ticket can still let its one execution through."""
        return (
            self.ticket
            and self.state is State.APPROVED
            and self.spent is None
            and self.settled is not None
            and now < self.settled + self.window
        )


def may_answer(request: Asked, actor: Subject, owners: Iterable[str] = ()) -> Refused | None:
    """Return why `actor` may not answer `request`, or None.

    `owners` have tokens of the requester's name: each can be the requester. INVARIANT: never the
    requester, the owner of the requester's token or of another of that name, anybody in the chain
    of those who act for the requester, nor a token that one of these owns or acts through; and
    never who acts for an approver: a person is asked, not their agent.
    """
    names = (request.subject, request.owner, *request.actors, *owners)
    involved = {person(name) for name in names if name}
    themselves = {person(name) for name in (actor.name, *actor.actors)}
    requesters = {person(name) for name in (request.subject, *request.actors)}
    if themselves & involved or (actor.owner and person(actor.owner) in requesters):
        return Refused("nobody answers what they asked for, or own a part in", "ask somebody else")
    if actor.actors:
        return Refused(
            f"{request.id} is answered in person, not by who acts for somebody",
            "answer it with a login of your own: `sallyport login`",
        )
    if not set(actor.groups) & set(request.approvers):
        return Refused(
            f"{request.id} is answered by {', '.join(request.approvers)}",
            "ask a member of one of these groups",
        )
    for vote in request.votes:
        if _related(vote, actor):
            return Refused(f"`{vote.name}` has answered {request.id} already")
    return None


def after_vote(request: ApprovalRequest, vote: Vote) -> ApprovalRequest:
    """Return the request with one more answer of somebody who `may_answer` it.

    One no denies. FAILS CLOSED: a request that is not pending stays as it is.
    """
    if request.state is not State.PENDING:
        return request
    voted = replace(request, votes=(*request.votes, vote), version=request.version + 1)
    if not vote.yes:
        return replace(voted, state=State.DENIED, settled=vote.at, settled_reason=vote.reason)
    if sum(one.yes for one in voted.votes) < max(1, request.people):
        return voted
    return replace(voted, state=State.APPROVED, settled=vote.at, settled_reason=vote.reason)


def after_time(request: ApprovalRequest, now: float) -> ApprovalRequest:
    """Return the request as it stands at `now`: pending past its time is expired."""
    if request.state is not State.PENDING or now < request.expires:
        return request
    return settled(request, State.EXPIRED, now, "nobody answered in time")


def settled(request: ApprovalRequest, state: State, now: float, reason: str) -> ApprovalRequest:
    """Return a pending request as ended by nobody's vote; any other as it is."""
    if request.state is not State.PENDING or state not in (State.EXPIRED, State.CANCELLED):
        return request
    return replace(
        request, state=state, version=request.version + 1, settled=now, settled_reason=reason
    )


def covers(
    request: ApprovalRequest, rules: Iterable[str], approvers: Iterable[str], people: int
) -> bool:
    """Whether an approval of `request` is worth what a hold demands today.

    FAILS CLOSED: policy may have grown stricter since; an approval by fewer people, by other
    groups or under other rules does not count.
    """
    return (
        set(rules) <= set(request.rules)
        and set(request.approvers) <= set(approvers)
        and request.people >= people
    )


def _related(vote: Vote, actor: Subject) -> bool:
    """Whether a vote and an actor may be one person: same names, or one owns the other's token."""
    voter = {person(name) for name in (vote.name, *vote.actors)}
    other = {person(name) for name in (actor.name, *actor.actors)}
    return bool(
        voter & other
        or (vote.owner and person(vote.owner) in other)
        or (actor.owner and person(actor.owner) in voter)
    )
