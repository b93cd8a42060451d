"""The command line: it speaks to the API, but for `serve`, `check`, `demo` and `verify`.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the API cannot be reached, 130 Ctrl-C.
No stack trace reaches a user; `SALLYPORT_TRACE=1` is for those who write Sallyport.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code: the console script."""
    from sallyport.cli.errors import INTERRUPTED, REFUSED, CommandError

    try:
        from sallyport.cli.commands import app

        app(args=list(arguments) if arguments is not None else None, prog_name="sallyport")
        code: object = 0
    except CommandError as error:
        from sallyport.cli.output import fail

        fail(error.message, error.hint)
        code = error.code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as leaving:
        code = leaving.code
    except Exception as error:
        if os.environ.get("SALLYPORT_TRACE"):
            raise
        from sallyport.cli.output import fail

        fail(
            f"{type(error).__name__}: {error}",
            "this is a fault of sallyport itself: please report it with the command you ran",
        )
        code = REFUSED
    sys.exit(_flushed(code))


def _flushed(code: object) -> int:
    """Flush stdout; a reader that has gone (`| head`) is no failure."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
    except OSError as error:
        sys.stderr.write(f"error: cannot write the output: {(error.strerror or '').lower()}\n")
        return code if isinstance(code, int) and code else 1
    return code if isinstance(code, int) else (0 if code is None else 1)


def _silence_stdout() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
