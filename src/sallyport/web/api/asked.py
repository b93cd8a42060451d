"""What people are asked, a statement's approval or access: who may see it, and a page of it.

IDOR: administrators and auditors see all; an approver sees what one of their groups is asked, at
the targets that their role reaches; everybody sees what they asked themselves. Whatever else exists
is answered like what does not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

from sallyport.approvals import requests
from sallyport.core.subject import Refused, Subject
from sallyport.web.authentication import Role, oversees
from sallyport.web.pages import decode_place, encode_cursor
from sallyport.web.problems import Problem
from sallyport.web.services import WebServices

CHUNK: Final = 50
"""Requests looked at in one go, while a page of visible ones is gathered."""

MAXIMUM_CHUNKS: Final = 40
"""Goes for one page: then it ends early, with a cursor."""


class Asked(requests.Asked, Protocol):
    """A request of either kind."""

    @property
    def issuer(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def database(self) -> str: ...


R = TypeVar("R", bound=Asked)
Load = Callable[[str | None, int, str | None], Awaitable[Sequence[R]]]
"""Returns requests of one subject (None: of all), so many at most, older than the one named."""


def looks_at_others(caller: Subject) -> bool:
    """Whether the caller may see more than what they asked themselves."""
    return oversees(caller) or Role.APPROVER in caller.roles


def may_see(services: WebServices, caller: Subject, request: Asked) -> bool:
    """Whether `caller` may see `request`."""
    if oversees(caller):
        return True
    asked = Role.APPROVER in caller.roles and set(caller.groups) & set(request.approvers)
    if asked and services.may_approve(caller, request.target, request.database):
        return True
    return caller.name == request.subject and caller.issuer == request.issuer


def demand_reach(services: WebServices, caller: Subject, request: Asked) -> None:
    """See that the caller's role reaches what is asked for. Raises: Problem (403)."""
    if not services.may_approve(caller, request.target, request.database):
        raise Problem(403, f"your role does not approve at target `{request.target}`")


def settled(answer: R | Refused) -> R:
    """Return the request as an answer left it. Raises: Problem (409)."""
    if isinstance(answer, Refused):
        raise Problem(409, answer.reason, hint=answer.hint)
    return answer


async def gather(
    services: WebServices, caller: Subject, load: Load[R], limit: int, cursor: str | None
) -> tuple[list[R], str | None]:
    """Return a page of what the caller may see, newest first, and the cursor of the next one."""
    before = decode_place(cursor)
    own = None if looks_at_others(caller) else caller.name
    seen: list[R] = []
    for _ in range(MAXIMUM_CHUNKS):
        chunk = await load(own, CHUNK, before)
        for request in chunk:
            if may_see(services, caller, request):
                if len(seen) == limit:
                    return seen, encode_cursor(before or "")
                seen.append(request)
            before = request.id
        if len(chunk) < CHUNK:
            return seen, None
    return seen, encode_cursor(before or "")
