"""Checking the text of a configuration in a process of its own, which makes way for every other.

Putting tens of thousands of mistakes into words holds the interpreter for parts of a second, and
longer on a busy machine; control would be silent for its workers, which then end every session. The
process reads the text on its standard input, and writes what is wrong as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Final

import msgspec

from sallyport.app.configuration import read_text
from sallyport.config.problems import ConfigErrors
from sallyport.core.errors import ConfigError
from sallyport.web.services import PolicyProblem

MAXIMUM_PROBLEMS: Final = 100
"""Errors of one configuration that are told; the rest is counted."""

LONGEST: Final = 60.0
"""Seconds that one check may take."""

_NICENESS: Final = 10
_BEGIN: Final = f"""\
import os
os.nice({_NICENESS})  # before so much is imported
from sallyport.app.checking import main
main()
"""


async def find_problems(text: str, like: Path) -> list[PolicyProblem]:
    """Return what is wrong with a configuration as if it stood at `like`.

    No more than anybody reads is told. Raises: ConfigError when it cannot be found out.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", _BEGIN, str(like),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LONGEST):
            told, _ = await process.communicate(text.encode())
    except TimeoutError:
        raise ConfigError(f"its check takes longer than {LONGEST:g} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    try:
        return msgspec.json.decode(told, type=list[PolicyProblem])
    except msgspec.DecodeError:
        raise ConfigError("it cannot be checked: the process that does has failed") from None


def problems_in(text: str, like: Path) -> list[PolicyProblem]:
    """Return what is wrong, here."""
    try:
        read_text(text, like)
    except ConfigErrors as errors:
        told = [PolicyProblem(one.message, one.line) for one in errors.errors[:MAXIMUM_PROBLEMS]]
        more = len(errors.errors) - len(told)
        return [*told, PolicyProblem(f"and {more} more")] if more else told
    except ConfigError as error:
        return [PolicyProblem(error.message, error.line)]
    return []


def main() -> None:
    """Check what comes on the standard input, at the place that the argument names."""
    text = sys.stdin.buffer.read().decode()
    sys.stdout.buffer.write(msgspec.json.encode(problems_in(text, Path(sys.argv[1]))))
