"""How a login at a provider fails."""

from __future__ import annotations

from typing import Final

from sallyport.core.errors import SallyportError

MAXIMUM_ERROR: Final = 200
"""Characters of a provider's own words that are repeated."""


class ProviderError(SallyportError):
    """The provider answers what cannot be taken, or not at all (`unreachable`).

    The message may be shown to whoever logs in: it holds no token and no secret.
    """

    def __init__(self, message: str, *, hint: str = "", unreachable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.unreachable = unreachable


class OAuthError(ProviderError):
    """The provider said no. `error` is its word for it (RFC 6749, 5.2; RFC 8628, 3.5)."""

    def __init__(self, issuer: str, error: str, description: str) -> None:
        words = f"{error}: {description}" if description else error
        super().__init__(f"`{issuer}` refuses: {words[:MAXIMUM_ERROR]}")
        self.error = error
