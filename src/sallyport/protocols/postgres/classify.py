"""PostgreSQL text into statements, over two bounded caches."""

from __future__ import annotations

from sallyport.sql.catalogue import CatalogueSnapshot
from sallyport.sql.session import SessionState
from sallyport.sql.statement import Classified
from sallyport.sql.verbs import VERBS

__all__ = ["VERBS", "Classifier"]


class Classifier:
    """What a text does, in the words of policies. One a worker; not to be shared by threads.

    `prepare` may be called from another thread, with a deep stack; everything else is the loop's.
    """

    def classify(
        self, text: str, state: SessionState, catalogue: CatalogueSnapshot | None
    ) -> Classified:
        """Return the statements of `text`, each as its predecessors leave the session."""
        raise NotImplementedError

    def prepare(self, text: str) -> None:
        """Parse a large text ahead, for the next `classify` of it."""
        raise NotImplementedError
