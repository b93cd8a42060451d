"""`sallyport serve`: check the configuration, hold the sockets, keep the processes running."""

from __future__ import annotations

import os
from pathlib import Path

from sallyport.app.configuration import Source, check_raw
from sallyport.app.folders import Folders
from sallyport.app.log import configure
from sallyport.config.loader import read_raw
from sallyport.supervisor import Part, Supervisor, bind, environment_descriptors, lock

WORKER = "worker-0"


def serve(path: Path) -> int:
    """Run the gateway until it is told to stop; return 0. Raises: ConfigError before it starts."""
    raw = read_raw(path)
    config = check_raw(raw, path)
    configure(config.logging, "supervisor")
    os.umask(0o077)
    folders = Folders(config.state)
    folders.make()
    held = lock(folders.state)
    try:
        source = Source(path, folders.in_force)
        source.keep(raw)
        api = bind(config.api.address)
        listeners = {listener.name: bind(listener.address) for listener in config.listeners}
        common = ["--config", str(path), "--in-force", str(source.kept)]
        sockets = environment_descriptors({n: s.fileno() for n, s in listeners.items()})
        api_socket = environment_descriptors({"api": api.fileno()})
        parts = [
            Part("control", ["control", *common, "--sockets", api_socket], [api]),
            Part(
                WORKER,
                ["worker", *common, "--name", WORKER, "--sockets", sockets],
                list(listeners.values()),
            ),
        ]
        return Supervisor(parts).run()
    finally:
        os.close(held)
