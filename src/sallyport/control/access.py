"""Access: from an authenticated subject to one session's target, login and credential.

INVARIANT: nothing is awaited between the decision and the registry, so that no quota, reload or
revocation can come in between; the token is looked at once more after the session is registered.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from sallyport.approvals.access import AccessRequest
from sallyport.approvals.grants import AccessService, Wish
from sallyport.control.mask_checks import MaskChecks
from sallyport.control.sessions import LiveSession, SessionRegistry
from sallyport.control.state import State
from sallyport.control.targets import TargetEntry
from sallyport.core.grant import Target
from sallyport.core.identifiers import new_identifier
from sallyport.core.messages import Access, Authorize, Catalogue
from sallyport.core.subject import Refused, Subject
from sallyport.core.visible import lasting
from sallyport.identity import certificates
from sallyport.identity.service import IdentityService
from sallyport.identity.token_records import is_own
from sallyport.policy import ACCESS_REFUSED, AccessGiven
from sallyport.vault.credentials import Vault
from sallyport.vault.errors import VaultError
from sallyport.vault.references import resolve

NO_ACCESS: Final = Refused(
    ACCESS_REFUSED, "check the name (`target` or `target/database`), or ask for access"
)
NOTHING_TO_ASK: Final = Refused(
    "no access to this target with this login can be asked for",
    "check the target's name (`target` or `target/database`) and the login, or ask the operator",
)
OTHERWISE_NOW: Final = Refused(
    "the gateway makes something else of your token by now", "connect again"
)
NO_CREDENTIAL: Final = Refused(
    "the gateway has no credential for this target", "tell the operator: `sallyport target check`"
)
NO_DATABASE: Final = Refused(
    "the target offers no database of this name", "name it in the target's `databases`"
)
VOUCHED: Final = 60.0
"""Seconds from authentication within which a session must be opened."""

MAXIMUM_VOUCHED: Final = 20_000
CATALOGUE_TIME: Final = 600.0
_log = structlog.get_logger("access")


class Reached(Struct, frozen=True):
    """One login of one target that a subject may use, or ask for (`given` False).

    Times in epoch seconds and seconds: `ends` is a grant's, `longest` what can be asked for.
    """

    target: Target
    login: str
    default: bool
    given: bool
    write: bool = False
    ends: float | None = None
    longest: float | None = None


class Doorkeeper:
    """Opens sessions. `state` is the configuration in force, changed by a reload."""

    def __init__(
        self,
        state: State,
        identity: IdentityService,
        vault: Vault,
        registry: SessionRegistry,
        checks: MaskChecks,
        access: AccessService,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self._access = access
        self._checks = checks
        self._identity = identity
        self._vault = vault
        self._registry = registry
        self._clock = clock
        self._vouched: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def vouch(self, worker: str, subject: Subject) -> None:
        """Remember that control itself told this worker who that is."""
        self._vouched[worker, _identify(subject)] = self._clock() + VOUCHED
        while len(self._vouched) > MAXIMUM_VOUCHED:
            self._vouched.popitem(last=False)

    async def authorize(
        self, worker: str, asked: Authorize, connected: Callable[[], bool]
    ) -> Access | Refused:
        """Open one session, or say why not. An unknown target and a closed one answer alike."""
        if self._vouched.get((worker, _identify(asked.subject)), 0.0) < self._clock():
            return Refused("authentication is too long ago", "connect again")
        for _ in range(3):
            state = self.state
            if not _is_still(state, asked.subject):  # a reload came since it was authenticated
                return OTHERWISE_NOW
            found = state.targets.select(asked.selector)
            if found is None or found[1].protocol != asked.protocol:
                return NO_ACCESS
            entry, target = found
            login = asked.login if asked.login in entry.logins else entry.login
            if login is None:
                return NO_ACCESS
            given = self._ask_policy(state, asked, target, login)
            if isinstance(given, Refused):
                return self._how_to_ask(state, asked.subject, entry, target, login)
            unchecked = self._unchecked(state, entry, target)
            if unchecked is not None:
                return unchecked
            credential = await self._credential(entry, login)
            if credential is None:
                return NO_CREDENTIAL
            if state is self.state:
                return await self._open(worker, asked, target, login, credential, connected)
        return Refused("the configuration is being changed", "connect again")

    async def ask(
        self, subject: Subject, selector: str, login: str | None, why: str, duration: float
    ) -> AccessRequest | Refused:
        """Ask for access on `subject`'s behalf, under the rule that asks the fewest people.

        What is not there and what cannot be asked for answer alike.
        """
        state = self.state
        found = state.targets.select(selector)
        if found is None:
            return NOTHING_TO_ASK
        entry, target = found
        wanted = entry.login if login is None else login
        rules = state.policy.requestable(subject, target, wanted, target.database)
        if wanted not in entry.logins or not rules:
            return NOTHING_TO_ASK
        fitting = [(name, terms) for name, terms in rules if duration <= terms.longest]
        if not fitting:
            longest = max(terms.longest for _, terms in rules)
            return Refused(
                f"access to this target is given for {lasting(longest)} at most", "ask for less"
            )
        name, terms = min(fitting, key=lambda rule: (rule[1].people, rule[0]))
        wish = Wish(
            subject=subject,
            target=target.name,
            database=target.database,
            login=wanted,
            why=why,
            duration=duration,
            rule=name,
            approvers=terms.approvers,
            people=terms.people,
            wait=terms.wait,
        )
        return await self._access.open(wish)

    def reach(self, subject: Subject, source: str, selector: str | None = None) -> list[Reached]:
        """Return what `subject` may reach from `source`, or ask for; `selector`: of this alone.

        A rule for certain applications gives nothing here: nobody has said which one it will be.
        """
        targets = self.state.targets
        names = targets.names() if selector is None else [selector]
        found = [chosen for name in names if (chosen := targets.select(name)) is not None]
        reached = [
            self._reached(subject, source, entry, target, login)
            for entry, target in found
            for login in entry.logins
        ]
        return [one for one in reached if one is not None]

    async def catalogue(self, asked: Catalogue) -> Access | Refused:
        """Give the gateway's own side connection its access: the default login, never writing.

        A hint of why not is for operators.
        """
        found = self.state.targets.offer(asked.target, asked.database or None)
        if found is None:
            return NO_DATABASE
        entry, target = found
        credential = await self._credential(entry, entry.login)
        if credential is None:
            return Refused(NO_CREDENTIAL.reason, _mended(entry.logins[entry.login]))
        ends = self._clock() + CATALOGUE_TIME
        return Access(new_identifier("cat"), target, entry.login, credential, ends, False)

    def recheck(self) -> None:
        """End every session that would not be given now, and let no other last longer than that.

        After a reload, and now and then: a rule of access may have its hours.
        """
        state = self.state
        for session in self._registry.sessions():
            found = state.targets.offer(session.target, session.database)
            given: AccessGiven | Refused = NO_ACCESS
            if found is not None and session.login in found[0].logins:
                given = self._given(state, session, found[1])
                if found[1].labels != session.labels:
                    self._registry.end(session.id, "the target's labels have changed")
                    continue
            if state.countries.of(session.source) != session.country:
                self._registry.end(session.id, "the source counts as of another country")
                continue
            if isinstance(given, Refused) or given.write != session.write:
                self._registry.end(session.id, "access is no longer given")
                continue
            ends = min(session.bound, session.opened + _longest(state, given))
            if given.ends is not None:
                ends = min(ends, given.ends)
            now_given = msgspec.structs.replace(session, ends=ends, request=given.request)
            self._registry.add(now_given)

    # --- inside

    def _given(self, state: State, session: LiveSession, target: Target) -> AccessGiven | Refused:
        if not _is_still(state, session.subject):
            return NO_ACCESS
        return self._decide(
            state, session.subject, target, session.login, session.source, session.application
        )

    def _unchecked(self, state: State, entry: TargetEntry, target: Target) -> Refused | None:
        if not entry.checked:
            return None
        own = target.database == entry.target.database
        return self._checks.refusal(target, entry.waived.patterns, state.policy, own=own)

    def _ask_policy(
        self, state: State, asked: Authorize, target: Target, login: str
    ) -> AccessGiven | Refused:
        return self._decide(state, asked.subject, target, login, asked.source, asked.application)

    def _decide(
        self,
        state: State,
        subject: Subject,
        target: Target,
        login: str,
        source: str,
        application: str,
    ) -> AccessGiven | Refused:
        """Ask the standing rules, then those under which a grant of this very access is in force.

        FAILS CLOSED: a grant is worth nothing where its rule matches no more, or demands more now.
        """
        now, database = self._clock(), target.database
        country = state.countries.of(source)
        ask = partial(
            state.policy.access, subject, target, login, database, source, country, now, application
        )
        standing = ask()
        if isinstance(standing, AccessGiven):
            return standing
        for grant in self._access.given(subject, target.name, database, login):
            terms = state.policy.terms_of(grant.rule)
            if terms is None or not grant.is_worth(terms.approvers, terms.people, terms.longest):
                continue
            given = ask(grant.rule)
            if isinstance(given, AccessGiven):
                return msgspec.structs.replace(given, request=grant.id, ends=grant.ends)
        return standing

    def _reached(
        self, subject: Subject, source: str, entry: TargetEntry, target: Target, login: str
    ) -> Reached | None:
        state, default = self.state, login == entry.login
        given = self._decide(state, subject, target, login, source, "")
        if isinstance(given, AccessGiven):
            return Reached(target, login, default, True, given.write, given.ends)
        asked = state.policy.requestable(subject, target, login, target.database)
        if not asked:
            return None
        longest = max(terms.longest for _, terms in asked)
        return Reached(target, login, default, False, longest=longest)

    def _how_to_ask(
        self, state: State, subject: Subject, entry: TargetEntry, target: Target, login: str
    ) -> Refused:
        """Say how access is asked for, to those who may; to all others nothing."""
        if not state.policy.requestable(subject, target, login, target.database):
            return NO_ACCESS
        own = target.database == entry.target.database
        selector = target.name if own else f"{target.name}/{target.database}"
        asks = f"sallyport access request {selector} --login {login} --for 1h --reason '...'"
        return Refused("access to this target is given on request", f"ask for it: {asks}")

    async def _credential(self, entry: TargetEntry, login: str) -> bytes | None:
        reference = entry.logins[login]
        if reference is None:
            return b""
        try:
            return (await resolve(reference, self._vault)).reveal()
        except VaultError as error:
            _log.error("credential cannot be had", target=entry.target.name, reason=str(error))
            return None

    async def _open(
        self,
        worker: str,
        asked: Authorize,
        target: Target,
        login: str,
        credential: bytes,
        connected: Callable[[], bool],
    ) -> Access | Refused:
        state = self.state
        given = self._ask_policy(state, asked, target, login)
        if isinstance(given, Refused):
            return given
        refused = self._too_many(state, asked.subject, target)
        if refused is not None:
            return refused
        session = self._session(worker, asked, target, login, given)
        self._registry.add(session)
        taken_back = await self._identity.still_valid(asked.subject, target.name, asked.source)
        if taken_back is None and (self._registry.is_ending(session.id) or not connected()):
            taken_back = Refused("access was taken back", "connect again")
        if taken_back is not None:
            self._registry.remove(session.id)
            return taken_back
        return Access(
            session.id,
            target,
            login,
            credential,
            session.ends,
            given.write,
            given.request,
            session.stated,
            session.country,
        )

    def _session(
        self, worker: str, asked: Authorize, target: Target, login: str, given: AccessGiven
    ) -> LiveSession:
        now = self._clock()
        expires = asked.subject.expires
        bound = math.inf if expires is None else expires
        if given.ends is not None:
            bound = min(bound, given.ends)
        return LiveSession(
            id=new_identifier("ses"),
            worker=worker,
            subject=asked.subject,
            protocol=asked.protocol,
            target=target.name,
            database=target.database,
            login=login,
            source=asked.source,
            application=asked.application,
            write=given.write,
            opened=now,
            ends=min(bound, now + _longest(self.state, given)),
            bound=bound,
            labels=target.labels,
            request=given.request,
            stated=self.state.stating.read(asked.application, asked.stated),
            country=self.state.countries.of(asked.source),
        )

    def _too_many(self, state: State, subject: Subject, target: Target) -> Refused | None:
        if self._registry.count() >= state.config.sessions.maximum:
            return Refused("the gateway has as many sessions as it may", "try again later")
        for quota in state.policy.quotas(subject, target):
            if quota.name != "sessions":
                continue
            if self._registry.count(subject.name, target.name) >= quota.amount:
                return Refused(
                    f"{quota.amount} sessions of yours to this target are open already",
                    "close one, or ask the operator for more",
                    (quota.rule,),
                )
        return None


def _longest(state: State, given: AccessGiven) -> float:
    longest = state.config.sessions.max_session
    return longest if given.max_session is None else min(longest, given.max_session)


def _is_still(state: State, subject: Subject) -> bool:
    """Whether the settings in force make the same of what `subject` came with.

    A listener's authorities, unlike issuers, stay what they are while the gateway runs.
    """
    ours = is_own(subject) or subject.issuer == certificates.ISSUER
    return ours or state.issuers.gives_still(subject)


def _identify(subject: Subject) -> bytes:
    return hashlib.sha256(msgspec.msgpack.encode(subject)).digest()


def _mended(reference: str | None) -> str:
    """Say how a credential that cannot be had is given."""
    scheme, _, name = (reference or "").partition(":")
    if scheme == "vault":
        return f"`sallyport credential set {name}` sets it"
    return f"`{reference}` has to be there for the gateway to read"
