"""The scalar types of the configuration: durations, sizes, addresses, paths, secret references."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema

_DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d|w)", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9.])?", re.ASCII)


def parse_duration(value: object) -> float:
    """Return the seconds of `5m`. Raises: ValueError; a number without its unit is refused."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a duration such as `30s`, `5m`, `8h` or `90d`")
    return int(match[1]) * _SECONDS[match[2]]


def parse_size(value: object) -> int:
    """Return the bytes of `1MiB`. Raises: ValueError; a number without its unit is refused."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("expected a size such as `512KiB`, `1MiB` or `10GiB`")
    return int(match[1]) * _BYTES[match[2]]


def folder_of(info: ValidationInfo) -> Path:
    """Return the folder that relative paths start from: the configuration file's own."""
    context: object = info.context
    folder = context.get("folder") if isinstance(context, dict) else None
    return folder if isinstance(folder, Path) else Path.cwd()


def _path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("expected a path")
    return (folder_of(info) / Path(value).expanduser()).resolve()


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to dial: `host` and `port`, or the `path` of a Unix socket.

    A target's `/folder:5432` has both: the socket's folder as `path`, and its port.
    """

    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether nothing that is sent there leaves this machine."""
        if self.path is not None or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.path is not None:
            return f"{self.path}:{self.port}" if self.port else str(self.path)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _host(text: str) -> str:
    if text.startswith("[") and text.endswith("]"):
        return str(ipaddress.IPv6Address(text[1:-1]))
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        return str(ipaddress.IPv4Address(text))
    if _HOST.fullmatch(text) is None:
        raise ValueError(text)
    return text


def _address(value: object, info: ValidationInfo) -> Address:
    wrong = "expected `host:port`, `[ipv6]:port` or the path of a Unix socket"
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError(wrong)
    if value.startswith(("/", "./", "../", "~/")):
        folder, colon, digits = value.rpartition(":")
        if colon and re.fullmatch(r"[0-9]{1,5}", digits, re.ASCII):
            if int(digits) > 65535:
                raise ValueError(wrong)
            return Address(path=_path(folder, info), port=int(digits))
        return Address(path=_path(value, info))
    host, _, digits = value.rpartition(":")
    if re.fullmatch(r"[0-9]{1,5}", digits, re.ASCII) is None or int(digits) > 65535:
        raise ValueError(wrong)
    try:
        return Address(host=_host(host), port=int(digits))
    except ValueError:
        raise ValueError(wrong) from None


@dataclasses.dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is kept, never the secret: `env:NAME`, `file:PATH` or `vault:NAME`.

    `name` of a file is its absolute path.
    """

    scheme: str
    name: str

    @property
    def path(self) -> Path:
        """The file of a `file:` reference. Raises: ValueError for another scheme."""
        if self.scheme != "file":
            raise ValueError(f"`{self}` is not a file")
        return Path(self.name)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


_NAMES: Final = {
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII),
    "vault": re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII),
}


def parse_secret_reference(value: object, info: ValidationInfo) -> SecretReference:
    """Return the reference. Raises: ValueError that never repeats the value: it may be a secret."""
    if isinstance(value, SecretReference):
        return value
    scheme, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if colon and scheme == "file" and name:
        return SecretReference("file", str(_path(name, info)))
    if colon and scheme in _NAMES and _NAMES[scheme].fullmatch(name):
        return SecretReference(scheme, name)
    raise ValueError("expected a reference to a secret: `env:NAME`, `file:PATH` or `vault:NAME`")


_WORD = r"[\x21\x23-\x5b\x5d-\x7e]+"
_SCOPE = re.compile(rf"{_WORD}(?: {_WORD})*", re.ASCII)


def is_scope(text: str) -> bool:
    """Whether `text` is an OAuth scope (RFC 6749, section 3.3): words, split by blanks."""
    return len(text) <= 256 and _SCOPE.fullmatch(text) is not None


def parse_scope(value: object) -> str:
    """Return an OAuth scope. Raises: ValueError."""
    if isinstance(value, str) and is_scope(value):
        return value
    raise ValueError("expected a scope such as `openid` or `openid groups`")


def sequence(value: Any) -> Any:
    """Take a YAML list where a tuple is meant: models are frozen, all the way down."""
    return tuple(value) if isinstance(value, list) else value


def _text(description: str, example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description, "examples": [example]})


Duration = Annotated[float, BeforeValidator(parse_duration), _text("a duration", "5m")]
Size = Annotated[int, BeforeValidator(parse_size), _text("a size", "1MiB")]
FilePath = Annotated[Path, BeforeValidator(_path), _text("a path", "./state")]
Where = Annotated[
    Address,
    BeforeValidator(_address),
    PlainSerializer(str),
    _text("`host:port`, or the path of a Unix socket", "127.0.0.1:6432"),
]
Reference = Annotated[
    SecretReference,
    BeforeValidator(parse_secret_reference),
    PlainSerializer(str),
    _text("a reference to a secret", "vault:shop-app"),
]
Scope = Annotated[str, BeforeValidator(parse_scope), _text("text", "openid groups")]
Names = Annotated[tuple[str, ...], BeforeValidator(sequence)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
