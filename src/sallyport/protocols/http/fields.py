"""Fields: which header fields cross the gateway, in each direction (RFC 9110, section 7.6)."""

from __future__ import annotations

import base64
import re
from typing import Final
from urllib.parse import quote

from sallyport.core.errors import TargetUnavailable
from sallyport.protocols.http.message import Fields, get_all, listed
from sallyport.protocols.http.paths import query_pairs
from sallyport.protocols.http.settings import Inject

HOP: Final = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding te trailer upgrade http2-settings"
    b" expect host content-length".split()
)
"""Fields of one leg alone, or that are written anew."""
IDENTITY: Final = frozenset(
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-real-ip"
    b" x-forwarded-server x-forwarded-prefix x-forwarded-user x-forwarded-email"
    b" x-forwarded-groups x-forwarded-preferred-username x-remote-user remote-user x-remote-group"
    b" x-authenticated-user x-auth-request-user x-auth-request-email x-auth-request-groups"
    b" x-webauth-user x-client-ip true-client-ip cf-connecting-ip x-cluster-client-ip"
    b" x-original-url x-rewrite-url x-original-host x-client-cert x-ssl-client-cert"
    b" ssl-client-verify x-client-dn".split()
)
"""What servers trust a proxy to say: of a client's own nothing reaches a target."""
FAMILIES: Final = tuple(
    b"x-forwarded- x-original- x-auth-request- x-envoy- x-middleware- x-ms-client-principal"
    b" x-ms-token- x-goog-authenticated-user- x-goog-iap- x-amzn-oidc- x-consumer- x-ssl-client-"
    b" ssl-client-".split()
)
"""How more names of that kind begin: those of Envoy, Traefik, Kong, Next.js, and of clouds."""
_CODINGS: Final = frozenset(b"gzip x-gzip deflate br zstd identity".split())
_WAITING: Final = re.compile(rb"[ \t]*(?:respond-async|wait)[ \t]*(?:[=;].*)?$", re.IGNORECASE)
OVERRIDES: Final = frozenset(b"x-http-method-override x-http-method x-method-override".split())
"""Fields by which a request would be another one at the target."""


def to_target(fields: Fields) -> Fields:
    """Return a request's fields that go to the target."""
    named = set(listed(fields, b"connection"))
    return [
        (name, value)
        for name, value in fields
        if name not in HOP
        and name not in named
        and name not in IDENTITY
        and not name.startswith(FAMILIES)
        and b"_" not in name  # CGI reads `x_forwarded_for` as `x-forwarded-for`
    ]


def known_codings(fields: Fields) -> Fields:
    """Return a request's fields so that its response is encoded in no way that cannot be undone."""
    asked = get_all(fields, b"accept-encoding")
    if not asked:
        return fields
    parts = [part.strip() for value in asked for part in value.split(b",")]
    kept = [part for part in parts if part.partition(b";")[0].strip().lower() in _CODINGS]
    if len(kept) == len(parts) and len(asked) == 1:
        return fields
    rest = [field for field in fields if field[0] != b"accept-encoding"]
    return [*rest, (b"accept-encoding", b", ".join(kept) or b"identity")]


def without_waiting(fields: Fields) -> Fields:
    """Return a request's fields without the preferences that the gateway meets itself (RFC 7240,
    sections 4.1 and 4.3). All others change what the target does."""
    found: Fields = []
    for name, value in fields:
        if name == b"prefer" and b'"' not in value:
            kept = [part for part in value.split(b",") if not _WAITING.match(part)]
            value = b",".join(kept).strip(b" \t")
            if not value:
                continue
        found.append((name, value))
    return found


def to_client(fields: Fields) -> Fields:
    """Return a response's fields that go to the client."""
    named = set(listed(fields, b"connection"))
    return [
        (name, value)
        for name, value in fields
        if name not in HOP
        and name not in named
        and not name.startswith((b"proxy-", b"x-sallyport-"))
    ]


def inject(
    settings: Inject, credential: bytes, target: str, fields: Fields, name: str
) -> tuple[str, Fields]:
    """Return request target and fields with the credential in its slot, and nothing else there.

    `name` is the target's, for errors. Raises: TargetUnavailable: the credential fits nowhere.
    """
    if not credential or settings.way in ("none", "certificate"):
        return target, fields
    value = credential.strip()
    if settings.way == "query":
        path, _, query = target.partition("?")
        key = quote(settings.name, safe="")
        kept = [part for part in query.split("&") if part and not _is_key(part, settings.name)]
        given = f"{key}={quote(value, safe='')}"
        return f"{path}?{'&'.join([*kept, given])}", fields
    if not all(0x20 <= byte < 0x7F for byte in value):
        raise TargetUnavailable(name, "its credential cannot stand in a header")
    slot = b"authorization"
    if settings.way == "bearer" or settings.way == "oauth2":
        value = b"Bearer " + value
    elif settings.way == "basic":
        pair = settings.user.encode() + b":" + value if settings.user else value
        value = b"Basic " + base64.b64encode(pair)
    else:
        slot = settings.name.lower().encode()
        value = settings.prefix.encode() + value
    return target, [*(field for field in fields if field[0] != slot), (slot, value)]


def _is_key(part: str, name: str) -> bool:
    return any(key == name for key, _ in query_pairs(part))


def rewrite_location(value: bytes, origins: tuple[str, ...], here: str) -> bytes:
    """Return a Location that leads through the gateway, where it led to the target.

    `here` is what precedes the target's paths (`/t/orders`, or empty). `origins` are the target's.
    """
    text = value.decode("latin-1")
    for origin in origins:
        if text.lower().startswith(origin):
            rest = text[len(origin) :]
            if not rest or rest[0] in "/?#":
                text = rest if rest.startswith("/") else "/" + rest
                return (here + text).encode("latin-1")
    if text.startswith("/") and not text.startswith(("//", "/\\")):
        return (here + text).encode("latin-1")
    return value


def rewrite_cookie(value: bytes, here: str) -> bytes:
    """Return a Set-Cookie whose path is below the gateway's, and which has no domain."""
    parts = value.split(b";")
    out = [parts[0]]
    had_path = False
    for part in parts[1:]:
        name, _, given = part.partition(b"=")
        key = name.strip().lower()
        if key == b"domain":
            continue
        if key == b"path":
            had_path = True
            path = given.strip()
            part = b" Path=" + here.encode() + (path if path.startswith(b"/") else b"/")
        out.append(part)
    if here and not had_path:
        out.append(b" Path=" + here.encode() + b"/")
    return b";".join(out)


def rewritten(fields: Fields, origins: tuple[str, ...], here: str) -> Fields:
    """Return a response's fields with what leads elsewhere leading through the gateway."""
    out: Fields = []
    for name, value in fields:
        if name in (b"location", b"content-location"):
            value = rewrite_location(value, origins, here)
        elif name == b"set-cookie":
            value = rewrite_cookie(value, here)
        out.append((name, value))
    return out


def overrides(fields: Fields) -> bool:
    """Whether a request wants to be another one at the target."""
    return any(name in OVERRIDES for name, _ in fields)


def media_type(fields: Fields) -> tuple[str, str]:
    """Return a body's type, in lower case, and its charset; empty where none is told.

    FAILS CLOSED: of two Content-Types nobody knows which counts (`ambiguous/ambiguous`), nor of two
    charsets: what they are called together is none.
    """
    values = get_all(fields, b"content-type")
    if not values:
        return "", ""
    if len(values) > 1:
        return "ambiguous/ambiguous", ""
    essence, *parameters = values[0].decode("latin-1").split(";")
    charsets = set()
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "charset":
            charsets.add(value.strip().strip('"').lower())
    return essence.strip().lower(), charsets.pop() if len(charsets) == 1 else "/".join(charsets)
