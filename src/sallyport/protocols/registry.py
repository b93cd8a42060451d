"""Registry: protocols are found by their entry points (`sallyport.protocols`), ours too."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sallyport.core.errors import ConfigError
from sallyport.protocols.base import Plugin, Rendering

GROUP = "sallyport.protocols"
"""Entry points of plugins: name = protocol, value = a class that is made without arguments."""

RENDERINGS = "sallyport.renderings"
"""Entry points of renderings: name = protocol, value = a module or object with `render_rows`."""


def known() -> tuple[str, ...]:
    """Return the names of the protocols that are installed, sorted."""
    return tuple(sorted({found.name for found in entry_points(group=GROUP)}))


def load(names: Iterable[str]) -> dict[str, Plugin]:
    """Make one plugin of each named protocol.

    Raises: ConfigError for a protocol that is not installed, is installed twice, does not load, or
    does not keep the contract.
    """
    return {name: _make(name) for name in dict.fromkeys(names)}


def rendering(name: str) -> Rendering | None:
    """Return what makes text of recorded rows of this protocol; None where it has none."""
    found = [entry for entry in entry_points(group=RENDERINGS) if entry.name == name]
    if len(found) != 1:
        return None
    loaded: Any = _loaded(found[0])
    kept: Rendering | None = loaded if callable(getattr(loaded, "render_rows", None)) else None
    return kept


def _make(name: str) -> Plugin:
    found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
    if not found:
        installed = ", ".join(f"`{other}`" for other in known()) or "none"
        raise ConfigError(f"protocol `{name}` is not installed; installed: {installed}")
    if len({entry.value for entry in found}) > 1:
        raise ConfigError(f"protocol `{name}` is installed twice: which one serves is not clear")
    factory = _loaded(found[0])
    if not callable(factory):
        raise ConfigError(f"protocol `{name}`: `{found[0].value}` is no plugin")
    plugin: Any = factory()
    serves = callable(getattr(plugin, "serve", None)) and callable(getattr(plugin, "stale", None))
    verbs = getattr(plugin, "verbs", None)
    if getattr(plugin, "name", None) != name or not isinstance(verbs, frozenset) or not serves:
        raise ConfigError(f"protocol `{name}`: `{found[0].value}` does not keep the contract")
    kept: Plugin = plugin
    return kept


def _loaded(entry: EntryPoint) -> object:
    """Load what an entry point names. Raises: ConfigError."""
    try:
        loaded: object = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"protocol `{entry.name}` does not load: {error}") from error
    return loaded
