"""Compiles the hot modules with mypyc: `python tools/compile_sources.py FOLDER`.

FOLDER becomes a copy of `src` in which each module of `COMPILED` has an extension beside its
source. The build hook (`hatch_build.py`) and `make test-compiled` use it. It needs a C compiler and
Python's headers; without it everything runs interpreted, and the same.

INVARIANT: no module here defines a msgspec Struct (mypyc drops a class's keywords, `frozen` among
them), walks what a client nests (compiled calls know no recursion limit), or takes a slice of bytes
that begins behind its end (compiled, it raises SystemError where it should be empty).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src"

_POSTGRES = """
    answers client_side codec copying exchange extended frames gatekeeping ledger messages names
    operations pending replies results target_side wire
    masks/copy_fields masks/copy_rows masks/hiding masks/rows
"""
_MASKING = """
    cells checks content detectors digits finders findings locate numbers patterns plan stream
    transforms types values words
    documents/events documents/fields documents/forms documents/json_search documents/json_stream
    documents/json_tokens documents/jsonpath documents/notation documents/terms documents/texts
    documents/values
"""
COMPILED = (
    *(f"sallyport/protocols/postgres/{name}.py" for name in _POSTGRES.split()),
    *(f"sallyport/masking/{name}.py" for name in _MASKING.split()),
    *(f"sallyport/session/{name}.py" for name in ("gate", "quota", "relay", "turn")),
    *(f"sallyport/recording/{name}.py" for name in ("grouping", "journal", "space", "writer")),
)

_SETUP = """
from mypyc.build import mypycify
from setuptools import setup

setup(
    name="sallyport-compiled",
    py_modules=[],
    ext_modules=mypycify({modules!r}, opt_level="2", debug_level="0"),
)
"""
_MYPY = """
[mypy]
strict = True
warn_unused_ignores = False
ignore_missing_imports = True

[mypy-postgast.*]
follow_imports = skip
"""


def compile_into(folder: Path) -> list[Path]:
    """Make `folder` the compiled copy; return its extensions. Raises: RuntimeError."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    (folder / "mypy.ini").write_text(_MYPY)
    (folder / "setup.py").write_text(_SETUP.format(modules=["--config-file=mypy.ini", *COMPILED]))
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"the sources cannot be compiled:\n{done.stdout}{done.stderr}")
    shutil.rmtree(folder / "build", ignore_errors=True)
    for made in ("mypy.ini", "setup.py"):
        (folder / made).unlink()
    return sorted(folder.rglob("*.so"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tools/compile_sources.py FOLDER")
    try:
        found = compile_into(Path(sys.argv[1]).resolve())
    except RuntimeError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{len(found)} extensions in {sys.argv[1]}\n")
