"""Configuration: one YAML file, strict, every error with its file, line and what was expected."""

from sallyport.config.loader import load, load_bytes
from sallyport.config.models import Config
from sallyport.config.problems import ConfigErrors
from sallyport.config.types import Address, SecretReference
from sallyport.config.vocabulary import Vocabularies, Vocabulary

__all__ = [
    "Address",
    "Config",
    "ConfigErrors",
    "SecretReference",
    "Vocabularies",
    "Vocabulary",
    "load",
    "load_bytes",
]
