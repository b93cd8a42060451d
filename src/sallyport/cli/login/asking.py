"""Asking an issuer from the command line: what goes wrong there is the command's error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sallyport.cli.errors import REFUSED, UNREACHABLE, CommandError
from sallyport.identity.relying.errors import ProviderError
from sallyport.identity.relying.provider import Web


@contextlib.contextmanager
def asking(issuer: str, ca: str) -> Iterator[Web]:
    """Ask an issuer that `ca` vouches for, and close its connections. Raises: CommandError."""
    try:
        web = Web(issuer, ca=ca)
        try:
            yield web
        finally:
            web.close()
    except ProviderError as error:
        code = UNREACHABLE if error.unreachable else REFUSED
        raise CommandError(error.message, hint=error.hint, code=code) from None
