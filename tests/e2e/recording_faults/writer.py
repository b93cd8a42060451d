"""A worker in small: writes numbered statements, says on stdout which are on record, how surely.

Usage: writer.py FOLDER COUNT [commit|flush] [PAUSE]. Lines: `flushed N`, `committed N`, `lost TEXT`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sallyport.core.errors import RecorderLost
from sallyport.recording.journal import Journal
from tests.support.recordings import KEY, decided, opened


def say(text: str) -> None:
    """Tell the test, by a call that is not among those in which faults are injected."""
    os.writev(1, [text.encode() + b"\n"])


async def main(folder: Path, count: int, how: str, key: bytes | None) -> int:
    """Write; return 3 when the recorder was lost."""
    try:
        journal = Journal(
            folder,
            "worker-1",
            key=key,
            file_bytes=20_000,
            reserve=int(os.environ.get("RESERVE", "0")),
        )
        say("ready")
        journal.record(opened("s-1"))
        for number in range(count):
            journal.record(decided("s-1", number, text=f"SELECT {number} -- " + "x" * 200))
            journal.flush()
            say(f"flushed {number}")
            if how == "commit":
                await journal.commit()
                say(f"committed {number}")
        await journal.close()
    except RecorderLost as error:
        say(f"lost {error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(
        asyncio.run(
            main(
                Path(sys.argv[1]),
                int(sys.argv[2]),
                sys.argv[3],
                KEY if os.environ.get("ENCRYPT") else None,
            )
        )
    )
