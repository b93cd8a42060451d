"""Where things stand in the state folder. All of it is for the gateway's account alone."""

from __future__ import annotations

from pathlib import Path

from sallyport.control.control import SOCKET, STORE
from sallyport.core.errors import ConfigError


class Folders:
    """The paths inside one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.link = state / SOCKET
        self.recording = state / "recording"
        self.in_force = state / "configuration.yaml"

    def make(self) -> None:
        """Make the folders, 0700. Raises: ConfigError when they cannot be this account's alone.

        FAILS CLOSED: a folder that others use already (`/tmp`, a home) is not shut before them.
        """
        try:
            if self.state.is_dir() and self._is_others():
                raise ConfigError(
                    f"the state folder `{self.state}` holds other things and is open to others: "
                    "name a folder of the gateway's own, or run `chmod 700` on this one"
                )
            for folder in (self.state, self.recording):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                folder.chmod(0o700)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ConfigError(f"cannot use the state folder `{self.state}`: {reason}") from None

    def _is_others(self) -> bool:
        """Whether the state folder is open to others and holds something, but no store."""
        if not self.state.stat().st_mode & 0o077 or (self.state / STORE).exists():
            return False
        return any(self.state.iterdir())
