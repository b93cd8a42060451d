"""The trail of what is done to the product itself: a step is on record before it is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sallyport.core.event import Audited


class Trail:
    """Puts steps of no session on record. `audit` takes them; when it raises, nothing is done."""

    def __init__(self, audit: Callable[[Audited], None], clock: Callable[[], float]) -> None:
        self._audit = audit
        self._clock = clock

    def note(
        self,
        actor: str,
        action: str,
        object_: str,
        details: dict[str, Any],
        actors: tuple[str, ...] = (),
    ) -> None:
        """Put on record that `actor`, by `actors`, does `action` to `object_`, now."""
        self._audit(Audited("", self._clock(), actor, action, object_, details, actors))
