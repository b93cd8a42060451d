"""The configuration as the app loads it: with the words of all installed protocols."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from sallyport.config import Config, Vocabularies, Vocabulary
from sallyport.config.loader import load_bytes, read_raw
from sallyport.masking.detectors import NAMES as DETECTORS
from sallyport.protocols import registry
from sallyport.protocols.base import TOKEN_ALONE
from sallyport.recording.files import write_whole


def vocabularies() -> Vocabularies:
    """Return what rules may speak of."""
    return Vocabularies(
        {
            name: Vocabulary(
                plugin.verbs,
                plugin.facts,
                plugin.kinds,
                plugin.qualified,
                getattr(plugin, "mechanisms", TOKEN_ALONE),
                getattr(plugin, "settings", None),
            )
            for name, plugin in registry.load(registry.known()).items()
        },
        DETECTORS,
    )


class Source(Struct, frozen=True):
    """Where processes have their configuration from: the operator's `file`, and what is in force.

    The operator's file counts when the gateway starts and when it is told to reload, and at no
    other time: a process that died in between comes back with the text in force (`kept`), so that
    no typing error becomes an outage, and no change comes into force by a crash.
    """

    file: Path
    kept: Path

    def read(self) -> tuple[Config, bytes]:
        """Check the operator's file; return it with its text. Raises: ConfigError."""
        raw = read_raw(self.file)
        return check_raw(raw, self.file), raw

    def read_in_force(self) -> Config:
        """Return what the gateway runs by. Raises: ConfigError."""
        return check_raw(read_raw(self.kept), self.file)

    def keep(self, raw: bytes) -> None:
        """Put a checked text in force for processes that start from now on. Raises: OSError."""
        write_whole(self.kept, raw)


def read_config(path: Path) -> Config:
    """Load and check the file at `path`. Raises: ConfigError."""
    return check_raw(read_raw(path), path)


def read_text(text: str, like: Path) -> Config:
    """Check a configuration's text as if it stood at `like`. Raises: ConfigError."""
    return load_bytes(
        text.encode(), file=like.name, folder=like.resolve().parent, vocabularies=vocabularies()
    )


def check_raw(raw: bytes, path: Path) -> Config:
    """Check a text that stands in the file at `path`. Raises: ConfigError."""
    return load_bytes(
        raw, file=str(path), folder=path.resolve().parent, vocabularies=vocabularies()
    )
