"""The development issuer: what a configuration with one must be, so that nobody is let in by it.

`sallyport demo` brings an issuer that asks for no password. A file that names it is easily copied.
FAILS CLOSED: by its preset or by its address, it is refused unless the demo itself started this
process, and even then it counts only while nothing but this machine reaches the gateway.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, urlsplit

from sallyport.config.issuers import Issuer
from sallyport.config.models import Config
from sallyport.config.problems import Problem, shown
from sallyport.config.types import Address
from sallyport.config.yaml import Key
from sallyport.identity.presets import DEVELOPMENT

SEGMENT: Final = "development-issuer"
"""The last part of its address, whatever the port."""

VARIABLE: Final = "SALLYPORT_DEMO"
"""Says that the demo started this process, when it is `1`."""


def is_development(issuer: Issuer) -> bool:
    """Whether this is the demo's issuer: by its preset, its address, or that of its keys."""
    urls = (issuer.issuer, issuer.jwks or "")
    return issuer.preset == DEVELOPMENT or any(_names_it(url) for url in urls)


def check_development(config: Config) -> Iterator[Problem]:
    """Yield why a development issuer is not taken, at each that is there."""
    found = [index for index, one in enumerate(config.issuers) if is_development(one)]
    demo = os.environ.get(VARIABLE) == "1"
    for index in found:
        issuer, path = config.issuers[index], ("issuers", index)
        if not demo:
            key = "preset" if issuer.preset == DEVELOPMENT else "issuer"
            yield (
                (*path, key),
                f"issuer `{issuer.name}` is the development issuer of `sallyport demo`, which asks "
                "for no password: it is refused outside the demo. Name a provider of your own",
            )
            continue
        for name, url in (("issuer", issuer.issuer), ("jwks", issuer.jwks)):
            if url and not _on_loopback(url):
                yield (*path, name), f"expected loopback of a development issuer, not {shown(url)}"
    if found and demo:
        yield from _reached_from_elsewhere(config)


def _reached_from_elsewhere(config: Config) -> Iterator[Problem]:
    places: list[tuple[Key, Address | None]] = [(("api", "address"), config.api.address)]
    for index, listener in enumerate(config.listeners):
        places.append((("listeners", index, "address"), listener.address))
        places.append((("listeners", index, "public"), listener.public))
    url = config.api.url
    if url is not None and not _on_loopback(url):
        yield ("api", "url"), f"expected loopback beside a development issuer, not {shown(url)}"
    for path, address in places:
        if address is not None and not address.is_local:
            yield path, f"expected loopback beside a development issuer, not `{address}`"


def _names_it(url: str) -> bool:
    """Whether it is a part of the path, in any spelling: rather too much is refused."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return True
    return SEGMENT in unquote(path).lower().split("/")


def _on_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.username is None and Address(host=parts.hostname or "").is_local
    except ValueError:
        return False
