"""A hostile provider for each test."""

from __future__ import annotations

from tests.support.hostile import hostile, web

__all__ = ["hostile", "web"]
