"""Operations: a classified statement, with its parameters, in the words that policy reads."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, final

import msgspec

from sallyport.core.operation import (
    UNKNOWN_TAGS,
    Operation,
    Parameter,
    Tags,
    digest_of,
    digest_parameters,
)
from sallyport.protocols.postgres.messages import Bind
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.statement import Statement
from sallyport.sql.verbs import WRITES

PROTOCOL: Final = "postgres"
_KEPT: Final = 256
_HOLDERS: Final = frozenset({"prepare", "execute", "declare", "fetch", "copy-out"})


@final
class Operations:
    """Numbers a session's operations and binds each to all that decides about it."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._last = 0
        self._digests: OrderedDict[int, tuple[Statement, bytes]] = OrderedDict()

    def make(
        self,
        statement: Statement,
        parameters: tuple[Parameter, ...] = (),
        declared: tuple[Parameter, ...] | None = None,
    ) -> Operation:
        """Return the next operation.

        `declared` are the parameters as the client gave their types: the digest is over those, so
        that it does not depend on what the client happens to have asked the server before.
        """
        self._last += 1
        digest = self._digest(statement)
        if parameters:
            digest = digest_parameters(digest, parameters if declared is None else declared)
        return Operation(
            id=self._last,
            protocol=PROTOCOL,
            target=self._target,
            verb=statement.verb,
            effect=statement.effect,
            resources=statement.resources,
            facts=statement.facts,
            text=statement.text,
            parameters=parameters,
            fingerprint=statement.fingerprint,
            digest=digest,
            inner=statement.inner,
            rewritable=is_rewritable(statement),
            runs=statement.runs,
            bound=statement.bound,
        )

    def same(self, one: Statement, other: Statement) -> bool:
        """Whether two statements are one and the same to everybody who decides."""
        return self._digest(one) == self._digest(other)

    def _digest(self, statement: Statement) -> bytes:
        """Hash what the statement is; an entry keeps its statement, so its id stays its own."""
        known = self._digests.get(id(statement))
        if known is not None:
            return known[1]
        digest = digest_of(
            PROTOCOL,
            self._target,
            statement.text,
            statement.verb,
            msgspec.msgpack.encode(statement.inner),
            statement.effect.value,
            msgspec.msgpack.encode(sorted(statement.facts)),
            msgspec.msgpack.encode(statement.resources),
            msgspec.msgpack.encode(statement.stands_on),
            msgspec.msgpack.encode(statement.calls),
            statement.runs,
        )
        self._digests[id(statement)] = (statement, digest)
        if len(self._digests) > _KEPT:
            self._digests.popitem(last=False)
        return digest


def is_rewritable(statement: Statement) -> bool:
    """Whether it is a SELECT, holds one, runs one that was rewritten, or copies a table; or a write
    that gives rows back, by itself or held."""
    if statement.apart is not None:
        return statement.verb in WRITES or statement.verb in _HOLDERS
    if statement.verb in ("select", "copy-out") and not statement.inner:
        return True
    return statement.verb in _HOLDERS and statement.inner == ("select",)


def parameters_of(bind: Bind, types: tuple[int, ...]) -> tuple[Parameter, ...]:
    """Return a Bind's values; a type that is not known has oid 0."""
    return tuple(
        Parameter(
            name=f"${index + 1}",
            type=str(types[index] if index < len(types) else 0),
            value=value,
            binary=bind.format_of(index) == 1,
        )
        for index, value in enumerate(bind.values)
    )


def tags_at(catalogue: CatalogueSnapshot | None) -> Tags:
    """Return what the comments of columns say."""
    return UNKNOWN_TAGS if catalogue is None else catalogue.tags
