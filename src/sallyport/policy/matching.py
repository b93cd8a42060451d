"""Matchers of who, where and when, compiled. What is not given matches; what is given must all."""

from __future__ import annotations

import datetime
import ipaddress
import re
import zoneinfo
from typing import Final

from sallyport.core.globs import Globs
from sallyport.core.grant import Target
from sallyport.core.subject import Subject
from sallyport.policy import document
from sallyport.policy.conditions import RuleError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX: Final = "unix"
"""The source of a client on a Unix socket, in place of a network."""

UNKNOWN: Final = "unknown"
"""The country of a source that none is known of, as of one in a private network."""

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])", re.ASCII)


def globs(sources: tuple[str, ...] | None) -> Globs | None:
    """Compile the globs of one matcher; None matches everything. Raises: ValueError."""
    return Globs(sources) if sources is not None else None


class SubjectMatcher:
    """Who asks."""

    __slots__ = ("_claims", "_groups", "_names")

    def __init__(self, subjects: document.Subjects) -> None:
        self._names = globs(subjects.names)
        self._groups = globs(subjects.groups)
        self._claims = {
            name: (frozenset((type(v), v) for v in values), Globs(_texts(values)))
            for name, values in (subjects.claims or {}).items()
        }

    def why_not(self, subject: Subject) -> str:
        """Return what does not match, or nothing."""
        if self._names is not None and not self._names.matches(subject.name):
            return f"subject `{subject.name}` is not among its names"
        if self._groups is not None and not any(map(self._groups.matches, subject.groups)):
            return "subject is in none of its groups"
        for name, (values, patterns) in self._claims.items():
            given = subject.claims.get(name)
            listed = given if isinstance(given, list | tuple) else (given,)
            if not any(_claim(value, values, patterns) for value in listed):
                return f"claim `{name}` does not match"
        return ""


def _texts(values: tuple[document.ClaimValue, ...]) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str))


def _claim(
    value: object, values: frozenset[tuple[type, document.ClaimValue]], patterns: Globs
) -> bool:
    if isinstance(value, str):
        return patterns.matches(value)
    return isinstance(value, bool | int) and (type(value), value) in values


class TargetMatcher:
    """What is reached."""

    __slots__ = ("_labels", "_names")

    def __init__(self, targets: document.Targets) -> None:
        self._names = globs(targets.names)
        self._labels = {name: Globs((glob,)) for name, glob in (targets.labels or {}).items()}

    def why_not(self, target: Target) -> str:
        """Return what does not match, or nothing."""
        if self._names is not None and not self._names.matches(target.name):
            return f"target `{target.name}` is not among its targets"
        for name, pattern in self._labels.items():
            value = target.labels.get(name)
            if value is None or not pattern.matches(value):
                return f"target's label `{name}` does not match"
        return ""


class ContextMatcher:
    """When, from where, with what. `timed`: the answer changes as time goes by."""

    __slots__ = (
        "_applications", "_countries", "_days", "_hours", "_networks", "_unix", "_zone", "timed",
    )  # fmt: skip

    def __init__(self, context: document.ContextMatch) -> None:
        self._zone = _zone(context.timezone)
        self._hours = _hours(context.hours) if context.hours is not None else None
        self._days = frozenset(_day(day) for day in context.days)
        self._unix = UNIX in context.sources
        self._networks = tuple(network(s) for s in context.sources if s != UNIX)
        self._countries = frozenset(country(one) for one in context.countries)
        self._applications = Globs(context.applications) if context.applications else None
        self.timed = self._hours is not None or bool(self._days)

    def why_not(self, source: str, country: str, application: str) -> str:
        """Return what does not match of what stays, or nothing. Raises: RuleError."""
        if (self._networks or self._unix) and not self._from(source):
            return f"source `{source}` is in none of its networks"
        if self._countries and (country or UNKNOWN) not in self._countries:
            return f"country `{country or UNKNOWN}` is not among its countries"
        if self._applications is not None and not self._applications.matches(application):
            return f"application `{application}` is not among its applications"
        return ""

    def why_not_now(self, now: float) -> str:
        """Return what does not match of the time, or nothing. Raises: RuleError."""
        if not self.timed:
            return ""
        try:
            local = datetime.datetime.fromtimestamp(now, self._zone)
        except (ValueError, OverflowError, OSError) as error:
            raise RuleError(f"time `{now}` cannot be told") from error
        day = local.weekday()
        if self._hours is not None:
            minute = local.hour * 60 + local.minute
            first, last = self._hours
            if first < last:
                inside = first <= minute < last
            else:
                inside = minute >= first or minute < last
                day = (day - 1) % 7 if minute < last else day
            if not inside:
                return f"{local:%H:%M} is outside its hours"
        if self._days and day not in self._days:
            return f"{_DAYS[day]} is not among its days"
        return ""

    def _from(self, source: str) -> bool:
        if source == UNIX:
            return self._unix
        address = address_of(source)
        return any(address in network for network in self._networks)


def address_of(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the client's address, an IPv4 one for `::ffff:1.2.3.4`. Raises: RuleError."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError as error:
        raise RuleError(f"source `{source}` is no address") from error
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def network(text: str) -> Network:
    """Return the network of a CIDR. Raises: ValueError."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f"expected a network such as `10.0.0.0/8`, an address or `unix`, not `{text}`"
        ) from None


def country(text: str) -> str:
    """Return a country as rules name it (ISO 3166-1 alpha-2, or `unknown`). Raises: ValueError."""
    if text != UNKNOWN and _COUNTRY.fullmatch(text) is None:
        raise ValueError(f"expected a country such as `DE`, or `{UNKNOWN}`, not `{text}`")
    return text


def _zone(name: str) -> datetime.tzinfo:
    if name == "UTC":
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a time zone such as `Europe/Berlin`, not `{name}`") from None


def _hours(text: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(text)
    first, last = (
        (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4]))
        if match
        else (0, 0)
    )
    if first == last or last > 1440:
        raise ValueError(f"expected hours such as `08:00-20:00`, not `{text}`")
    return first, last


def _day(name: str) -> int:
    if name not in _DAYS:
        raise ValueError(f"expected one of {', '.join(_DAYS)}, not `{name}`")
    return _DAYS.index(name)
