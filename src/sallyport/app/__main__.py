"""`python -m sallyport.app PART ...`: one process of the gateway, started by the supervisor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sallyport.app.configuration import Source
from sallyport.supervisor import parse_descriptors


def main(arguments: list[str]) -> int:
    """Run one part; return its exit code."""
    parser = argparse.ArgumentParser(prog="sallyport.app")
    parser.add_argument("part", choices=["control", "worker"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--in-force", type=Path, required=True)
    parser.add_argument("--sockets", default="")
    parser.add_argument("--name", default="worker-0")
    given = parser.parse_args(arguments)
    sockets = parse_descriptors(given.sockets)
    source = Source(given.config, given.in_force)
    if given.part == "worker":
        from sallyport.app.worker import run_worker

        return run_worker(source, given.name, sockets)
    from sallyport.app.control import run_control

    return run_control(source, sockets["api"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
