"""Identity: from evidence to a subject with groups and roles.

Tokens of the gateway's own and JWTs of issuers are told apart by their form. Each listener takes
one mechanism, and what comes by it in another way is nobody's. INVARIANT: every failure is the same
answer; what was wrong stands in the log alone.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from sallyport.core.subject import Challenge, Evidence, Opening, Proven, Refused, Subject
from sallyport.identity import certificates
from sallyport.identity.backoff import Backoff
from sallyport.identity.certificates import Certificates, certificate_id
from sallyport.identity.compact import MAXIMUM_TOKEN, token_id
from sallyport.identity.exchanges import Exchanges
from sallyport.identity.names import is_loopback
from sallyport.identity.oidc import Issuers
from sallyport.identity.secrets import PREFIX, parse_secret
from sallyport.identity.token_records import ISSUER, is_own
from sallyport.identity.tokens import TokenService

FAILED: Final = Refused(
    "authentication failed", "check that the token is whole, in force and meant for this gateway"
)
FAILED_PROOF: Final = Refused(
    "authentication failed",
    "give the token's id as the user (the 16 characters after `sp_`, or `id/login`) and the whole "
    "token `sp_...` as the password; a JWT, and a token made before the gateway kept verifiers, "
    "cannot log in here",
)
FAILED_CERTIFICATE: Final = Refused(
    "authentication failed",
    "check that the certificate is in force, is made for clients (extended key usage "
    "`clientAuth`) and has one name",
)
PLAIN: Final = Refused("a token is only taken over TLS", "connect with sslmode=require")

_log = structlog.get_logger("identity")


class ListenerRules(Struct, frozen=True):
    """What a listener takes: `token`, `oauth`, `scram` or `certificate`. `client_groups`: whether
    the organizational units of client certificates are groups."""

    mechanism: str = "token"
    client_groups: bool = False


class IdentityService:
    """Answers who showed this evidence. `roles` is role -> groups that hold it.

    `listeners` is by protocol and name; what is not there takes tokens. `key` is kept from start
    to start: it makes what is shown of tokens that there are not.
    """

    def __init__(
        self,
        tokens: TokenService,
        issuers: Issuers,
        roles: Mapping[str, Sequence[str]],
        backoff: Backoff | None = None,
        *,
        listeners: Mapping[tuple[str, str], ListenerRules] | None = None,
        reader: Certificates | None = None,
        key: bytes = b"",
    ) -> None:
        self._tokens = tokens
        self._backoff = Backoff() if backoff is None else backoff
        self.issuers = issuers
        self._roles = {role: frozenset(groups) for role, groups in roles.items()}
        self._listeners = dict(listeners or {})
        self._certificates = reader
        self.exchanges = Exchanges(tokens, key or secrets.token_bytes(32))

    def configure(self, issuers: Issuers, roles: Mapping[str, Sequence[str]]) -> None:
        """Use other issuers and roles from now."""
        self.issuers = issuers
        self._roles = {role: frozenset(groups) for role, groups in roles.items()}

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return the subject; one same refusal for unknown, wrong, expired and revoked."""
        rules = self._rules(evidence)
        if evidence.certificate or rules.mechanism == "certificate":
            return await self._by_certificate(evidence, rules)
        if not evidence.encrypted and not is_loopback(evidence.source):
            return PLAIN
        token = evidence.token
        subject: Subject | None = None
        if rules.mechanism not in ("token", "oauth"):
            _log.info("token refused", reason="its listener takes none")
        elif len(token) <= MAXIMUM_TOKEN:
            if token.startswith(PREFIX):
                api = evidence.protocol == "api"
                subject = await self._tokens.check(token, evidence.source, api=api)
            else:
                subject = await self.issuers.check(token)
        if subject is None:
            claimed = parse_secret(token) or token_id(token[:MAXIMUM_TOKEN])
            return await self._failed(evidence.source, claimed, FAILED)
        return self.with_roles(subject)

    async def open_exchange(self, worker: str, opening: Opening) -> Challenge | Refused:
        """Begin a login whose secret does not travel. Who is claimed changes nothing here."""
        if not opening.encrypted and not is_loopback(opening.source):
            return PLAIN
        challenge: Challenge | None = None
        if self._rules(opening).mechanism == "scram":
            challenge = await self.exchanges.begin(worker, opening)
        if challenge is None:
            return await self._failed(opening.source, opening.claimed[:64], FAILED_PROOF)
        return challenge

    async def finish_exchange(self, worker: str, handle: bytes, proof: bytes) -> Proven | Refused:
        """End it: the subject with the gateway's own proof; one same refusal for all else."""
        outcome = await self.exchanges.finish(worker, handle, proof)
        if outcome.subject is None:
            return await self._failed(outcome.source, outcome.claimed, FAILED_PROOF)
        return Proven(self.with_roles(outcome.subject), outcome.proof)

    async def failed(self, source: str, claimed: str) -> None:
        """Count a failure of `source`, and return the later the more of them there were lately."""
        await self._backoff.delay(self._backoff.note(source, claimed))

    def with_roles(self, subject: Subject) -> Subject:
        """Return `subject` with the roles of its groups beside those of its token."""
        held = {role for role, groups in self._roles.items() if groups & set(subject.groups)}
        roles = tuple(sorted(held | set(subject.roles)))
        return msgspec.structs.replace(subject, roles=roles)

    def knows(self, issuer: str) -> bool:
        """Whether subjects of this issuer are taken, by what is configured now."""
        if issuer == certificates.ISSUER:
            return any(rules.mechanism == "certificate" for rules in self._listeners.values())
        return issuer == ISSUER or self.issuers.knows(issuer)

    async def still_valid(self, subject: Subject, target: str, source: str) -> Refused | None:
        """Return why `subject`, once authenticated, may no longer open a session, or None."""
        if is_own(subject):
            return await self._tokens.may_still(subject, target, source)
        if not self.knows(subject.issuer):
            return Refused("the issuer of the token is no longer trusted")
        if subject.issuer == certificates.ISSUER and self._certificates is not None:
            return await self._certificates.may_still(subject)
        if await self.issuers.revoked(subject):
            return Refused("the token is no longer valid", "log in again")
        return None

    # --- inside

    def _rules(self, shown: Evidence | Opening) -> ListenerRules:
        return self._listeners.get((shown.protocol, shown.listener), ListenerRules())

    async def _by_certificate(self, evidence: Evidence, rules: ListenerRules) -> Subject | Refused:
        """FAILS CLOSED: a certificate counts where the listener takes just that, and over TLS."""
        subject: Subject | None = None
        takes = rules.mechanism == "certificate" and evidence.encrypted and evidence.certificate
        if takes and not evidence.token and self._certificates is not None:
            subject = await self._certificates.check(
                evidence.certificate, groups=rules.client_groups
            )
        if subject is None:
            claimed = certificate_id(evidence.certificate)
            return await self._failed(evidence.source, claimed, FAILED_CERTIFICATE)
        return self.with_roles(subject)

    async def _failed(self, source: str, claimed: str, answer: Refused) -> Refused:
        """Return `answer`, the later the more failed lately."""
        await self._backoff.delay(self._backoff.note(source, claimed))
        return answer
