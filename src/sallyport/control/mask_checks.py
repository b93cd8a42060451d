"""Mask checks: for which masks of which target an operator's check found nothing in their way.

A target with `masks: {checked: true}` opens no session before that. A check is taken in pages; it
counts once they followed each other from the first to the last, under one revision of the masks
and of what is waived. Once one finds something, an earlier one that did not counts no more.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct, structs
from sqlalchemy import Delete, delete, insert, select

from sallyport.control.state import PolicyPort
from sallyport.core.decision import Mask
from sallyport.core.detector import CustomDetector, used_by
from sallyport.core.globs import Globs
from sallyport.core.grant import Target
from sallyport.core.operation import Tags, digest_of
from sallyport.core.subject import Refused
from sallyport.policy import document
from sallyport.policy.evaluate import mask_of
from sallyport.policy.matching import TargetMatcher
from sallyport.policy.rules import with_tags
from sallyport.store.control_schema import mask_checks
from sallyport.store.database import Database

MAXIMUM_UNDER_WAY: Final = 1000
"""Checks that have begun and did not end yet."""


class _UnderWay(Struct):
    """A check between two pages: its next one begins after `expected`."""

    revision: str
    expected: int
    clean: bool


class MaskChecks:
    """Those that were passed, kept in the store, and those under way."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passed: dict[tuple[str, str], str] = {}
        self._under_way: dict[tuple[str, str], _UnderWay] = {}
        self._revisions: dict[tuple[object, ...], str] = {}

    async def load(self) -> None:
        """Read what is kept."""
        async with self._database.read() as connection:
            rows = (await connection.execute(select(mask_checks))).all()
        self._passed = {(row.target, row.database): row.revision for row in rows}

    def refusal(
        self, target: Target, waived: Sequence[str], policy: PolicyPort, *, own: bool
    ) -> Refused | None:
        """Return why no session may be opened at a target whose masks have to be checked.

        `own`: it is the target's own database, which is checked if none is named.
        """
        wanted = self._revision(target, waived, policy)
        if self._passed.get((target.name, target.database)) == wanted:
            return None
        command = f"sallyport masks check {shlex.quote(target.name)}"
        if not own:
            command += f" --database {shlex.quote(target.database)}"
        return Refused(
            f"the masks of `{target.name}` changed and have not been checked since",
            f"the operator runs `{command}`",
        )

    async def page(
        self,
        target: Target,
        waived: Sequence[str],
        policy: PolicyPort,
        after: int,
        following: int,
        *,
        clean: bool,
    ) -> bool:
        """Take one page of a check: it began `after` a relation, the next begins at `following`
        (0: it is the last). Return whether the whole check is passed by it.
        """
        key = (target.name, target.database)
        wanted = self._revision(target, waived, policy)
        if not clean and self._passed.get(key) == wanted:
            await self._forget(key)
        check = self._under_way.pop(key, None)
        if after == 0:
            check = _UnderWay(wanted, 0, clean=True)
        if check is None or check.expected != after or check.revision != wanted:
            return False
        check.clean = check.clean and clean
        if following:
            check.expected = following
            self._under_way[key] = check
            while len(self._under_way) > MAXIMUM_UNDER_WAY:
                self._under_way.pop(next(iter(self._under_way)))
            return False
        if check.clean:
            await self._keep(key, wanted)
        return check.clean

    async def _forget(self, key: tuple[str, str]) -> None:
        self._passed.pop(key, None)
        async with self._database.write() as connection:
            await connection.execute(_kept(key))

    async def _keep(self, key: tuple[str, str], revision: str) -> None:
        target, database = key
        async with self._database.write() as connection:
            await connection.execute(_kept(key))
            await connection.execute(
                insert(mask_checks).values(target=target, database=database, revision=revision)
            )
        self._passed[key] = revision

    def _revision(self, target: Target, waived: Sequence[str], policy: PolicyPort) -> str:
        labels = tuple(sorted(target.labels.items()))
        key = (policy.revision, target.name, labels, tuple(waived))
        known = self._revisions.get(key)
        if known is None:
            if len(self._revisions) > MAXIMUM_UNDER_WAY:
                self._revisions.clear()
            known = self._revisions[key] = revision_at(policy.document, target, waived)
        return known


def _kept(key: tuple[str, str]) -> Delete:
    """Return what deletes the check that is kept."""
    target, database = key
    columns = mask_checks.c
    return delete(mask_checks).where(columns.target == target, columns.database == database)


def revision_at(policy: bytes, target: Target, waived: Sequence[str] = ()) -> str:
    """Return what tells the masks of a target from others: their rules, what is said of its
    columns, and what a check may find. What the comments of its columns say is no part of it, nor
    is what masks name in HTTP responses.
    """
    decoded = document.decode(policy)
    terms = [
        (rule.name, structs.replace(rule.mask, json=(), headers=(), cookies=()))
        for rule in _mask_rules(decoded, target)
        if rule.mask is not None and (rule.mask.columns or rule.mask.tags or rule.mask.detectors)
    ]
    classes = decoded.classes.get(target.name, {})
    parts: tuple[object, ...] = (sorted(terms, key=lambda one: one[0]), classes, sorted(waived))
    custom = _custom_of(decoded, [mask for _, mask in terms])
    if custom:
        parts = (*parts, sorted(custom, key=lambda one: one.name))
    return digest_of(msgspec.json.encode(parts, order="sorted")).hex()


def masks_at(policy: bytes, target: Target, tags: Tags) -> tuple[Mask, ...]:
    """Return what the mask rules in force hide at a target, whomever they are for.

    `tags`: what the target says of its columns.
    """
    decoded = document.decode(policy)
    classes = decoded.classes.get(target.name, {})
    rules = [with_tags(rule, classes, tags) or rule for rule in _mask_rules(decoded, target)]
    return tuple(
        mask_of(rule.name, rule.mask, _custom_of(decoded, [rule.mask]))
        for rule in rules
        if rule.mask is not None
    )


def detectors_at(policy: bytes) -> tuple[CustomDetector, ...]:
    """Return the detectors that a policy defines, whether a mask names them or not."""
    return document.decode(policy).detectors


def _custom_of(
    decoded: document.Document, masks: Iterable[document.MaskTerms]
) -> tuple[CustomDetector, ...]:
    known = {detector.name: detector for detector in decoded.detectors}
    return used_by((name for mask in masks for name in mask.detectors), known)


def rules_naming(policy: bytes, target: Target, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return, for each of a target's columns, the mask rules in force that hide it by its name.

    `columns` are `schema.table.column`. Tags that only its comment gives a column are not known.
    """
    masks = [
        (mask.rule, Globs(mask.columns), Globs(mask.unless_columns))
        for mask in masks_at(policy, target, ())
    ]
    return [
        tuple(
            rule
            for rule, named, unless in masks
            if named.matches(name) and not unless.matches(name)
        )
        for name in columns
    ]


def _mask_rules(decoded: document.Document, target: Target) -> Iterable[document.Rule]:
    return [
        rule
        for rule in decoded.rules
        if rule.mask is not None
        and rule.mode == "enforce"
        and (rule.targets is None or not TargetMatcher(rule.targets).why_not(target))
    ]
