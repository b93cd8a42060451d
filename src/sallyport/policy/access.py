"""Access rules, compiled: who may reach which target with what login."""

from __future__ import annotations

from typing import Final

from sallyport.core.globs import Globs
from sallyport.core.grant import Target
from sallyport.core.subject import Subject
from sallyport.policy import document
from sallyport.policy.document import PolicyError
from sallyport.policy.matching import ContextMatcher, SubjectMatcher, TargetMatcher

ACCESS_REFUSED: Final = "no access rule lets you reach this target with this login"
"""The one refusal, for unknown targets too: it tells nobody what exists."""


class AccessMatcher:
    """One access rule."""

    __slots__ = (
        "_context",
        "_databases",
        "_logins",
        "_subjects",
        "_targets",
        "max_session",
        "name",
        "request",
    )

    def __init__(self, rule: document.AccessRule) -> None:
        """Compile. Raises: PolicyError naming the rule."""
        self.name = rule.name
        self.max_session = rule.max_session
        self.request = rule.request
        try:
            self._subjects = SubjectMatcher(rule.subjects)
            self._targets = TargetMatcher(rule.targets) if rule.targets is not None else None
            self._logins = Globs(rule.logins)
            self._databases = Globs(rule.databases) if rule.databases else None
            self._context = ContextMatcher(rule.context) if rule.context is not None else None
        except ValueError as error:
            raise PolicyError(str(error), rule.name) from error

    @property
    def rank(self) -> tuple[float, str]:
        """What orders rules that all give access: the longest session, then the name."""
        return (float("inf") if self.max_session is None else self.max_session, self.name)

    def why_not(
        self,
        subject: Subject,
        target: Target,
        login: str,
        database: str,
        source: str,
        country: str,
        now: float,
        application: str,
    ) -> str:
        """Return what does not match, or nothing. Raises: RuleError."""
        if why := self.why_never(subject, target, login, database):
            return why
        if self._context is None:
            return ""
        return self._context.why_not(source, country, application) or self._context.why_not_now(now)

    def why_never(self, subject: Subject, target: Target, login: str, database: str) -> str:
        """Return what does not match, whenever and wherever from, or nothing. Raises: RuleError."""
        if why := self._subjects.why_not(subject):
            return why
        if self._targets is not None and (why := self._targets.why_not(target)):
            return why
        if not self._logins.matches(login):
            return f"login `{login}` is not among its logins"
        if self._databases is not None and not self._databases.matches(database):
            return f"database `{database}` is not among its databases"
        return ""
