"""Settings: what a target of this protocol says of itself, beside its address and logins."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from sallyport.core.operation import Effect
from sallyport.protocols.http import grammar
from sallyport.protocols.http.openapi import templates_of
from sallyport.protocols.http.paths import Templates

_SIZE = re.compile(r"([0-9]{1,9})(B|KiB|MiB)", re.ASCII)
_TIME = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h|)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_SCALE = {"B": 1, "KiB": 1024, "MiB": 1024**2}
LARGEST_INSPECTION = 16 * 1024**2
"""Bytes of a body that can be looked at as a whole."""

Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class Inject(Struct, frozen=True, forbid_unknown_fields=True):
    """How the target's credential is presented.

    `as` is one of these. `bearer` and `basic` (with `user`; absent: the credential is
    `user:password`) go into Authorization, `header` (after `prefix`) and `query` under `name`,
    `certificate` (PEM, with its key) into the TLS handshake. `oauth2`: the credential is
    `client_id:client_secret`, for a token of `token_url` (RFC 6749, section 4.4). `none`: the
    target asks for none.
    """

    way: Literal["bearer", "basic", "header", "query", "certificate", "oauth2", "none"] = field(
        default="bearer", name="as"
    )
    name: str = ""
    user: str = ""
    prefix: str = ""
    token_url: str = ""
    scope: str = ""

    def __post_init__(self) -> None:
        if (self.way in ("header", "query")) != bool(self.name):
            raise ValueError("`name` is for `header` and `query`, which need it")
        if self.way == "header" and grammar.NAME.fullmatch(self.name.encode()) is None:
            raise ValueError(f"`{self.name}` is no header's name")
        if (self.way == "oauth2") != bool(self.token_url):
            raise ValueError("`token_url` is for `oauth2`, which needs it")
        if self.token_url and not self.token_url.startswith(("https://", "http://127.0.0.1:")):
            raise ValueError("expected `token_url` to be https")


class Override(Struct, frozen=True, forbid_unknown_fields=True):
    """Requests whose effect their method does not tell. `paths` are globs."""

    paths: tuple[Text, ...]
    effect: Effect
    methods: tuple[Text, ...] = ()


class HttpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """A target's `settings`.

    `host`: what it is called by (Host); absent: its address. `version`: 1.1, 2, or auto (by ALPN).
    `inspect`: how much of a request's body is looked at before it is decided. `templates`: paths
    such as `/users/{id}`; those of `openapi`, the file of an API's description, as well.
    `operations`: requests whose effect their method does not tell. `origins`: web origins whose
    pages may open WebSockets. `timeout`: how long the target has for its first byte (`60s`).
    `forwarded`: it is told where requests come from.
    """

    inject: Inject = Inject()
    host: str = ""
    version: str | float = "1.1"
    inspect: str = "1MiB"
    templates: tuple[Text, ...] = ()
    openapi: str = ""
    operations: tuple[Override, ...] = ()
    origins: tuple[Text, ...] = ()
    timeout: str | float = 300.0
    forwarded: bool = False

    def __post_init__(self) -> None:
        if self.host and grammar.AUTHORITY.fullmatch(self.host.encode()) is None:
            raise ValueError(f"expected `host` or `host:port`, not `{self.host}`")
        Templates(self.known_templates)
        _ = self.inspected, self.speaks, self.patience

    @property
    def known_templates(self) -> tuple[str, ...]:
        """All templates. Raises: ValueError."""
        return (*self.templates, *(templates_of(self.openapi) if self.openapi else ()))

    @property
    def speaks(self) -> str:
        """The version: `1.1`, `2` or `auto`. Raises: ValueError."""
        told = "2" if self.version in (2, "2") else str(self.version)
        if told not in ("1.1", "2", "auto"):
            raise ValueError(f"expected `version` to be `1.1`, `2` or `auto`, not `{told}`")
        return told

    @property
    def patience(self) -> float:
        """Seconds that the target has for its first byte. Raises: ValueError."""
        match = _TIME.fullmatch(str(self.timeout))
        seconds = float(match[1]) * _SECONDS[match[2]] if match is not None else 0.0
        if not 0 < seconds <= 86_400:
            raise ValueError("expected `timeout` to be a time of at most 24h, such as `60s`")
        return seconds

    @property
    def inspected(self) -> int:
        """Bytes of a body that are looked at. Raises: ValueError."""
        match = _SIZE.fullmatch(self.inspect)
        if match is None or (size := int(match[1]) * _SCALE[match[2]]) > LARGEST_INSPECTION:
            raise ValueError("expected `inspect` to be a size of at most 16MiB, such as `1MiB`")
        return size
