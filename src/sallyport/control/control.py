"""Control: the process that knows. Store, identity, vault, approvals, sessions, quotas, workers.

It decides no operation: workers do that from the snapshot that it pushes. It hands out access,
leases, answers and ends. INVARIANT: one control a state folder, by a lock that a crash releases.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from sallyport.approvals.access import AccessRequest
from sallyport.approvals.grants import AccessService
from sallyport.approvals.service import ApprovalService
from sallyport.config.difference import difference
from sallyport.config.issuer_checks import hints
from sallyport.config.models import Config
from sallyport.control.access import Doorkeeper, Reached
from sallyport.control.bootstrap import ensure_admin
from sallyport.control.counters import Counters
from sallyport.control.hub import Hub
from sallyport.control.mask_checks import MaskChecks
from sallyport.control.requests import Answers
from sallyport.control.sessions import SessionRegistry
from sallyport.control.state import Keys, PolicyPort, State, build, oauth_settings, sign_in_settings
from sallyport.core.errors import ConfigError
from sallyport.core.event import Audited
from sallyport.core.messages import (
    SILENCE,
    Access,
    Catalogue,
    Drain,
    EndSession,
    Hello,
    Snapshot,
)
from sallyport.core.subject import Refused, Subject
from sallyport.identity.accounts import ServiceAccounts
from sallyport.identity.assertions import ClientAssertions
from sallyport.identity.certificates import Certificates
from sallyport.identity.logouts import Logouts
from sallyport.identity.oauth import TokenEndpoint
from sallyport.identity.revocations import Revocation
from sallyport.identity.rotation import Rotation
from sallyport.identity.service import IdentityService, ListenerRules
from sallyport.identity.sign_in import SignIns
from sallyport.identity.tokens import TokenService
from sallyport.store.database import Database
from sallyport.vault.credentials import Vault
from sallyport.vault.master import MasterKey

SWEEP: Final = 0.25
"""Seconds between two looks at what is past its time."""

SAVE: Final = 2.0
"""Seconds between two savings of what was used of quotas."""

RECHECK: Final = 15.0
"""Seconds between two looks at whether each session would still be given (hours of access)."""

PRUNE: Final = 600.0
"""Seconds between two times that tokens and assertions which are long over are forgotten."""

SOCKET: Final = "control.sock"
STORE: Final = "sallyport.db"
_log = structlog.get_logger("control")


FIXED: Final = (
    "state", "vault", "api", "listeners", "logging", "recording.encrypt", "recording.reserve",
    "recording.subject_bytes_per_hour", "sessions.maximum", "sessions.idle",
)  # fmt: skip
"""What processes take at their start alone: sockets, keys, their journals, their bounds."""


class Control:
    """All of control. Make it, `start`, `reload` as often as wanted, `stop`.

    After `start`: `database`, `tokens`, `accounts`, `oauth`, `logouts`, `sign_ins`, `vault`,
    `approvals`, `registry`, `identity`, `counters`, `hub` are there for the API. `audit` takes what
    is done to the product itself; when it raises, that is not done.
    """

    database: Database
    tokens: TokenService
    vault: Vault
    approvals: ApprovalService
    access: AccessService
    registry: SessionRegistry
    identity: IdentityService
    accounts: ServiceAccounts
    oauth: TokenEndpoint
    logouts: Logouts
    sign_ins: SignIns
    rotation: Rotation
    mask_checks: MaskChecks
    counters: Counters
    hub: Hub

    def __init__(
        self,
        config: Config,
        policy: PolicyPort,
        audit: Callable[[Audited], None],
        clock: Callable[[], float] = time.time,
        database: Database | None = None,
    ) -> None:
        self._config = config
        self._policy = policy
        self._audit = audit
        self._clock = clock
        self._lock = -1
        self._sweeping: asyncio.Task[None] | None = None
        self._keys = Keys(b"", None)
        self._tidying: set[asyncio.Task[None]] = set()
        self.database = database or Database(config.state / STORE)

    @property
    def state(self) -> State:
        """The configuration in force."""
        return self._doorkeeper.state

    async def start(self) -> None:
        """Open the store, bring back what was there, listen for workers.

        Raises: ConfigError, StoreError, VaultError; then nothing is left open.
        """
        self._take_lock()
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, keep the counts, close the store. Live sessions end by the silence."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if hasattr(self, "hub"):
            await self.hub.stop()
        await asyncio.gather(*self._tidying, return_exceptions=True)
        if hasattr(self, "counters"):
            try:
                await self._save()
            except SQLAlchemyError as error:
                _log.error("the last counts cannot be kept", error=type(error).__name__)
        await self.database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def reload(
        self,
        config: Config,
        policy: PolicyPort,
        actor: str = "operator",
        actors: tuple[str, ...] = (),
    ) -> None:
        """Put another configuration in force, whole or not at all. Raises: ConfigError.

        Sessions that it would not give any more are ended. `actors` act for `actor`.
        """
        before = self.state
        _refuse_what_stays(before.config, config)
        after = build(config, policy, self.database, self._keys, self._clock, before)
        sign_in = sign_in_settings(config)
        details = {
            "revision": policy.revision,
            "before": before.policy.revision,
            "changes": difference(before.config, config),
        }
        now, revision = self._clock(), policy.revision
        self._audit(Audited("", now, actor, "policy-loaded", revision, details, actors))
        await self.tokens.distrust([issuer.issuer for issuer in config.issuers])
        self._doorkeeper.state = after
        self.identity.configure(after.issuers, config.roles.groups)
        self.oauth.settings = oauth_settings(config)
        self.sign_ins.settings = sign_in
        self._doorkeeper.recheck()
        self.hub.push_all(after.snapshot)
        if not await self.hub.in_force(policy.revision, SILENCE):
            _log.error("a worker has not taken the new policy", revision=policy.revision)
        _tell_hints(config)
        _log.info("configuration in force", revision=policy.revision)

    @property
    def recording_key(self) -> bytes | None:
        """The key of recordings; None: they are not encrypted."""
        return self._keys.recording

    async def catalogue(self, asked: Catalogue) -> Access | Refused:
        """Give the operator's tools the access of the gateway's own side connection."""
        return await self._doorkeeper.catalogue(asked)

    def may_approve(self, subject: Subject, target: str, database: str) -> bool:
        """Whether an approver's role reaches this target. FAILS CLOSED where it is not there."""
        found = self.state.targets.offer(target, database)
        return found is not None and self.state.approvers.reach(subject, found[1])

    async def ask_access(
        self, subject: Subject, selector: str, login: str | None, why: str, duration: float
    ) -> AccessRequest | Refused:
        """Ask for access to `target` or `target/database`; `duration` in seconds."""
        return await self._doorkeeper.ask(subject, selector, login, why, duration)

    def reach(self, subject: Subject, source: str, selector: str | None) -> list[Reached]:
        """Return which targets, and as whom, `subject` may reach or ask for."""
        return self._doorkeeper.reach(subject, source, selector)

    async def rotate_master_key(self, actor: str) -> int:
        """Put a new master key in the place of the one in its file; return how many secrets moved.

        Raises: VaultError when the key is not kept in a file.
        """
        return await MasterKey(str(self._config.vault.key)).rotate(self.vault, actor)

    def drain(self, seconds: float) -> None:
        """Ask every worker to finish."""
        self.hub.push_all(Drain(seconds))

    # --- inside

    def _take_lock(self) -> None:
        self._config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._config.state / "control.lock"
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = -1
            raise ConfigError(f"another gateway uses `{self._config.state}`") from None

    async def _open(self) -> None:
        settings = self._config.vault
        keys = MasterKey(str(settings.key))
        current, interrupted = keys.load(generate=settings.generate)
        await self.database.open()
        self.vault = Vault(self.database, current, self._audit, interrupted, self._clock)
        await self.vault.verify()
        await keys.recover(self.vault)
        encrypts = self._config.recording.encrypt
        self._keys = Keys(
            mask=(await self.vault.ensure("mask-key")).reveal(),
            recording=(await self.vault.ensure("recording-key")).reveal() if encrypts else None,
        )
        state = build(self._config, self._policy, self.database, self._keys, self._clock)
        _tell_hints(self._config)
        await self._identify(state)
        await self._ask_people()
        self.counters = Counters(self._clock)
        await self.counters.load(self.database)
        self.hub = Hub(self._config.state / SOCKET, self._snapshot, self._greeted, self._gone)
        self.registry = SessionRegistry(self._audit, self.hub.push, self._clock)
        self._tell_registry()
        self.mask_checks = MaskChecks(self.database)
        await self.mask_checks.load()
        self._doorkeeper = Doorkeeper(
            state,
            self.identity,
            self.vault,
            self.registry,
            self.mask_checks,
            self.access,
            self._clock,
        )
        self._answers = Answers(
            self.identity,
            self._doorkeeper,
            self.approvals,
            self.registry,
            self.counters,
            self.hub.push,
            self.hub.push_all,
            self._clock,
            keep=lambda: self.counters.save(self.database),
        )
        await ensure_admin(self.tokens, self._config.state)
        await self.hub.start(self._answers)
        self._sweeping = asyncio.create_task(self._sweep())

    def _tell_registry(self) -> None:
        """Have sessions end with what they stand on."""
        self.tokens.listen(self.registry.revoked)
        self.tokens.listen(self._revoked)
        self.access.listen(self.registry.access_changed)
        self.logouts.listen(self.registry.logged_out)
        self.oauth.listen(self.registry.logged_in)

    async def _ask_people(self) -> None:
        """Put together what waits for people's answers."""
        self.approvals = ApprovalService(
            self.database, self._audit, self._clock, self._keys.recording, self.tokens.owners
        )
        await self.approvals.recover()
        self.access = AccessService(self.database, self._audit, self._clock, self.tokens.owners)
        await self.access.load()

    async def _identify(self, state: State) -> None:
        """Put together what knows people and programs."""
        self.tokens = TokenService(self.database, self._audit, self._clock)
        self.rotation = Rotation(self.tokens, self._audit, self._clock)
        self.identity = IdentityService(
            self.tokens,
            state.issuers,
            self._config.roles.groups,
            listeners=_listeners(self._config),
            reader=Certificates(self.database, self._clock),
            key=(await self.vault.ensure("login-key")).reveal(),
        )
        self.accounts = ServiceAccounts(self.database, self.tokens, self._audit, self._clock)
        self._assertions = ClientAssertions(self.database, self._clock)
        self.oauth = TokenEndpoint(
            self.database,
            self.identity,
            self.tokens,
            self._assertions,
            oauth_settings(self._config),
            self._clock,
        )
        self.logouts = Logouts(self.database, self.identity, self.tokens, self._audit, self._clock)
        self.sign_ins = SignIns(
            self.database,
            self.identity,
            self.tokens,
            self.oauth,
            sign_in_settings(self._config),
            self._audit,
            (await self.vault.ensure("sign-in-key")).reveal(),
            self._clock,
        )
        await self.tokens.distrust([issuer.issuer for issuer in self._config.issuers])

    def _snapshot(self) -> Snapshot:
        return self.state.snapshot

    def _greeted(self, hello: Hello, returning: bool) -> None:
        """A worker is there: end the sessions that it has and we do not know, and the reverse."""
        if not returning:
            self._tidy(hello.worker, [s.id for s in self.registry.worker_gone(hello.worker)])
            self.counters.worker_gone(hello.worker)
        if hello.sessions is None:
            return
        for identifier in self.registry.unknown(hello.sessions):
            self.hub.push(hello.worker, EndSession(identifier, "control does not know it"))
        named = set(hello.sessions)
        lost = [
            session.id
            for session in self.registry.sessions()
            if session.worker == hello.worker and session.id not in named
        ]
        for identifier in lost:
            self.registry.remove(identifier)
        self._tidy(hello.worker, lost)

    def _tidy(self, worker: str, sessions: list[str]) -> None:
        if sessions:
            task = asyncio.create_task(self._cancel_holds(sessions))
            self._tidying.add(task)
            task.add_done_callback(self._tidying.discard)
            _log.info("sessions are over with their worker", worker=worker, count=len(sessions))

    async def _cancel_holds(self, sessions: list[str]) -> None:
        for identifier in sessions:
            await self.approvals.cancel_session(identifier, "the worker is gone")

    def _revoked(self, revocation: Revocation) -> None:
        """Whoever lost all tokens loses what was given on request as well."""
        if revocation.kind == "id":
            return
        subject = revocation.value if revocation.kind == "subject" else None
        ending = self.access.revoke_all(subject, "sallyport", "the tokens were revoked")
        task = asyncio.create_task(_quietly(ending))
        self._tidying.add(task)
        task.add_done_callback(self._tidying.discard)

    async def _gone(self, worker: str) -> None:
        self.counters.worker_gone(worker)
        self._tidy(worker, [session.id for session in self.registry.worker_gone(worker)])

    async def _sweep(self) -> None:
        saved = checked = pruned = self._clock()
        while True:
            await asyncio.sleep(SWEEP)
            try:
                self.registry.sweep()
                await self.approvals.expire_due()
                await self.access.expire_due()
                if abs(self._clock() - saved) >= SAVE:
                    saved = self._clock()
                    await self._save()
                if abs(self._clock() - checked) >= RECHECK:
                    checked = self._clock()
                    self._doorkeeper.recheck()
                if abs(self._clock() - pruned) >= PRUNE:
                    pruned = self._clock()
                    await self.tokens.prune()
                    await self.sign_ins.prune()
                    await self._assertions.prune()
                    await self.logouts.prune()
            except Exception:
                _log.exception("sweep failed")

    async def _save(self) -> None:
        self.counters.prune()
        await self.counters.save(self.database)
        await self.tokens.save_uses()


async def _quietly(ending: Awaitable[int]) -> None:
    try:
        await ending
    except Exception:
        _log.exception("what was given on request could not be revoked")


def _tell_hints(config: Config) -> None:
    for hint in hints(config):
        _log.warning("hint", about=hint)


def _listeners(config: Config) -> dict[tuple[str, str], ListenerRules]:
    """Return what each listener takes, by protocol and name."""
    return {
        (one.protocol, one.name): ListenerRules(
            one.authentication, one.tls is not None and one.tls.client_groups
        )
        for one in config.listeners
    }


def _refuse_what_stays(before: Config, after: Config) -> None:
    """FAILS CLOSED: never say of a setting that it is in force while the old one is.

    Raises: ConfigError.
    """
    changed = [f"`{name}`" for name in FIXED if attrgetter(name)(before) != attrgetter(name)(after)]
    if changed:
        raise ConfigError(
            f"{' and '.join(changed)} cannot change while the gateway runs: start it again"
        )
