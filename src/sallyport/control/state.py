"""State: all that control decides from, built whole before it is put in force.

A reload makes a new one; if any part of it does not come about, the old one stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from msgspec import Struct

from sallyport.config.issuers import Issuer
from sallyport.config.models import Config
from sallyport.control.approvers import ApproverScopes
from sallyport.control.countries import Countries
from sallyport.control.targets import Targets, read_authority
from sallyport.core.errors import ConfigError, SallyportError
from sallyport.core.grant import Target
from sallyport.core.messages import Snapshot
from sallyport.core.stating import Stating
from sallyport.core.subject import Refused, Subject
from sallyport.identity.mapping import GroupRule
from sallyport.identity.oauth import OAuthSettings
from sallyport.identity.oidc import Issuers, IssuerSettings
from sallyport.identity.relying.asking import Client
from sallyport.identity.relying.provider import Provider
from sallyport.identity.sign_in import SignInSettings
from sallyport.policy import AccessGiven, Quota
from sallyport.policy.document import RequestTerms
from sallyport.store.database import Database
from sallyport.vault.references import resolve_local


class PolicyPort(Protocol):
    """What control asks of a compiled policy."""

    revision: str
    document: bytes

    def access(
        self,
        subject: Subject,
        target: Target,
        login: str,
        database: str,
        source: str,
        country: str,
        now: float,
        application: str,
        under: str = "",
    ) -> AccessGiven | Refused:
        """Whether the target may be reached; `under`: by the rule that a grant was given under."""

    def requestable(
        self, subject: Subject, target: Target, login: str, database: str
    ) -> tuple[tuple[str, RequestTerms], ...]:
        """Return the rules under which this access can be asked for."""

    def terms_of(self, rule: str) -> RequestTerms | None:
        """Return how access under a rule is asked for."""

    def quotas(self, subject: Subject, target: Target) -> tuple[Quota, ...]:
        """Return the strictest bound of each kind."""


class State(Struct, frozen=True):
    """One configuration in force."""

    config: Config
    policy: PolicyPort
    targets: Targets
    issuers: Issuers
    snapshot: Snapshot
    approvers: ApproverScopes
    stating: Stating
    countries: Countries


class Keys(Struct, frozen=True):
    """Keys that workers need: of hashes in masks, and of recordings (None: not encrypted)."""

    mask: bytes
    recording: bytes | None

    def __repr__(self) -> str:
        return "Keys(...)"


def build(
    config: Config,
    policy: PolicyPort,
    database: Database,
    keys: Keys,
    clock: Callable[[], float] = time.time,
    previous: State | None = None,
) -> State:
    """Make a state of a configuration and its policy. Raises: ConfigError, and changes nothing."""
    try:
        issuers = Issuers(
            [issuer_settings(one, config.sessions.max_session) for one in config.issuers],
            database,
            clock,
            previous=previous.issuers if previous is not None else None,
        )
        targets = Targets(config.targets)
        approvers = ApproverScopes(config.roles.approver)
        stating = Stating(config.stated.applications)
        countries = Countries(config.origin.countries)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    snapshot = Snapshot(policy.revision, policy.document, worker_settings(config, keys))
    return State(config, policy, targets, issuers, snapshot, approvers, stating, countries)


def worker_settings(config: Config, keys: Keys) -> dict[str, Any]:
    """Return what workers need to know beside the policy."""
    recording, sessions = config.recording, config.sessions
    return {
        "durability": recording.durability,
        "result_bytes": recording.result_bytes,
        "reserve": recording.reserve,
        "subject_bytes_per_hour": recording.subject_bytes_per_hour,
        "hold_timeout": config.approvals.timeout,
        "hold_in_transaction": config.approvals.in_transaction,
        "ticket_window": config.approvals.ticket_window,
        "max_sessions": sessions.maximum,
        "idle": sessions.idle,
        "login_timeout": sessions.login_timeout,
        "mask_key": keys.mask,
        "recording_key": keys.recording,
    }


def issuer_settings(settings: Issuer, longest: float) -> IssuerSettings:
    """Return the settings as identity takes them; no `session_ttl` is above `longest` (seconds).

    Raises: ConfigError when its `ca` cannot be read.
    """
    fields = set(IssuerSettings.__struct_fields__) - {"groups", "session_ttl", "ca", "clients"}
    ttl = settings.session_ttl
    return IssuerSettings(
        groups=tuple(
            GroupRule(dict(rule.when), rule.groups, rule.roles) for rule in settings.groups
        ),
        ca=read_authority(f"issuer `{settings.name}`", settings.ca),
        session_ttl=None if ttl is None else min(ttl, longest),
        clients=tuple(one.client_id for one in (settings.login, settings.web) if one is not None),
        **{field: getattr(settings, field) for field in fields},
    )


def oauth_settings(config: Config) -> OAuthSettings:
    """Return what the token endpoint needs to know. Its address is never a request's `Host`.

    Whoever gets a client to call them could pass its assertion on, and say what they are called.
    """
    settings, origin = config.oauth, config.api.origin
    endpoint = settings.endpoint or (f"{origin}/oauth/token" if origin else "")
    return OAuthSettings(endpoint, settings.lifetime, settings.bind_source)


def sign_in_settings(config: Config) -> SignInSettings:
    """Return where people sign in with a browser. Raises: ConfigError for a secret that is away."""
    clients = {}
    for one in config.issuers:
        if one.web is None:
            continue
        secret = ""
        if one.web.client_secret is not None:
            try:
                secret = resolve_local(str(one.web.client_secret)).reveal().decode("ascii").strip()
            except (SallyportError, UnicodeDecodeError) as error:
                raise ConfigError(f"issuer `{one.name}`: its client secret: {error}") from error
        provider = Provider(
            one.name,
            one.issuer,
            one.web.client_id,
            tuple(one.web.scopes),
            ca=read_authority(f"issuer `{one.name}`", one.ca) or "",
        )
        clients[one.name] = Client(provider, secret)
    settings = config.api.sign_in
    return SignInSettings(config.api.origin, clients, settings.longest, settings.idle)
