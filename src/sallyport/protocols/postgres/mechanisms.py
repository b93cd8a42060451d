"""How a client shows who it is: the one mechanism of its listener, as a script of the dialogue.

Each mechanism asks the client, then the gateway; it has neither socket nor clock, and reads every
answer strictly. FAILS CLOSED: a mechanism that is not known here asks for nothing and lets nobody
in. Which of them a listener takes is checked by control once more.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct

from sallyport.core import scram
from sallyport.core.subject import Evidence, Opening, Refused, Subject
from sallyport.protocols.base import Authentication, Services
from sallyport.protocols.postgres import messages, oauthbearer, replies
from sallyport.protocols.postgres.scram import end_point
from sallyport.protocols.postgres.startup import refuse

NAMES: Final = frozenset({"token", "scram", "oauth", "certificate"})

NO_CERTIFICATE: Final = (
    "this listener asks for a TLS client certificate; set sslcert and sslkey, and sslmode=require"
)
NO_TOKEN: Final = Refused(
    "a bearer token is needed", "get one of the issuer that the gateway names (oauth_issuer)"
)


class Dialogue(Protocol):
    """The client, as a mechanism sees it. Both methods raise ProtocolViolation."""

    async def ask(self, code: int, data: bytes = b"") -> bytes:
        """Send an authentication request; return the body of its one answer."""

    def tell(self, code: int, data: bytes) -> None:
        """Send an authentication message that has no answer."""


class Peer(Struct, frozen=True):
    """Who speaks, before it is known. `certificate`: the TLS client certificate (DER), or b""."""

    protocol: str
    listener: str
    source: str
    encrypted: bool
    user: str
    authentication: Authentication
    certificate: bytes = b""

    def evidence(self, token: str, certificate: bytes = b"") -> Evidence:
        """Return what control is asked about."""
        return Evidence(
            self.protocol, self.listener, self.source, token, self.encrypted, certificate
        )


class Known(Struct, frozen=True):
    """Who that is, and the target's login that it asked for."""

    subject: Subject
    login: str | None


async def authenticate(dialogue: Dialogue, services: Services, peer: Peer) -> Known | Refused:
    """Carry out the listener's mechanism. Raises: ProtocolViolation, and what the dialogue does."""
    match peer.authentication.mechanism:
        case "token":
            found = await _token(dialogue, services, peer)
        case "oauth":
            found = await _oauth(dialogue, services, peer)
        case "certificate":
            found = await _certificate(services, peer)
        case "scram":
            return await _scram(dialogue, services, peer)
        case _:
            raise refuse("this listener's mechanism is not spoken here", "28000")
    return found if isinstance(found, Refused) else Known(found, peer.user or None)


async def _token(dialogue: Dialogue, services: Services, peer: Peer) -> Subject | Refused:
    """The token itself, as a cleartext password."""
    raw = messages.parse_password(await dialogue.ask(replies.AUTH_CLEARTEXT))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    return await services.authenticate(peer.evidence(text))


async def _scram(dialogue: Dialogue, services: Services, peer: Peer) -> Known | Refused:
    """A token that proves itself. The user is its id, or `id/login`; SCRAM's own user is ignored.

    With TLS the proof can be bound to the listener's certificate; PLUS is offered first.
    """
    claimed, _, login = peer.user.partition("/")
    certificate = peer.authentication.certificate if peer.encrypted else b""
    binding = (end_point(certificate) or b"") if certificate else b""
    offered = (scram.PLUS, scram.PLAIN) if binding else (scram.PLAIN,)
    mechanism, first = await _initial(dialogue, offered)
    scram.parse_first(first, mechanism, binding)
    challenge = await services.challenge(
        Opening(
            protocol=peer.protocol,
            listener=peer.listener,
            source=peer.source,
            encrypted=peer.encrypted,
            mechanism=mechanism,
            claimed=claimed,
            message=first,
            binding=binding,
        )
    )
    if isinstance(challenge, Refused):
        return challenge
    final = await dialogue.ask(replies.AUTH_SASL_CONTINUE, challenge.message)
    scram.parse_final(final)
    proven = await services.prove(challenge, final)
    if isinstance(proven, Refused):
        return proven
    dialogue.tell(replies.AUTH_SASL_FINAL, proven.message)
    return Known(proven.subject, login or None)


async def _oauth(dialogue: Dialogue, services: Services, peer: Peer) -> Subject | Refused:
    """A bearer token. Who has none, or a wrong one, is told where to get one."""
    _, initial = await _initial(dialogue, (oauthbearer.NAME,))
    token = oauthbearer.parse_initial(initial)
    found: Subject | Refused = NO_TOKEN
    if token:
        found = await services.authenticate(peer.evidence(token))
    if isinstance(found, Refused):
        wanted = peer.authentication
        answer = oauthbearer.error(wanted.issuer, wanted.scope)
        if await dialogue.ask(replies.AUTH_SASL_CONTINUE, answer) != oauthbearer.DISMISSED:
            raise refuse("oauthbearer: the error was not dismissed", "08P01")
    return found


async def _certificate(services: Services, peer: Peer) -> Subject | Refused:
    """The TLS client certificate; nothing is asked."""
    if not peer.encrypted or not peer.certificate:
        raise refuse(NO_CERTIFICATE, "28000")
    return await services.authenticate(peer.evidence("", peer.certificate))


async def _initial(dialogue: Dialogue, offered: tuple[str, ...]) -> tuple[str, bytes]:
    """Offer mechanisms; return the chosen one and the client's first message."""
    body = await dialogue.ask(replies.AUTH_SASL, replies.mechanisms(offered))
    mechanism, response = messages.parse_sasl_initial(body)
    if mechanism not in offered:
        raise refuse(f"a SASL mechanism that was not offered: use {offered[0]}", "08P01")
    return mechanism, response
