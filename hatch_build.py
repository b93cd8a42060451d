"""Build hook: `SALLYPORT_COMPILE=1 pip install .` compiles hot modules; else it is pure."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):
    """Adds mypyc's extensions to a wheel where the environment asks for it."""

    @property
    def wanted(self) -> bool:
        """Whether `SALLYPORT_COMPILE` is set, and this is a wheel."""
        return self.target_name == "wheel" and os.environ.get("SALLYPORT_COMPILE", "0") == "1"

    def dependencies(self) -> list[str]:
        """What compiling needs: mypyc, and all that the sources import, for its types."""
        if not self.wanted:
            return []
        return ["mypy[mypyc]>=1.16", "setuptools>=77", *self.metadata.core.dependencies]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a folder of its own, and name what came of it to the wheel."""
        if not self.wanted:
            return
        if version == "editable":
            raise RuntimeError("an editable install cannot be compiled")
        sys.path.insert(0, str(Path(self.root, "tools")))
        from compile_sources import compile_into

        self._folder = tempfile.TemporaryDirectory(prefix="sallyport-compiled-")
        folder = Path(self._folder.name, "src")
        for extension in compile_into(folder):
            build_data["force_include"][str(extension)] = str(extension.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the folder."""
        if self.wanted:
            self._folder.cleanup()
