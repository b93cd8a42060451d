"""Errors of the store."""

from __future__ import annotations

from sallyport.core.errors import SallyportError


class StoreError(SallyportError):
    """The store cannot be used as it is."""
