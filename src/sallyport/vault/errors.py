"""Errors of the vault."""

from __future__ import annotations

from sallyport.core.errors import SallyportError


class VaultError(SallyportError):
    """A secret cannot be had. The message names it and why, and never holds any of it."""
