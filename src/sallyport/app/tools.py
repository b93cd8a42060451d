"""The operator's tools, as the API offers them: policy questions, targets, measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import structs

from sallyport.app.checking import find_problems
from sallyport.app.side import SideServices
from sallyport.config import Config
from sallyport.control.control import Control
from sallyport.control.state import State
from sallyport.core.errors import TargetUnavailable
from sallyport.core.grant import Target
from sallyport.core.subject import Subject
from sallyport.identity.token_records import is_own
from sallyport.policy import AccessGiven, Context, Policy
from sallyport.policy.explain import explain
from sallyport.protocols import registry
from sallyport.protocols.inspecting import Inspector, Interpreted
from sallyport.recording.follow import Follower
from sallyport.web.services import (
    Explained,
    ListenerState,
    LoginProvider,
    Measure,
    PolicyProblem,
    PolicyState,
    ReachedLogin,
    TargetState,
)

COUNTER = "counter"

_COUNTED: Final = {
    "operations": ("Operations decided, a held one twice", "decision", ("allow", "deny", "hold")),
    "logins": ("Sessions opened, and logins refused", "outcome", ("taken", "refused")),
    "holds": (
        "Holds opened, and how they ended",
        "state",
        ("opened", "approved", "denied", "expired", "cancelled"),
    ),
    "results": ("Rows and bytes that results returned", "unit", ("rows", "bytes")),
}
"""What is counted of the journals since control started: words, the label and its values."""


class PolicyDesk:
    """Answers what can be asked of policy without a session (`web.services.PolicyTools`).

    One question at a time, and in a process or threads of its own: whoever asks much must not keep
    control's loop, on which every session depends, from its other work.
    """

    def __init__(
        self,
        path: Path,
        control: Control,
        side: SideServices,
        facts: Callable[[], tuple[float, str]],
    ) -> None:
        self._path = path
        self._control = control
        self._side = side
        self._facts = facts
        self._one = asyncio.Lock()

    async def check(self, text: str) -> Sequence[PolicyProblem]:
        """Return what is wrong with a configuration; nothing of it comes into force."""
        async with self._one:
            return await find_problems(text, self._path)

    async def explain(
        self, subject: str, groups: Sequence[str], target: str, statement: str, login: str | None
    ) -> Explained:
        """Decide a statement as if it had come from `subject`. Raises: ValueError in words."""
        chosen = self._control.state.targets.select(target)
        if chosen is None:
            raise ValueError(f"there is no target `{target}`")
        entry, reached = chosen
        login = login or entry.login
        if login not in entry.logins:
            there = ", ".join(f"`{each}`" for each in sorted(entry.logins))
            raise ValueError(f"target `{target}` has no login `{login}`: there is {there}")
        who = Subject(name=subject, groups=tuple(groups), issuer="explain", token="")
        async with self._one:
            operations = await self._interpret(reached, login, statement)
            document = self._control.state.policy.document
            return await asyncio.to_thread(_explain, document, who, reached, login, operations)

    def state(self) -> PolicyState:
        """Return the policy in force."""
        policy = self._control.state.policy
        loaded, failure = self._facts()
        return PolicyState(policy.revision, loaded, policy.document, failure)

    # --- inside

    async def _interpret(
        self, target: Target, login: str, statement: str
    ) -> tuple[Interpreted, ...]:
        plugin = registry.load([target.protocol])[target.protocol]
        if not isinstance(plugin, Inspector):
            raise ValueError(f"protocol `{target.protocol}` cannot explain statements")
        try:
            return await plugin.interpret(
                self._side, target.name, target.database, login, statement
            )
        except TargetUnavailable as error:
            raise ValueError(str(error)) from error
        finally:
            plugin.close()


def _explain(
    document: bytes, who: Subject, target: Target, login: str, operations: Sequence[Interpreted]
) -> Explained:
    policy = Policy(document)
    details = [_explain_one(policy, who, target, login, each) for each in operations]
    text = "\n\n".join(text for _, text in details)
    body = b",".join(detail for detail, _ in details)
    return Explained(b'{"operations":[' + body + b"]}", text)


def _explain_one(
    policy: Policy, who: Subject, target: Target, login: str, interpreted: Interpreted
) -> tuple[bytes, str]:
    now = time.time()
    access, write = _access(policy, who, target, login, now)
    context = Context(
        source="127.0.0.1",
        application="",
        now=now,
        login=login,
        database=target.database,
        write=write,
        session="",
    )
    explanation = explain(
        policy, who, target, context, interpreted.operation, tags=interpreted.tags
    )
    explanation = structs.replace(explanation, access=access)
    if explanation.verdict.outcome != "deny":
        carried = interpreted.carry(explanation.verdict.obligations)
        explanation = structs.replace(explanation, rewritten=carried.text, refused=carried.refused)
    return explanation.as_json(), explanation.as_text()


def _access(
    policy: Policy, who: Subject, target: Target, login: str, now: float
) -> tuple[str, bool]:
    """Return the rule that lets somebody reach a target (empty: none), and whether to write."""
    given = policy.access(who, target, login, target.database, "127.0.0.1", "", now, "")
    if isinstance(given, AccessGiven):
        return given.rule, given.write
    asked = policy.requestable(who, target, login, target.database)
    if not asked:
        return "", False
    return f"{asked[0][0]}, on request", policy.may_write(who, target, "127.0.0.1")


def target_states(config: Config) -> list[TargetState]:
    """Return the targets as the configuration says."""
    return [
        TargetState(
            name=target.name,
            protocol=target.protocol,
            address=str(target.address),
            database=target.database,
            labels=dict(target.labels),
            logins=tuple(target.logins),
            tls=target.tls.mode,
        )
        for target in config.targets
    ]


def login_providers(state: State) -> list[LoginProvider]:
    """Return where people log in. FAILS CLOSED: of an issuer nothing else is told."""
    return [
        LoginProvider(
            issuer.name,
            issuer.issuer,
            issuer.login.client_id,
            tuple(issuer.login.scopes),
            issuer.login.flow,
            state.issuers.authorities(issuer.issuer),
            issuer.login.public_secret or "",
        )
        for issuer in state.config.issuers
        if issuer.login is not None
    ]


def listener_states(config: Config) -> list[ListenerState]:
    """Return where clients connect."""
    found = []
    issuers = {issuer.name: issuer for issuer in config.issuers}
    for one in config.listeners:
        address = one.address if one.public is None else one.public
        tls = "none" if one.tls is None else ("required" if one.tls.required else "offered")
        path = "" if address.path is None else str(address.path)
        issuer = None if one.oauth is None else issuers.get(one.oauth.issuer)
        login = None if issuer is None else issuer.login
        found.append(
            ListenerState(
                one.name,
                one.protocol,
                address.host,
                address.port,
                path,
                one.authentication,
                tls,
                "" if issuer is None else issuer.issuer,
                "" if login is None else login.client_id,
                "" if one.oauth is None else one.oauth.scope,
            )
        )
    return found


class ReachDesk:
    """Tells what somebody may reach (`web.services.Reach`)."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def __call__(
        self, subject: Subject, source: str, selector: str | None
    ) -> list[ReachedLogin]:
        """Return it by target and login, within what the subject's own token reaches."""
        bounds = None
        if is_own(subject):
            record = await self._control.tokens.show(subject.token)
            bounds = () if record is None else record.targets
        return [
            ReachedLogin(
                one.target.name,
                one.target.protocol,
                one.target.database,
                one.login,
                one.default,
                one.given,
                one.write,
                one.ends,
                one.longest,
            )
            for one in self._control.reach(subject, source, selector)
            if bounds is None or one.target.name in bounds
        ]


def measures(control: Control, follower: Follower) -> list[Measure]:
    """Return what Prometheus is told beside the API's own numbers."""
    counts = follower.counts
    return [
        Measure("sallyport_workers", "Workers connected now", float(len(control.hub.workers()))),
        Measure(
            "sallyport_break_glass",
            "Uses of tokens that are for emergencies alone, since the start",
            float(control.tokens.alarms),
            kind=COUNTER,
        ),
        Measure(
            "sallyport_recording_problems",
            "Journals and sessions that cannot be followed or sealed now",
            float(len(follower.problems)),
        ),
        *(
            Measure(f"sallyport_{what}", words, float(counts[what, which]), {label: which}, COUNTER)
            for what, (words, label, every) in _COUNTED.items()
            for which in every
        ),
    ]
