"""Inspection: `sallyport target check` and `sallyport explain`, for HTTP."""

from __future__ import annotations

import asyncio
from typing import Final

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.core.operation import Operation
from sallyport.protocols.base import Carried, Leg
from sallyport.protocols.http import grammar
from sallyport.protocols.http.classify import Classifier
from sallyport.protocols.http.fields import inject
from sallyport.protocols.http.http1 import Reader, write_request
from sallyport.protocols.http.message import RequestHead, ResponseHead, get
from sallyport.protocols.http.serving.oauth import ClientCredentials
from sallyport.protocols.http.serving.sessions import authority_of, known_of
from sallyport.protocols.http.settings import HttpSettings
from sallyport.protocols.inspecting import Finding, Interpreted, SideDoor, TargetReport

PATIENCE: Final = 10.0
"""Seconds that the target has for an answer."""


async def inspect(door: SideDoor, grant: Grant) -> TargetReport:
    """Return what is found at the grant's target, by `HEAD /`. What fails is a finding."""
    address = grant.target.address
    facts = {"address": f"{address.host}:{address.port}", "login": grant.login, "tls": address.tls}
    findings = []
    if address.tls in ("disable", "require") and not _is_near(address.host):
        findings.append(Finding("warning", "whoever is on the way can read or change all of it"))
    try:
        settings = known_of(grant).settings
        facts["credential"] = settings.inject.way
        answer = await _ask(door, grant, settings, with_credential=True)
        bare = await _ask(door, grant, settings, with_credential=False)
    except ValueError as error:
        findings.insert(0, Finding("failed", f"its settings cannot be used: {error}"))
        return TargetReport(False, facts, tuple(findings))
    except (TargetUnavailable, ProtocolViolation) as error:
        findings.insert(0, Finding("failed", f"a request would fail: {error.message}"))
        return TargetReport(False, facts, tuple(findings))
    facts["status"] = str(answer.status)
    server = get(answer.fields, b"server")
    if server is not None:
        facts["server"] = server.decode("latin-1")
    if answer.status in (401, 407):
        findings.insert(0, Finding("failed", "it does not take the credential"))
    elif settings.inject.way != "none" and bare.status not in (401, 403, 407):
        text = f"without a credential it answers {bare.status}: whoever reaches it may need none"
        findings.append(Finding("warning", text))
    return TargetReport(True, facts, tuple(findings))


async def interpret(
    door: SideDoor, target: str, database: str, text: str
) -> tuple[Interpreted, ...]:
    """Return the operation of a request that is written out: `GET /path`, fields, a body.

    Raises: ValueError in words.
    """
    grant = await door.dial_catalogue(target, database)
    head, body = _parse(text)
    try:
        classifier = Classifier(grant.target.name, known_of(grant))
        operation, _, _ = classifier.operation(1, head, head.fields, body)
    except ProtocolViolation as violation:
        raise ValueError(
            f"the gateway would answer {violation.code}: {violation.message}"
        ) from None
    return (Interpreted(operation, lambda obligations: _as_it_is(operation)),)


def _as_it_is(operation: Operation) -> Carried:
    """A request goes as it is: what masks hide is hidden in its response."""
    return Carried()


def _parse(text: str) -> tuple[RequestHead, bytes]:
    """Read `METHOD /path`, then fields, then, after an empty line, a body."""
    top, _, body = text.strip("\n").replace("\r\n", "\n").partition("\n\n")
    first, *lines = top.split("\n")
    method, _, path = first.strip().partition(" ")
    path = path.strip().removesuffix(" HTTP/1.1")
    line = f"{method} {path} HTTP/1.1".encode("utf-8", "replace")
    if grammar.REQUEST_LINE.fullmatch(line) is None or not path.startswith("/"):
        raise ValueError("expected a request such as `GET /orders?limit=5`, fields below it")
    try:
        data = "".join(f"{one}\r\n" for one in lines).encode("latin-1")
        fields = grammar.parse_fields(data, "client")
    except (UnicodeEncodeError, ProtocolViolation):
        raise ValueError(
            "expected a field on each line, such as `content-type: text/plain`"
        ) from None
    return RequestHead(method, "http", "", path, fields, "HTTP/1.1"), body.encode()


async def _ask(
    door: SideDoor, grant: Grant, settings: HttpSettings, *, with_credential: bool
) -> ResponseHead:
    """Send `HEAD /`. Raises: TargetUnavailable, ProtocolViolation."""
    leg = await door.dial(grant)
    try:
        if grant.target.address.tls != "disable":
            shown = settings.inject.way == "certificate" and with_credential
            leg = await door.start_tls(
                grant, leg, alpn=("http/1.1",), identity=grant.credential if shown else None
            )
        target, fields = "/", [(b"user-agent", b"sallyport")]
        if with_credential:
            target, fields = inject(
                settings.inject, await _credential(grant, settings), target, fields,
                grant.target.name,
            )  # fmt: skip
        authority = authority_of(grant.target, settings.host)
        leg.write(write_request(RequestHead("HEAD", "", authority, target, fields, "HTTP/1.1")))
        async with asyncio.timeout(PATIENCE):
            return await _answer(leg)
    except TimeoutError:
        raise TargetUnavailable(grant.target.name, "it does not answer in time") from None
    finally:
        leg.close()


async def _credential(grant: Grant, settings: HttpSettings) -> bytes:
    if settings.inject.way == "oauth2":
        return await ClientCredentials(grant.target.name, settings.inject, grant.credential).get()
    return grant.credential.reveal()


async def _answer(leg: Leg) -> ResponseHead:
    reader = Reader("target")
    reader.expect("HEAD")
    while True:
        event = reader.next()
        if isinstance(event, ResponseHead) and event.status >= 200:
            return event
        if event is None:
            data = await leg.read()
            if not data:
                raise TargetUnavailable("", "it closed the connection")
            reader.feed(data)


def _is_near(host: str) -> bool:
    return host.startswith(("/", "127.")) or host in ("localhost", "::1")
