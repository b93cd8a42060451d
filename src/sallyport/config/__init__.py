"""Configuration: one YAML file, strict, every error with its file, line and what was expected."""

from sallyport.config.models import Config
from sallyport.config.types import Address, SecretReference

__all__ = ["Address", "Config", "SecretReference"]
