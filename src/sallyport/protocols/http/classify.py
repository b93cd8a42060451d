"""Classifying: from a request to an operation that any policy can read.

The verb is the method, in lower case; resources are the API itself and each reading of the path.
A body that cannot be looked at (too large, no valid JSON though it says so, a key twice, which two
parsers read differently) is a resource of kind `body` with effect UNKNOWN: denied unless a rule
allows it by name.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from operator import itemgetter
from typing import Final, NamedTuple, final

import msgspec

from sallyport.core.errors import ProtocolViolation
from sallyport.core.globs import Globs
from sallyport.core.operation import Effect, Operation, Parameter, Resource, digest_of, worst
from sallyport.protocols.http.bodies import Body, asks_method, read_body
from sallyport.protocols.http.fields import media_type, overrides, without_waiting
from sallyport.protocols.http.message import Fields, RequestHead, get_all, readable
from sallyport.protocols.http.paths import Path, Templates, query_pairs, read_path, split_target
from sallyport.protocols.http.places import (
    ADMIN,
    COLLECTION,
    CREDENTIALS,
    EXPORT,
    facts_of_place,
)
from sallyport.protocols.http.settings import HttpSettings

SAFE: Final = frozenset({"get", "head", "options"})
"""Methods that only read (RFC 9110, section 9.2.1). TRACE would show the injected credential."""
METHODS: Final = SAFE | {
    "post", "put", "patch", "delete", "trace", "propfind", "proppatch", "mkcol", "copy", "move",
    "lock", "unlock", "report", "search", "query", "link", "unlink",
}  # fmt: skip
WEBSOCKET: Final = "websocket"
MESSAGE: Final = "message"
DELIVER: Final = "deliver"
OTHER: Final = "other"
OVERRIDE: Final = "method-override"
VERBS: Final = METHODS | {WEBSOCKET, MESSAGE, DELIVER, OTHER}
"""`websocket` opens one, `message` is each message that the client sends on it, `deliver` a
response whose type cannot be inspected, `other` every method that is not known."""
KINDS: Final = frozenset({"api", "path", "body", "media"})
FACTS: Final = {
    OVERRIDE: "a header or parameter asks the target for another method",
    COLLECTION: "the path names many things, not one",
    ADMIN: "the path is one of administration, as its words say",
    CREDENTIALS: "the path is one of keys, tokens or passwords, as its words say",
    EXPORT: "the path or query asks for very many things at once",
    "ambiguous-path": "servers read the path in more than one way",
    "no-body": "it has no body",
    "json-body": "its body is JSON",
    "form-body": "its body is a form",
    "opaque-body": "its body is of a type that is not looked into",
    "large-body": "its body is larger than what is looked at",
    "ambiguous-body": "its body is not what it says, or two parsers would read it differently",
}
UNREAD: Final = "large-body"
VOLATILE: Final = frozenset(
    b"user-agent accept-encoding traceparent tracestate baggage x-request-id x-correlation-id"
    b" x-amzn-trace-id sec-websocket-key date dnt"
    b" x-b3-traceid x-b3-spanid x-b3-sampled b3 sentry-trace priority"
    b" cache-control pragma".split()
)
"""Fields that differ from one sending of a request to the next and change nothing of it."""
_UNCLEAR: Final = (
    ("ambiguous-body", "ambiguous"),
    ("ambiguous-body", "encoded"),
    (UNREAD, "large"),
)
_COPIES: Final = frozenset({"copy", "move"})
_DESTINATION: Final = re.compile(
    rb"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?(/[\x21\x22\x24-\x3e\x40-\x7e]*)?(?:[?#].*)?"
)
_PAGES: Final = frozenset({"limit", "per_page", "page_size", "pagesize", "count", "$top"})
_BULK: Final = 1000
_KEPT: Final = 4096
_LONG: Final = 256
"""Characters of a path whose place is remembered."""


class Known(NamedTuple):
    """What one target's settings say, compiled."""

    settings: HttpSettings
    templates: Templates
    overrides: tuple[tuple[Globs, frozenset[str], Effect], ...]


def compile_settings(settings: HttpSettings) -> Known:
    """Return a target's settings, ready for use."""
    return Known(
        settings,
        Templates(settings.known_templates),
        tuple(
            (Globs(one.paths, "/"), frozenset(m.lower() for m in one.methods), one.effect)
            for one in settings.operations
        ),
    )


class _Told(NamedTuple):
    """A header section as operations tell it: most requests of a session share theirs."""

    fields: Fields
    lines: str
    bound: tuple[bytes, ...]
    headers: bytes
    overrides: bool


def _told(fields: Fields) -> _Told:
    headers: dict[str, str] = {}
    for name, value in readable(fields):
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    bound = [
        field
        for field in sorted(without_waiting(fields), key=itemgetter(0))
        if field[0] not in VOLATILE
    ]
    return _Told(
        fields,
        "".join(f"\n{name}: {value}" for name, value in readable(fields)),
        tuple(part for field in bound for part in field),
        msgspec.json.encode(headers),
        overrides(fields),
    )


class Named(NamedTuple):
    """A request's place: its verb, effect, resources, path and facts."""

    verb: str
    effect: Effect
    resources: tuple[Resource, ...]
    path: Path
    template: str
    facts: frozenset[str]


@final
class Classifier:
    """Makes operations of one target's requests. Resources of the same place are the same object,
    so that decisions about it are found again."""

    def __init__(self, target: str, known: Known) -> None:
        self._target = target
        self._known = known
        self._named: OrderedDict[tuple[str, str], Named] = OrderedDict()
        self._last = _told([])

    def name(self, verb: str, path: str) -> Named:
        """Return the place that a verb, in any case, and a path name. Raises: ProtocolViolation."""
        key = (verb, path)
        found = self._named.get(key)
        if found is None:
            found = self._named[key] = self._name(verb.lower(), path)
            if len(path) > _LONG:
                del self._named[key]
            elif len(self._named) > _KEPT:
                self._named.popitem(last=False)
        else:
            self._named.move_to_end(key)
        return found

    def operation(
        self, identifier: int, head: RequestHead, fields: Fields, body: bytes | None, verb: str = ""
    ) -> tuple[Operation, Path, str]:
        """Return a request's operation, its path, and its query as it goes on.

        `fields` are those that go to the target, without its credential. `body` None: it is not
        looked at. Raises: ProtocolViolation.
        """
        raw, query = split_target(head.target)
        named = self.name(verb or _verb(head.method), raw)
        pairs = query_pairs(query)
        read = read_body(fields, body)
        if self._last.fields is not fields:
            self._last = _told(fields)
        told = self._last
        facts, resources = self._facts(named, told.overrides, query, read), named.resources
        if named.verb in _COPIES:
            resources = (*resources, *self._written_to(head.method, fields))
        if read.unclear:
            resources = (*resources, Resource("body", read.unclear, Effect.UNKNOWN))
        if OVERRIDE in facts:  # the target may do something else than its method says
            resources = (*resources, Resource("body", OVERRIDE, Effect.UNKNOWN))
        target = named.path.sent if query is None else f"{named.path.sent}?{query}"
        operation = Operation(
            id=identifier,
            protocol="http",
            target=self._target,
            verb=named.verb,
            effect=worst(resource.effect for resource in resources),
            resources=resources,
            facts=facts,
            text=_text(head.method, target, told, body),
            parameters=tuple(Parameter(f"query.{k}", "text", v.encode()) for k, v in pairs),
            fingerprint=digest_of(head.method, named.template or named.path.readings[0])[:8],
            digest=digest_of("http", self._target, head.method, target, *told.bound, body),
            bound=body is not None,
            content=_content(told, pairs, read),
        )
        return operation, named.path, target

    def early(self, identifier: int, head: RequestHead, fields: Fields) -> Iterator[Operation]:
        """Yield what a request may turn out to be, once its body was looked at."""
        base, _, _ = self.operation(identifier, head, fields, b"")
        facts = base.facts - {"no-body"}
        for fact in ("json-body", "form-body", "opaque-body"):
            yield msgspec.structs.replace(base, facts=facts | {fact})
        for fact, unclear in _UNCLEAR:
            resources = (*base.resources, Resource("body", unclear, Effect.UNKNOWN))
            yield msgspec.structs.replace(
                base, facts=facts | {fact}, resources=resources, effect=Effect.UNKNOWN
            )

    def message(self, identifier: int, path: str, data: bytes, binary: bool) -> Operation:
        """Return what it is to send one WebSocket message. FAILS CLOSED: binary is UNKNOWN."""
        raw, _ = split_target(path)
        named = self.name(MESSAGE, raw)
        fields: Fields = []
        if not binary:
            fields = [(b"content-type", b"application/json")]
        read = read_body(fields, data)
        if not binary and read.unclear:
            read = Body("opaque-body")  # a text as good as any other: nobody parses it as JSON
        resources = named.resources
        if binary:
            resources = (*resources, Resource("body", "binary", Effect.UNKNOWN))
        return Operation(
            id=identifier,
            protocol="http",
            target=self._target,
            verb=MESSAGE,
            effect=worst(resource.effect for resource in resources),
            resources=resources,
            facts=named.facts | {read.fact},
            text=f"message on {path}\n\n{data.decode('utf-8', 'backslashreplace')}",
            parameters=(),
            fingerprint=digest_of(MESSAGE, named.template or named.path.readings[0])[:8],
            digest=digest_of("http", self._target, MESSAGE, path, data),
            content=_content(_told(fields), [], read),
        )

    def delivery(self, identifier: int, path: str, media: str) -> Operation:
        """Return what it is to deliver a response that cannot be looked into."""
        raw, _ = split_target(path)
        named = self.name("GET", raw)
        kind = Resource("media", media or "none", Effect.UNKNOWN)
        digest = digest_of("http", self._target, DELIVER, path, media)
        return Operation(
            id=identifier,
            protocol="http",
            target=self._target,
            verb=DELIVER,
            effect=Effect.UNKNOWN,
            resources=(*named.resources, kind),
            facts=named.facts,
            text=f"deliver a response of {path}, which cannot be masked: {media or 'of no type'}",
            parameters=(),
            fingerprint=digest[:8],
            digest=digest,
            bound=False,
        )

    # --- inside

    def _name(self, verb: str, raw: str) -> Named:
        path = Path("*", ("*",)) if raw == "*" else read_path(raw)
        effect = self._effect(verb, path)
        template = self._known.templates.find(path.readings[0])
        facts = set(facts_of_place(path.readings, template))
        if len(path.readings) > 1:
            facts.add("ambiguous-path")
        paths = tuple(
            Resource("path", reading, effect, template=template if index == 0 else "")
            for index, reading in enumerate(path.readings)
        )
        resources = (Resource("api", self._target, Effect.READ), *paths)
        return Named(verb, effect, resources, path, template, frozenset(facts))

    def _written_to(self, method: str, fields: Fields) -> Iterator[Resource]:
        """Yield what a copy writes to beside its own path (RFC 4918, section 10.3)."""
        for value in get_all(fields, b"destination"):
            found = _DESTINATION.fullmatch(value)
            if found is None:
                raise ProtocolViolation("client", "Destination is malformed", "400")
            yield from self.name(method, (found[1] or b"/").decode("ascii")).resources[1:]

    def _effect(self, verb: str, path: Path) -> Effect:
        """Return what the method does, or what the target says of this path.

        FAILS CLOSED: an override has to match every reading, and never makes a safe method less.
        """
        for globs, methods, effect in self._known.overrides:
            if (not methods or verb in methods) and all(map(globs.matches, path.readings)):
                return effect
        if verb in SAFE:
            return Effect.READ
        if verb in (OTHER, "trace"):
            return Effect.UNKNOWN
        return Effect.WRITE

    @staticmethod
    def _facts(named: Named, overridden: bool, query: str | None, read: Body) -> frozenset[str]:
        facts = set(named.facts)
        facts.add(read.fact)
        if overridden or asks_method(query) or read.overrides:
            facts.add(OVERRIDE)
        for key, value in query_pairs(query):
            if key.lower() in _PAGES and _number(value) > _BULK:
                facts.add(EXPORT)
        return frozenset(facts)


def _verb(method: str) -> str:
    """Return a request's verb: methods' case counts (RFC 9110, section 9.1). What the gateway calls
    its own operations is no method."""
    return method.lower() if method.isupper() and method.lower() in METHODS else OTHER


def _number(value: str) -> int:
    return int(value[:9]) if value.isascii() and value.isdigit() else 0


def _text(method: str, target: str, told: _Told, body: bytes | None) -> str:
    """Return a request as an approver reads it: whole."""
    head = f"{method} {target}{told.lines}"
    if body:
        return f"{head}\n\n{body.decode('utf-8', 'backslashreplace')}"
    return head if body is not None else f"{head}\n\n(its body is not looked at)"


def _content(told: _Told, pairs: list[tuple[str, str]], read: Body) -> bytes:
    """Return what conditions read as `op.content`: query, headers, type and body, as JSON."""
    query: dict[str, list[str]] = {}
    for key, value in pairs:
        query.setdefault(key, []).append(value)
    return b'{"query":%b,"headers":%b,"type":%b,"body":%b}' % (
        msgspec.json.encode(query),
        told.headers,
        msgspec.json.encode(media_type(told.fields)[0]),
        read.json or b"null",
    )


def accepts_body(head: RequestHead) -> bool:
    """Whether a request has a body."""
    return head.length is None or head.length > 0


def coding_of(fields: Fields) -> str:
    """Return a body's content codings, in lower case; empty: none."""
    return b", ".join(get_all(fields, b"content-encoding")).decode("latin-1").strip().lower()
