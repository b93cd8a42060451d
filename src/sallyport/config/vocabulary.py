"""The closed sets that rules may speak of, given by whoever knows the protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct


class Vocabulary(Struct, frozen=True):
    """One protocol's words. `qualified`: kinds whose names are `schema.name`; `mechanisms`: the
    ways of logging in that it speaks; `settings`: the shape of a target's own, where it says."""

    verbs: frozenset[str]
    facts: frozenset[str]
    kinds: frozenset[str]
    qualified: frozenset[str] = frozenset()
    mechanisms: frozenset[str] = frozenset({"token"})
    settings: type | None = None


class Vocabularies(Struct, frozen=True):
    """All protocols that are installed, by name, and the names of content detectors."""

    protocols: Mapping[str, Vocabulary]
    detectors: frozenset[str]

    def joined(self, protocols: Iterable[str] | None = None) -> Vocabulary:
        """Return the words of these protocols together, of all by default."""
        names = self.protocols if protocols is None else protocols
        chosen = [self.protocols[name] for name in names if name in self.protocols]
        return Vocabulary(
            verbs=frozenset().union(*(words.verbs for words in chosen)),
            facts=frozenset().union(*(words.facts for words in chosen)),
            kinds=frozenset().union(*(words.kinds for words in chosen)),
            qualified=frozenset().union(*(words.qualified for words in chosen)),
        )
