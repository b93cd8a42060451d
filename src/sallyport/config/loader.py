"""Loading: from a file to a `Config` that is whole and consistent, or to all that is wrong."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from sallyport.config.checks import check
from sallyport.config.models import Config
from sallyport.config.problems import problems_of, raise_problems
from sallyport.config.vocabulary import Vocabularies
from sallyport.config.yaml import MAXIMUM_BYTES, read_yaml
from sallyport.core.errors import ConfigError


def load(path: Path | str, *, vocabularies: Vocabularies) -> Config:
    """Read and check the file at `path`.

    Raises: ConfigError; as `ConfigErrors` with all of them, where more than one can be told.
    """
    path = Path(path)
    folder = path.resolve().parent
    return load_bytes(read_raw(path), file=str(path), folder=folder, vocabularies=vocabularies)


def read_raw(path: Path) -> bytes:
    """Return the text of a configuration file, no longer than one may be. Raises: ConfigError."""
    try:
        with path.open("rb") as file:
            return file.read(MAXIMUM_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot be read: {reason.lower()}", str(path)) from None


def load_bytes(raw: bytes, *, file: str, folder: Path, vocabularies: Vocabularies) -> Config:
    """Check a configuration's text; relative paths start from `folder`. Raises: ConfigError."""
    tree = read_yaml(raw, file)
    if not isinstance(tree.value, dict):
        raise ConfigError("expected a mapping", file, 1)
    try:
        config = Config.model_validate(tree.value, context={"folder": folder})
    except ValidationError as error:
        raise_problems(tree, problems_of(error, Config, tree.value))
        raise ConfigError("not a configuration", file, 1) from error
    raise_problems(tree, check(config, vocabularies))
    return config
