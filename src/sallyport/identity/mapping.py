"""Mapping: from an issuer's claims to a name, groups and roles, as its settings say.

INVARIANT: pure. Everything comes from this one token, so the provider promotes and demotes: what a
claim no longer says is gone with the next token. An absent claim gives nothing.
FAILS CLOSED: a token whose groups were left out for want of space is refused, since the group that
is missing could be the one that a rule denies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, final

from msgspec import Struct

from sallyport.core.globs import Globs
from sallyport.identity.claims import ClaimsError, at_path, first_key, group_names, subject_name
from sallyport.identity.names import MAXIMUM_GROUPS, is_name

SEPARATORS: Final = ":/"
"""What a single `*` does not cross in globs over subjects and claims."""


class GroupRule(Struct, frozen=True):
    """Tokens whose claims match all of `when` (path of a claim to globs) get groups and roles."""

    when: dict[str, tuple[str, ...]]
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


class Mapped(Struct, frozen=True):
    """Whom a token is about, and what they carry."""

    name: str
    groups: tuple[str, ...]
    roles: tuple[str, ...] = ()


@final
class ClaimMapping:
    """The compiled mapping of one issuer. Raises: ValueError for a bad glob."""

    def __init__(
        self,
        subject_claim: str,
        groups_claim: str,
        rules: Sequence[GroupRule] = (),
        subjects: Sequence[str] | None = None,
        take_groups: bool = True,
        group_prefix: str = "",
        strip_slash: bool = False,
        overage: str = "",
    ) -> None:
        self._subject_claim = subject_claim
        self._groups_claim = groups_claim if take_groups else ""
        self._rules = [(_compiled(rule.when), rule) for rule in rules]
        self._subjects = None if subjects is None else Globs(subjects, SEPARATORS)
        self._prefix = group_prefix
        self._strip = strip_slash
        self._overage = overage
        paths = {path for rule in rules for path in rule.when} | {self._groups_claim}
        self._read = frozenset(paths - {""})

    def of(self, claims: Mapping[str, Any]) -> Mapped:
        """Return whom the claims are about. Raises: ClaimsError when that is nobody of ours."""
        self._demand_whole(claims)
        name = subject_name(claims, self._subject_claim)
        if self._subjects is not None and not self._subjects.matches(name):
            raise ClaimsError("the subject is not among those that are taken")
        matched = [rule for when, rule in self._rules if _matches(when, claims)]
        given = [group for rule in matched for group in rule.groups]
        groups = tuple(dict.fromkeys([*self._taken(claims), *given]))
        if len(groups) > MAXIMUM_GROUPS:
            raise ClaimsError("too many groups")
        roles = {role for rule in matched for role in rule.roles}
        return Mapped(name, groups, tuple(sorted(roles)))

    def _taken(self, claims: Mapping[str, Any]) -> Iterator[str]:
        """Yield the provider's own groups as they are called here."""
        if not self._groups_claim:
            return
        for group in group_names(claims, self._groups_claim):
            plain = group.removeprefix("/") if self._strip else group
            name = self._prefix + plain
            if not plain or not is_name(name):
                raise ClaimsError(f"`{self._groups_claim}` holds what is no group")
            yield name

    def _demand_whole(self, claims: Mapping[str, Any]) -> None:
        """Refuse a token that says itself that claims which are read here are not in it."""
        elsewhere = claims.get("_claim_names")
        missing = set(elsewhere) if isinstance(elsewhere, Mapping) else set()
        if claims.get("hasgroups") not in (None, False, "false"):
            missing.add("groups")
        for path in self._read:
            if first_key(claims, path) in missing or path in missing:
                advice = f": {self._overage}" if self._overage else ""
                raise ClaimsError(f"the groups are not in the token{advice}")


_When = Sequence[tuple[str, Globs]]


def _compiled(when: Mapping[str, Sequence[str]]) -> _When:
    return [(path, Globs(patterns, SEPARATORS)) for path, patterns in when.items()]


def _matches(when: _When, claims: Mapping[str, Any]) -> bool:
    """Whether every claim of `when` has a value that matches; of a list, one is enough."""
    return bool(when) and all(
        any(globs.matches(text) for text in _texts(at_path(claims, path))) for path, globs in when
    )


def _texts(value: object) -> Iterator[str]:
    """Yield a claim's values as text; what is nested, no whole number or null is no value."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool):
            yield "true" if one else "false"
        elif isinstance(one, str):
            yield one
        elif isinstance(one, int) and abs(one) < 1 << 64:
            yield str(one)
