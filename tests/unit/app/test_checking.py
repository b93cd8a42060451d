"""A configuration is checked in a process of its own, as if it stood where the gateway's stands."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sallyport import demo
from sallyport.app import checking
from sallyport.app.checking import MAXIMUM_PROBLEMS, find_problems
from sallyport.core.errors import ConfigError

DEMO = Path(demo.__file__).with_name("sallyport.yaml")


async def test_mistakes_come_back_with_their_lines(tmp_path: Path) -> None:
    text = f"{DEMO.read_text()}\nnonsense: 1\n"
    problems = await find_problems(text, tmp_path / "sallyport.yaml")
    assert [each.line for each in problems if "nonsense" in each.message] == [text.count("\n")]
    good = await find_problems(DEMO.read_text(), tmp_path / "sallyport.yaml")
    assert len(good) == len(problems) - 1


async def test_no_more_is_told_than_anybody_reads(tmp_path: Path) -> None:
    text = "".join(f"k{number:04}: 1\n" for number in range(3 * MAXIMUM_PROBLEMS))
    problems = await find_problems(text, tmp_path / "sallyport.yaml")
    assert len(problems) == MAXIMUM_PROBLEMS + 1
    assert problems[-1].message.endswith(" more") and problems[-1].line is None


@pytest.mark.parametrize("text", ["", "\0", "[" * 5000, "a: &a [*a]", "\ud7ff\u0085{"])
async def test_what_is_no_configuration_is_a_problem_too(text: str, tmp_path: Path) -> None:
    assert await find_problems(text, tmp_path / "sallyport.yaml")


async def test_a_check_that_does_not_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def noted(*arguments: str, **options: int) -> asyncio.subprocess.Process:
        started.append(await start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(checking, "LONGEST", 0.0)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    with pytest.raises(ConfigError, match="takes longer"):
        await find_problems("version: 1\n", tmp_path / "sallyport.yaml")
    assert [process.returncode for process in started] == [-9]


async def test_a_process_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_BEGIN", "import sallyport.app.nothing")
    with pytest.raises(ConfigError, match="has failed"):
        await find_problems("version: 1\n", tmp_path / "sallyport.yaml")


async def test_nothing_is_imported_from_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write there would be the gateway."""
    (tmp_path / "msgspec.py").write_text("raise SystemExit(7)\n")
    monkeypatch.chdir(tmp_path)
    assert await find_problems("version: 1\n", tmp_path / "sallyport.yaml")
