"""Logins as they are kept: by their owner alone, whole, and nowhere that a link leads to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import msgspec
import pytest

from sallyport.cli.errors import CommandError
from sallyport.cli.login import kept
from sallyport.cli.login.kept import Login, Logins, default_folder, find_keyring, same_url

URL = "https://gateway.example"


class Ring:
    """A keyring."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, name: str) -> str | None:
        self._open()
        return self.held.get((service, name))

    def set_password(self, service: str, name: str, value: str) -> None:
        self._open()
        self.held[service, name] = value

    def delete_password(self, service: str, name: str) -> None:
        self._open()
        del self.held[service, name]

    def _open(self) -> None:
        if self.locked:
            raise RuntimeError("locked")


@pytest.fixture(autouse=True)
def _no_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALLYPORT_KEYRING", "off")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "logins"


def login(url: str = URL) -> Login:
    return Login(url, "corp", "https://i", "c", "ann", "ann", None, 1.0, 2.0, "sp_x", "refresh")


def test_what_is_kept_is_found_by_its_owner_alone(folder: Path) -> None:
    logins = Logins(folder)
    assert logins.find(URL) is None and logins.all() == []
    assert logins.keep(login()) == login()
    assert Logins(folder).find(f"{URL}:443/") == login()
    (file,) = folder.glob("*.json")
    assert file.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert [path for path in folder.iterdir() if path != file] == [], "nothing lies beside it"
    assert "sp_x" not in repr(login())
    logins.keep(msgspec.structs.replace(login(), token="sp_y"))
    assert Logins(folder).find(URL).token == "sp_y"
    logins.forget(URL)
    assert logins.find(URL) is None
    logins.forget(URL)


def test_a_login_that_was_kept_before_there_was_an_authority_is_found(folder: Path) -> None:
    logins = Logins(folder)
    logins.keep(login())
    (file,) = folder.glob("*.json")
    fields = msgspec.json.decode(file.read_bytes())
    del fields["ca"]
    file.write_bytes(msgspec.json.encode(fields))
    assert logins.find(URL) == login()
    told = msgspec.structs.replace(login(), ca="(a PEM)")
    logins.keep(told)
    assert logins.find(URL) == told


def test_logins_at_several_gateways(folder: Path) -> None:
    logins = Logins(folder)
    logins.keep(login())
    logins.keep(login("http://127.0.0.1:8642"))
    assert [one.url for one in logins.all()] == ["http://127.0.0.1:8642", URL]


def test_one_address_has_one_form() -> None:
    for url in ("https://Gateway.Example", "https://gateway.example:443", f"{URL}/"):
        assert same_url(url) == URL
    assert same_url("http://[::1]:8642/") == "http://[::1]:8642"
    assert same_url("https://a.example/x/") == "https://a.example/x"
    assert same_url("http://a.example:443") == "http://a.example:443"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_file_that_others_get_at_is_not_read(folder: Path, mode: int) -> None:
    logins = Logins(folder)
    logins.keep(login())
    (file,) = folder.glob("*.json")
    file.chmod(mode)
    with pytest.raises(CommandError, match="others can get at it") as why:
        logins.find(URL)
    assert why.value.hint == f"chmod 600 {file}"


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707, 0o722])
def test_a_folder_that_others_get_at_is_not_used(folder: Path, mode: int) -> None:
    logins = Logins(folder)
    logins.keep(login())
    folder.chmod(mode)
    for use in (lambda: logins.find(URL), lambda: logins.keep(login())):
        with pytest.raises(CommandError, match="others can get at it"):
            use()


def test_links_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    logins = Logins(folder)
    logins.keep(login())
    (file,) = folder.glob("*.json")
    elsewhere = tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    with pytest.raises(CommandError):
        logins.find(URL)
    before = elsewhere.read_bytes()
    logins.keep(msgspec.structs.replace(login(), token="sp_y"))
    assert elsewhere.read_bytes() == before, "the link was replaced, and not followed"
    assert not file.is_symlink() and logins.find(URL).token == "sp_y"
    lock = file.with_suffix(".lock")
    lock.symlink_to(tmp_path / "made")
    with pytest.raises(CommandError), logins.lock(URL):
        pass
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_a_link_is_not_used(folder: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir(mode=0o700)
    folder.parent.mkdir()
    folder.symlink_to(real)
    with pytest.raises(CommandError, match="a link"):
        Logins(folder).keep(login())
    assert list(real.iterdir()) == []


def test_what_is_no_login_is_told(folder: Path) -> None:
    logins = Logins(folder)
    logins.keep(login())
    (file,) = folder.glob("*.json")
    for text in (b"", b"{}", b"[]", b"\xff"):
        file.write_bytes(text)
        with pytest.raises(CommandError, match="holds no login"):
            logins.find(URL)
    file.unlink()
    os.mkfifo(file, 0o600)
    done = threading.Event()

    def read() -> None:
        with pytest.raises(CommandError):
            logins.find(URL)
        done.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert done.wait(5.0), "a pipe is not waited for"


def test_a_write_that_fails_leaves_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins = Logins(folder)
    logins.keep(login())

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "fsync", fail)
    with pytest.raises(CommandError, match="no space left"):
        logins.keep(msgspec.structs.replace(login(), token="sp_y"))
    assert logins.find(URL) == login()
    assert len(list(folder.iterdir())) == 1


def test_one_process_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logins = Logins(folder)
    script = (
        "import sys, time; from pathlib import Path; from sallyport.cli.login.kept import Logins\n"
        f"with Logins(Path({str(folder)!r})).lock({URL!r}): print('held', flush=True); "
        "sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"held\n"
    monkeypatch.setattr(kept, "PATIENCE", 0.2)
    with pytest.raises(CommandError, match="another command holds it"), logins.lock(URL):
        pass
    with logins.lock("https://other.example"):
        pass
    other.communicate(b"", timeout=20)
    monkeypatch.setattr(kept, "PATIENCE", 20.0)
    begun = time.monotonic()
    with logins.lock(URL):
        assert time.monotonic() - begun < 15


def test_a_keyring_keeps_what_is_secret(folder: Path) -> None:
    ring = Ring()
    logins = Logins(folder, ring)
    assert logins.keep(login()).kept == "keyring"
    (file,) = folder.glob("*.json")
    assert b"sp_x" not in file.read_bytes() and b"refresh" not in file.read_bytes().replace(
        b"refresh_token", b""
    )
    assert list(ring.held) == [("sallyport", URL)]
    found = Logins(folder, ring).find(URL)
    assert (found.token, found.refresh_token) == ("sp_x", "refresh")
    logins.forget(URL)
    assert not ring.held and logins.find(URL) is None


def test_a_keyring_that_is_locked_is_told_and_the_file_serves(folder: Path) -> None:
    ring = Ring()
    logins = Logins(folder, ring)
    logins.keep(login())
    ring.locked = True
    with pytest.raises(CommandError, match="keyring") as why:
        logins.find(URL)
    assert "sp_x" not in why.value.message
    assert logins.keep(login()).kept == "file"
    assert logins.find(URL).token == "sp_x"
    logins.forget(URL)


def test_a_keyring_that_is_away_is_told(folder: Path) -> None:
    Logins(folder, Ring()).keep(login())
    with pytest.raises(CommandError, match="which is away"):
        Logins(folder).find(URL)


def test_the_keyring_is_the_package_where_it_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_keyring() is None
    monkeypatch.delenv("SALLYPORT_KEYRING")
    for priority, usable in ((5, True), (0, False), ("locked", False)):
        module = ModuleType("keyring")
        backend = SimpleNamespace(priority=priority)
        monkeypatch.setattr(module, "get_keyring", lambda found=backend: found, raising=False)
        monkeypatch.setitem(sys.modules, "keyring", module)
        assert (find_keyring() is not None) is usable


def test_the_folder_is_where_xdg_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert default_folder() == tmp_path / ".local" / "state" / "sallyport" / "logins"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert default_folder() == tmp_path / ".local" / "state" / "sallyport" / "logins"
    monkeypatch.setenv("XDG_STATE_HOME", "/var/x")
    assert default_folder() == Path("/var/x/sallyport/logins")
