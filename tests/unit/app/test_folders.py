"""The state folder becomes the gateway's alone, and nobody else's folder does."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sallyport.app.folders import Folders
from sallyport.core.errors import ConfigError


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_a_folder_that_others_use_is_not_shut_before_them(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "somebody.txt").touch()
    shared.chmod(0o1777)
    with pytest.raises(ConfigError, match="holds other things and is open to others"):
        Folders(shared).make()
    assert mode(shared) == 0o1777
    assert not (shared / "recording").exists()


@pytest.mark.parametrize("holds", [None, "sallyport.db"])
def test_an_empty_folder_or_ones_own_is_made_private(tmp_path: Path, holds: str | None) -> None:
    own = tmp_path / "own"
    own.mkdir()
    if holds:
        (own / holds).touch()
    own.chmod(0o755)
    Folders(own).make()
    assert mode(own) == mode(own / "recording") == 0o700
