"""Identity: from evidence to a subject with groups and roles.

Tokens of the gateway's own and JWTs of issuers are told apart by their form. INVARIANT: every
failure is the same answer; what was wrong stands in the log alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.identity.backoff import Backoff
from sallyport.identity.compact import MAXIMUM_TOKEN, token_id
from sallyport.identity.names import is_loopback
from sallyport.identity.oidc import Issuers
from sallyport.identity.secrets import PREFIX, parse_secret
from sallyport.identity.tokens import ISSUER, TokenService

FAILED: Final = Refused(
    "authentication failed", "check that the token is whole, in force and meant for this gateway"
)
PLAIN: Final = Refused("a token is only taken over TLS", "connect with sslmode=require")


class IdentityService:
    """Answers who showed this evidence. `roles` is role -> groups that hold it."""

    def __init__(
        self,
        tokens: TokenService,
        issuers: Issuers,
        roles: Mapping[str, Sequence[str]],
        backoff: Backoff | None = None,
    ) -> None:
        self._tokens = tokens
        self._backoff = Backoff() if backoff is None else backoff
        self.issuers = issuers
        self._roles = {role: frozenset(groups) for role, groups in roles.items()}

    def configure(self, issuers: Issuers, roles: Mapping[str, Sequence[str]]) -> None:
        """Use other issuers and roles from now."""
        self.issuers = issuers
        self._roles = {role: frozenset(groups) for role, groups in roles.items()}

    async def authenticate(self, evidence: Evidence) -> Subject | Refused:
        """Return the subject; one same refusal for unknown, wrong, expired and revoked."""
        if not evidence.encrypted and not is_loopback(evidence.source):
            return PLAIN
        token = evidence.token
        subject: Subject | None = None
        if len(token) <= MAXIMUM_TOKEN:
            if token.startswith(PREFIX):
                api = evidence.protocol == "api"
                subject = await self._tokens.check(token, evidence.source, api=api)
            else:
                subject = await self.issuers.check(token)
        if subject is None:
            claimed = parse_secret(token) or token_id(token[:MAXIMUM_TOKEN])
            await self.failed(evidence.source, claimed)
            return FAILED
        return self.with_roles(subject)

    async def failed(self, source: str, claimed: str) -> None:
        """Count a failure of `source`, and return the later the more of them there were lately."""
        await self._backoff.delay(self._backoff.note(source, claimed))

    def with_roles(self, subject: Subject) -> Subject:
        """Return `subject` with the roles of its groups beside those of its token."""
        held = {role for role, groups in self._roles.items() if groups & set(subject.groups)}
        roles = tuple(sorted(held | set(subject.roles)))
        return msgspec.structs.replace(subject, roles=roles)

    async def still_valid(self, subject: Subject, target: str, source: str) -> Refused | None:
        """Return why `subject`, once authenticated, may no longer open a session, or None."""
        if subject.issuer == ISSUER:
            return await self._tokens.may_still(subject, target, source)
        if not self.issuers.knows(subject.issuer):
            return Refused("the issuer of the token is no longer trusted")
        if await self.issuers.revoked(subject):
            return Refused("the token is no longer valid", "log in again")
        return None
