"""Writer: appends whole frames to one journal file that it alone holds.

The file is made under a temporary name, locked, given its header and renamed: whoever sees it sees
it locked, so a journal without a lock and without an end is one whose process died. A file is
never opened for writing again.
"""

from __future__ import annotations

import errno
import fcntl
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from pathlib import Path

from sallyport.recording.files import Header, sync_folder


class Writer:
    """One open journal file. `size` counts what was written, all of it whole frames."""

    def __init__(self, path: Path, header: Header, relieve: Callable[[], bool]) -> None:
        """Make the file. Raises: OSError; also if it is there already."""
        self.path = path
        self.size = 0
        self._relieve = relieve
        self._hidden = path.with_name(f".{path.name}.new")
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._hidden.unlink(missing_ok=True)
        self.fd = os.open(self._hidden, flags, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.append(header.raw(), ())
        except BaseException:
            self.discard()
            raise

    def publish(self) -> None:
        """Give the file its name. FAILS CLOSED: FileExistsError rather than replacing another."""
        os.link(self._hidden, self.path)
        self._hidden.unlink()

    def discard(self) -> None:
        """Close a file that was never published and remove it."""
        os.close(self.fd)
        self._hidden.unlink(missing_ok=True)

    def append(self, data: bytes, ends: Sequence[int]) -> None:
        """Write `data` whole. `ends` are the offsets in it at which its frames end, ascending.

        When the disk is full the reserve is given back once. Raises: OSError, after the file was
        cut back to the last whole frame that reached it; nothing may be appended after that.
        """
        done = 0
        try:
            done = self._write(data)
            while done < len(data):
                done += self._write(memoryview(data)[done:])
        except OSError:
            whole = bisect_right(ends, done)
            self._cut(self.size + (ends[whole - 1] if whole else 0))
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Make what was written durable. Raises: OSError, after which nothing is known to be."""
        os.fdatasync(self.fd)

    def sync_name(self) -> None:
        """Make the file's name durable."""
        sync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file and give up its lock."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def _write(self, data: bytes | memoryview) -> int:
        while True:
            try:
                count = os.write(self.fd, data)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT) and self._relieve():
                    continue
                raise
            if count == 0:
                raise OSError(errno.EIO, "write returned 0")
            return count

    def _cut(self, size: int) -> None:
        try:
            os.ftruncate(self.fd, size)
        except OSError:
            return
        self.size = size


def alive(fd: int) -> bool:
    """Whether a process holds the journal file `fd` for writing."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False
