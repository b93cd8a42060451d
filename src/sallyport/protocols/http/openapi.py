"""OpenAPI: the path templates of an API's own description (OpenAPI 3, section 4.8.8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a description."""
_MOST: Final = 20_000
"""Paths of one."""
_known: dict[tuple[str, int, int], tuple[str, ...]] = {}


def templates_of(file: str) -> tuple[str, ...]:
    """Return the templates of a description in JSON or YAML, below each server's own path.

    Raises: ValueError, with what is wrong with the file.
    """
    path = Path(file)
    if not path.is_absolute():
        raise ValueError(f"expected `openapi` to be an absolute path, not `{file}`")
    try:
        state = path.stat()
        key = (file, state.st_mtime_ns, state.st_size)
        if key not in _known:
            if state.st_size > LARGEST:
                raise ValueError(f"`{file}` is larger than 16 MiB")
            _known[key] = _read(path.read_bytes(), file)
        return _known[key]
    except OSError as error:
        raise ValueError(f"`{file}` cannot be read: {(error.strerror or '').lower()}") from None


def _read(data: bytes, file: str) -> tuple[str, ...]:
    try:
        described = (
            msgspec.json.decode(data)
            if data.lstrip()[:1] == b"{"
            else YAML(typ="safe", pure=True).load(data)
        )
    except (msgspec.MsgspecError, YAMLError, ValueError, RecursionError):
        raise ValueError(f"`{file}` is neither JSON nor YAML") from None
    paths = described.get("paths") if isinstance(described, dict) else None
    if not isinstance(paths, dict) or not all(isinstance(path, str) for path in paths):
        raise ValueError(f"`{file}` describes no API: it has no `paths`")
    if len(paths) > _MOST:
        raise ValueError(f"`{file}` has more than {_MOST} paths")
    bases = dict.fromkeys(_bases(described))
    return tuple(f"{base}{path}" for base in bases for path in paths if path.startswith("/"))


def _bases(described: dict[str, Any]) -> list[str]:
    """Return what precedes the paths: Swagger 2's `basePath`, or the path of each server."""
    base = described.get("basePath")
    if isinstance(base, str):
        return [base.rstrip("/")]
    servers = described.get("servers")
    urls = [
        server["url"]
        for server in (servers if isinstance(servers, list) else [])
        if isinstance(server, dict) and isinstance(server.get("url"), str)
    ]
    return [urlsplit(url).path.rstrip("/") for url in urls] or [""]
