"""Where things stand in the state folder. All of it is for the gateway's account alone."""

from __future__ import annotations

from pathlib import Path

from sallyport.control.control import SOCKET


class Folders:
    """The paths inside one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.link = state / SOCKET
        self.recording = state / "recording"
        self.in_force = state / "configuration.yaml"

    def make(self) -> None:
        """Make the folders, 0700."""
        for folder in (self.state, self.recording):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
