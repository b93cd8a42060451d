"""Where things stand in the state folder. All of it is for the gateway's account alone."""

from __future__ import annotations

from pathlib import Path

from sallyport.control.control import SOCKET
from sallyport.core.errors import ConfigError


class Folders:
    """The paths inside one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.link = state / SOCKET
        self.recording = state / "recording"
        self.in_force = state / "configuration.yaml"

    def make(self) -> None:
        """Make the folders, 0700. Raises: ConfigError when they cannot be this account's alone."""
        try:
            for folder in (self.state, self.recording):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder.chmod(0o700)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"cannot use the state folder `{self.state}`: {reason}") from None
