"""Write every generated page of `docs/` anew; `--check` only says whether they are in step."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parent
SCRIPTS = ("write_configuration_reference.py", "write_interface_reference.py")


def main() -> int:
    """Run every script; return 1 when one of them failed."""
    codes = [
        subprocess.run([sys.executable, TOOLS / script, *sys.argv[1:]], check=False).returncode  # noqa: S603
        for script in SCRIPTS
    ]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
