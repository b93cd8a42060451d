"""Interpretation of a text for `sallyport explain`: its operations, and what would be sent."""

from __future__ import annotations

from functools import partial
from typing import Final

from sallyport.core.decision import Deny, Obligations
from sallyport.protocols.base import Carried
from sallyport.protocols.inspecting import Interpreted
from sallyport.protocols.postgres.classify import Classifier
from sallyport.protocols.postgres.masks.at_source import AtSource
from sallyport.protocols.postgres.masks.telling import is_kept, telling, without_hashes
from sallyport.protocols.postgres.operations import Operations, is_rewritable, tags_at
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.rewriting.rewrite import Unfollowed
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Statement

_HINT: Final = "leave the column out of the statement"


def interpret(
    classifier: Classifier,
    text: str,
    state: SessionState,
    catalogue: CatalogueSnapshot | None,
    target: str,
    key: bytes,
) -> tuple[Interpreted, ...]:
    """Return the operations of `text` as the first command of a session in `state`."""
    if classifier.classify(text, state, catalogue).needs == "parse":
        classifier.prepare(text)
    operations, source = Operations(target), AtSource(key)
    found = []
    statements = classifier.classify(text, state, catalogue).statements
    for statement in statements:
        carry = partial(_carry, source, statement, state, catalogue, is_kept(statements))
        found.append(Interpreted(operations.make(statement), carry, tags_at(catalogue)))
        state = state.after(statement)
    return tuple(found)


def _carry(
    source: AtSource,
    statement: Statement,
    state: SessionState,
    catalogue: CatalogueSnapshot | None,
    kept: bool,
    obligations: Obligations,
) -> Carried:
    masks = obligations.masks
    if (tells := telling(statement, masks)) is not None:
        return Carried(refused=tells)
    rules = tuple(mask.rule for mask in masks if mask.columns)
    forbidden = source.following.refused(statement, masks, catalogue)
    if forbidden is not None:
        return Carried(refused=Deny(rules, *forbidden))
    followed = source.following.must(statement, masks, catalogue)
    must = obligations.at_source or followed is not None
    if not must and not source.wanted(statement, masks, catalogue):
        return Carried()
    if not is_rewritable(statement):
        if not must:
            return Carried()
        reason = "masked columns stand in it, and the statement cannot be rewritten"
        if followed is not None:
            return Carried(refused=Deny(rules, *followed))
        return Carried(refused=Deny(rules, reason, _HINT))
    apart = source.following.apart(statement, masks, catalogue)
    if apart is not None:
        return Carried(refused=Deny(rules, *apart)) if must else Carried()
    try:
        used = without_hashes(masks) if kept else masks
        found = source.rewrite(statement.text, state, catalogue, used)
    except Unfollowed as unfollowed:
        refused = Deny(rules, unfollowed.reason, unfollowed.hint)
        return Carried(refused=refused) if must else Carried()
    return Carried(source.shown(found.text, masks))
