"""The configuration as the app loads it: with the words of all installed protocols."""

from __future__ import annotations

from pathlib import Path

from sallyport.config import Config, Vocabularies, Vocabulary, load
from sallyport.config.loader import load_bytes
from sallyport.masking.detectors import NAMES as DETECTORS
from sallyport.protocols import registry


def vocabularies() -> Vocabularies:
    """Return what rules may speak of."""
    return Vocabularies(
        {
            name: Vocabulary(plugin.verbs, plugin.facts, plugin.kinds, plugin.qualified)
            for name, plugin in registry.load(registry.known()).items()
        },
        DETECTORS,
    )


def read_config(path: Path) -> Config:
    """Load and check the file at `path`. Raises: ConfigError."""
    return load(path, vocabularies=vocabularies())


def read_text(text: str, like: Path) -> Config:
    """Check a configuration's text as if it stood at `like`. Raises: ConfigError."""
    folder = like.resolve().parent
    return load_bytes(text.encode(), file=like.name, folder=folder, vocabularies=vocabularies())
