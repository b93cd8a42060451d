"""Countries: where a client's address is, by a database that the operator has (MaxMind DB format).

The file is read whole, so that putting a new one in its place changes nothing until a reload. It
tells where an address is registered, and no more: whoever has a host in a country, or a proxy, is
there too.
"""

from __future__ import annotations

import io
import itertools
from collections import OrderedDict
from pathlib import Path
from typing import Any, Final

import maxminddb
import structlog

from sallyport.core.errors import ConfigError
from sallyport.policy.conditions import RuleError
from sallyport.policy.matching import UNIX, address_of, country

MAXIMUM_SIZE: Final = 512 * 1024 * 1024
"""Bytes of a database."""

UNREADABLE: Final = "unreadable"
"""The country of a source that the database is broken for. No rule can name it."""

_KEPT: Final = 4096
_TRIED: Final = 2000
"""Networks that are looked at for a country before a database is said to hold none."""

_log = structlog.get_logger("countries")


class Countries:
    """One database; without one nothing is known of any source."""

    def __init__(self, path: Path | None) -> None:
        """Read it. Raises: ConfigError when it is none of countries."""
        self._known: OrderedDict[str, str] = OrderedDict()
        self._reader = None if path is None else _open(path)

    def of(self, source: str) -> str:
        """Return the country of an address (ISO 3166-1 alpha-2), or "": none is known.

        FAILS CLOSED: where the database is broken, it is one that no rule can name.
        """
        if self._reader is None or source == UNIX:
            return ""
        found = self._known.get(source)
        if found is None:
            found = self._look_up(self._reader, source)
            self._known[source] = found
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return found

    def _look_up(self, reader: maxminddb.Reader, source: str) -> str:
        try:
            address = address_of(source)
            if address.version == 6 and reader.metadata().ip_version == 4:
                return ""
            return country_of(reader.get(address))
        except RuleError:
            return UNREADABLE
        except Exception as error:  # whatever a broken file makes of its reader
            _log.error("country cannot be told", source=source, reason=type(error).__name__)
            return UNREADABLE


def country_of(record: Any) -> str:
    """Return the country in a record: MaxMind's and DB-IP's form, or IPinfo's."""
    if not isinstance(record, dict):
        return ""
    inner = record.get("country")
    code = inner.get("iso_code") if isinstance(inner, dict) else record.get("country_code", inner)
    try:
        return country(code) if isinstance(code, str) else ""
    except ValueError:
        return ""


def _open(path: Path) -> maxminddb.Reader:
    try:
        with path.open("rb") as file:
            text = file.read(MAXIMUM_SIZE + 1)
    except OSError as error:
        why = (error.strerror or "error").lower()
        raise ConfigError(f"origin.countries: cannot read `{path}`: {why}") from error
    if len(text) > MAXIMUM_SIZE:
        raise ConfigError(f"origin.countries: `{path}` has more than {MAXIMUM_SIZE} bytes")
    try:
        reader = maxminddb.open_database(io.BytesIO(text), maxminddb.MODE_FD)
        holds_countries = any(country_of(one) for _, one in itertools.islice(reader, _TRIED))
    except Exception as error:  # whatever a file that is none makes of its reader
        raise ConfigError(f"origin.countries: `{path}` is no MaxMind database") from error
    if not holds_countries:
        raise ConfigError(f"origin.countries: `{path}` holds no countries")
    return reader
