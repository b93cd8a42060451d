"""Approvers: at which targets whose word counts."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sallyport.config.models import ApproverScope
from sallyport.core.grant import Target
from sallyport.core.subject import Subject
from sallyport.policy import document
from sallyport.policy.matching import TargetMatcher


class ApproverScopes:
    """What `roles.approver` says: groups, some of them at some targets alone."""

    def __init__(self, entries: Iterable[str | ApproverScope]) -> None:
        """Compile. Raises: ValueError."""
        self._everywhere: set[str] = set()
        self._scoped: list[tuple[frozenset[str], TargetMatcher]] = []
        for one in entries:
            if isinstance(one, str):
                self._everywhere.add(one)
                continue
            plain = one.targets.model_dump(exclude_none=True)
            targets = TargetMatcher(msgspec.convert(plain, document.Targets))
            self._scoped.append((frozenset(one.groups), targets))

    def reach(self, subject: Subject, target: Target) -> bool:
        """Whether the word of `subject`, who has the role, counts at `target`.

        Who has the role by a token or an issuer alone, and is in none of the groups, is bound to no
        target. FAILS CLOSED: who is in a group with targets is, unless another gives all.
        """
        groups = set(subject.groups)
        if groups & self._everywhere:
            return True
        scopes = [targets for names, targets in self._scoped if groups & names]
        return not scopes or any(not targets.why_not(target) for targets in scopes)
