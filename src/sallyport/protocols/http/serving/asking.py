"""Asking: who asks for what, as a request's head shows it."""

from __future__ import annotations

from typing import Final, NamedTuple, final
from urllib.parse import unquote

from sallyport.core.errors import ProtocolViolation
from sallyport.core.subject import Refused, Stated
from sallyport.protocols.base import Connection, Services
from sallyport.protocols.http import fields as field_rules
from sallyport.protocols.http.message import Fields, RequestHead, get
from sallyport.protocols.http.refusal import Answer, problem
from sallyport.protocols.http.routing import Route, is_cross_site, route
from sallyport.protocols.http.serving.sessions import CROWDED, UNKNOWN, Session, Sessions, Who
from sallyport.protocols.http.tokens import Shown, leaks, shown, without_token

_LONGEST: Final = 200
"""Characters that are kept of what a client says of itself."""


_LEAKS: Final = "the token stands where the target would see it"
_CROSS_SITE: Final = problem(403, "a page of another site asks this", rules=("cross-site",))


class Asked(NamedTuple):
    """A request that was routed and whose session is known. `fields` go to the target."""

    head: RequestHead
    route: Route
    session: Session
    fields: Fields
    token: str


class _Seen(NamedTuple):
    """What a header section shows, and the session that it led to: most requests of a connection
    share theirs."""

    section: Fields
    proof: Shown
    fields: Fields
    who: Who
    cross_site: bool
    session: Session


@final
class Asking:
    """Finds out for the requests of one connection."""

    def __init__(
        self, connection: Connection, services: Services, sessions: Sessions, encrypted: bool
    ) -> None:
        self._connection = connection
        self._services = services
        self._sessions = sessions
        self._encrypted = encrypted
        self._seen: _Seen | None = None

    async def find(self, head: RequestHead) -> Asked | Answer:
        """Return what is asked, and of whom; or what to answer at once.

        Raises: ProtocolViolation.
        """
        found = route(head, self._connection.domain)
        seen = self._seen
        if (
            seen is not None
            and found is not None
            and seen.section is head.fields
            and seen.who.target == found.target
            and not seen.session.over
        ):
            _check_target(seen.proof, head.target)
            if seen.cross_site and is_cross_site(head, head.fields):
                return _CROSS_SITE
            seen.session.touch()
            return Asked(head, found, seen.session, seen.fields, seen.proof.token)
        return await self._look(head, found)

    async def _look(self, head: RequestHead, found: Route | None) -> Asked | Answer:
        proof = shown(head.fields)
        if proof is None:
            return problem(401, "a token is needed", rules=("authentication",))
        if found is None:
            hint = "ask for /t/TARGET/PATH"
            return problem(404, "no target is named", rules=("routing",), hint=hint)
        fields = without_token(head.fields, proof.slot)
        _check_target(proof, head.target)
        if leaks(proof.token, fields):
            raise ProtocolViolation("client", _LEAKS, "400")
        if proof.basic and is_cross_site(head, head.fields):
            return _CROSS_SITE
        who = _who(head, found, proof)
        session = await self._sessions.find(self._connection, self._services, who, self._encrypted)
        if isinstance(session, Refused):
            return _refused(session)
        self._services.admit(self._connection)
        fields = field_rules.known_codings(field_rules.to_target(fields))
        if session.known.settings.forwarded:
            fields = [*fields, *_forwarded(head, found, session)]
        self._seen = _Seen(head.fields, proof, fields, who, proof.basic, session)
        return Asked(head, found, session, fields, proof.token)


def _forwarded(head: RequestHead, found: Route, session: Session) -> Fields:
    """Return what the target is told of where a request comes from: a part of what is decided."""
    told: Fields = [
        (b"x-forwarded-proto", head.scheme.encode()),
        (b"x-forwarded-host", head.authority.encode()),
    ]
    if session.grant.source != "unix":
        told.append((b"x-forwarded-for", session.grant.source.encode()))
    if found.here:
        told.append((b"x-forwarded-prefix", found.here.encode()))
    return told


def _check_target(proof: Shown, target: str) -> None:
    if proof.token in target or proof.token in unquote(target):
        raise ProtocolViolation("client", _LEAKS, "400")


def _who(head: RequestHead, found: Route, proof: Shown) -> Who:
    def text(name: bytes) -> str:
        value = get(head.fields, name)
        return "" if value is None else value.decode("utf-8", "replace")[:_LONGEST]

    named = text(b"x-sallyport-login")
    return Who(
        token=proof.token,
        login=named or proof.login,
        target=found.target,
        application=text(b"user-agent"),
        stated=Stated(text(b"x-sallyport-task"), text(b"x-sallyport-purpose")),
        exact=bool(named),
    )


def _refused(refused: Refused) -> Answer:
    if refused is UNKNOWN:
        status, rule = 401, "authentication"
    elif refused is CROWDED:
        status, rule = 503, "sessions"
    else:
        status, rule = 403, "access"
    return problem(status, refused.reason, rules=(rule,), hint=refused.hint)
