"""PostgreSQL text into statements, over two bounded caches.

The first remembers parse trees by text: they do not depend on any name. The second remembers
whole classifications by text, catalogue epoch and session state. A text that is new is parsed in
any case; where its tree differs from a known one in constants alone, and nothing in the known one
was read from a constant (`Statement.shared`), the classification is that of the known one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from msgspec import structs

from sallyport.core.operation import Effect, Resource
from sallyport.sql import grammar, tree
from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.classify import classify, unknown
from sallyport.sql.grammar import Parsed, ParseFailed
from sallyport.sql.names import Names
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Classified, Statement
from sallyport.sql.verbs import VERBS

__all__ = ["VERBS", "Classifier"]

_TREES: Final = 256 * 1024
"""Characters of text whose trees are kept (a tree takes about 100 times as much)."""
_LARGEST_TREE: Final = 64 * 1024
_TEXTS: Final = 4 * 1024 * 1024
"""Characters of text whose classifications are kept."""
_SHAPES: Final = 4 * 1024 * 1024
"""Bytes of trees without constants that are kept."""
_ENTRIES: Final = 20_000
_PREPARED: Final = 4 * 1024 * 1024
"""Characters of large texts whose trees wait for their `classify`."""

_Parse = tuple[Parsed, ...] | ParseFailed
_Key = tuple[str, str, tuple[object, ...]]
_Shape = tuple[bytes, str, tuple[object, ...]]


class Classifier:
    """What a text does, in the words of policies. One a worker.

    `prepare` may be called from another thread, with a deep stack; everything else is the loop's.
    """

    def __init__(self) -> None:
        self._trees: OrderedDict[str, tuple[Parsed, ...]] = OrderedDict()
        self._tree_size = 0
        self._known: OrderedDict[_Key, Classified] = OrderedDict()
        self._known_size = 0
        self._shapes: OrderedDict[_Shape, Statement] = OrderedDict()
        self._shape_size = 0
        self._prepared: OrderedDict[str, tuple[_Parse, tuple[bytes, ...]]] = OrderedDict()
        self._prepared_size = 0
        self._recalled = False
        self._lock = threading.Lock()

    def classify(
        self, text: str, state: SessionState, catalogue: CatalogueSnapshot | None
    ) -> Classified:
        """Return the statements of `text`, each as its predecessors leave the session."""
        key = (text, "" if catalogue is None else catalogue.epoch, state.names_key)
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        self._recalled = False
        classified = self._classify(text, state, catalogue)
        if classified.needs != "catalogue":
            self._forget_prepared(text)
        if not classified.needs and not classified.error and not self._recalled:
            self._remember(key, classified)
        return classified

    def prepare(self, text: str) -> None:
        """Parse a large text ahead, for the next `classify` of it that needs no newer catalogue."""
        parsed: _Parse
        fingerprints: tuple[bytes, ...] = ()
        try:
            parsed = grammar.parse_deeply(text)
            fingerprints = tuple(grammar.fingerprint(each.text) for each in parsed)
        except ParseFailed as failed:
            parsed = failed
        with self._lock:
            if text not in self._prepared:
                self._prepared_size += len(text)
            self._prepared[text] = (parsed, fingerprints)
            while self._prepared_size > _PREPARED and len(self._prepared) > 1:
                dropped, _ = self._prepared.popitem(last=False)
                self._prepared_size -= len(dropped)

    def _classify(
        self, text: str, state: SessionState, catalogue: CatalogueSnapshot | None
    ) -> Classified:
        if not (state.scope.strings and state.scope.utf8):
            return _failed(text, state, "the session's settings change how texts are read")
        shape: _Shape | None = None
        try:
            shape, known = self._alike(text, state, catalogue)
            if known is not None:
                return Classified((known,))
            parsed, fingerprints = self._parse(text)
        except ParseFailed as failed:
            needs = "parse" if failed.too_large else ""
            return _failed(text, state, failed.message, needs)
        if not parsed:
            return Classified((_empty(text, state),))
        statements: list[Statement] = []
        for position, each in enumerate(parsed):
            fingerprint = fingerprints[position] if fingerprints else grammar.fingerprint(each.text)
            statement = classify(each, Names(state, catalogue), self._recall, fingerprint)
            if len(parsed) > 1:
                statement = _several(statement)
            statements.append(statement)
            state = state.after(statement)
        if shape is not None and len(statements) == 1 and statements[0].shared:
            self._remember_shape(shape, statements[0])
        unsure = any(statement.unresolved or statement.doubtful for statement in statements)
        return Classified(tuple(statements), needs="catalogue" if unsure else "")

    def _alike(
        self, text: str, state: SessionState, catalogue: CatalogueSnapshot | None
    ) -> tuple[_Shape | None, Statement | None]:
        """Return the shape of a short text, and the statement if one of that shape is known."""
        if text in self._prepared or text in self._trees or len(text) > grammar.SHALLOW_BYTES:
            return None, None
        found = grammar.read(text)
        cut = found.shape()
        if cut is None:
            self._keep(text, found.statements())
            return None, None
        shape = (cut[0], "" if catalogue is None else catalogue.epoch, state.names_key)
        known = self._shapes.get(shape)
        if known is None:
            self._keep(text, found.statements())
            return shape, None
        self._shapes.move_to_end(shape)
        return shape, structs.replace(known, text=cut[1])

    def _remember_shape(self, shape: _Shape, statement: Statement) -> None:
        if shape in self._shapes or statement.unresolved or statement.doubtful:
            return
        self._shapes[shape] = statement
        self._shape_size += len(shape[0])
        while self._shape_size > _SHAPES:
            dropped, _ = self._shapes.popitem(last=False)
            self._shape_size -= len(dropped[0])

    def _parse(self, text: str) -> tuple[tuple[Parsed, ...], tuple[bytes, ...]]:
        with self._lock:
            ready = self._prepared.get(text)
        if ready is not None:
            parsed, fingerprints = ready
            if isinstance(parsed, ParseFailed):
                raise ParseFailed(parsed.message)
            for each in parsed:
                if tree.tag(each.node) in ("PrepareStmt", "DeclareCursorStmt"):
                    self._keep(each.text, (each,))  # for the EXECUTE or FETCH that will come
            return parsed, fingerprints
        return self._again(text), ()

    def _forget_prepared(self, text: str) -> None:
        with self._lock:
            if self._prepared.pop(text, None) is not None:
                self._prepared_size -= len(text)

    def _keep(self, text: str, parsed: tuple[Parsed, ...]) -> None:
        if text in self._trees or len(text) > _LARGEST_TREE:
            return
        self._trees[text] = parsed
        self._tree_size += len(text)
        while self._tree_size > _TREES:
            dropped, _ = self._trees.popitem(last=False)
            self._tree_size -= len(dropped)

    def _recall(self, text: str) -> tuple[Parsed, ...]:
        """Parse what the session prepared before: then the answer holds for this session alone."""
        self._recalled = True
        return self._again(text)

    def _again(self, text: str) -> tuple[Parsed, ...]:
        known = self._trees.get(text)
        if known is not None:
            self._trees.move_to_end(text)
            return known
        parsed = grammar.parse(text)
        self._keep(text, parsed)
        return parsed

    def _remember(self, key: _Key, classified: Classified) -> None:
        self._known[key] = classified
        self._known_size += len(key[0])
        while self._known_size > _TEXTS or len(self._known) > _ENTRIES:
            dropped, _ = self._known.popitem(last=False)
            self._known_size -= len(dropped[0])


def _failed(text: str, state: SessionState, message: str, needs: str = "") -> Classified:
    statement = unknown(text, Names(state, None), grammar.digest(text))
    return Classified((statement,), needs=needs, error=message)


def _empty(text: str, state: SessionState) -> Statement:
    return Statement(
        text=text,
        verb="empty",
        effect=Effect.READ,
        resources=(Resource("database", state.database, Effect.READ),),
        facts=frozenset(),
        fingerprint=b"",
    )


def _several(statement: Statement) -> Statement:
    return structs.replace(statement, facts=statement.facts | {"multi-statement"})
