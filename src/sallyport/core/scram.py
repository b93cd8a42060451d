"""SCRAM-SHA-256 as a server reads it: what a client's two messages say, and what proves them.

RFC 5802 (the exchange), RFC 7677 (SHA-256), RFC 5929 (`tls-server-end-point`). The worker refuses
by this what is malformed, so that control is not asked for nothing; control reads it all again. No
socket, no clock, no store. Whatever does not fit exactly is a ProtocolViolation of the client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import Final

from msgspec import Struct

from sallyport.core.errors import ProtocolViolation

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"

BINDING: Final = b"tls-server-end-point"
"""The one kind of channel binding, as PostgreSQL has it."""
MAXIMUM_MESSAGE: Final = 2048
"""Bytes of one message of a client."""
MAXIMUM_NONCE: Final = 512
"""Bytes of a client's nonce."""
HASH: Final = 32
"""Bytes of a SHA-256."""
SERVER_NONCE: Final = 18
"""Random bytes that the server's side adds to a client's nonce."""

_NONCE: Final = re.compile(rb"[\x21-\x2b\x2d-\x7e]+")
_EXTENSION: Final = re.compile(rb"[A-Za-z]=[^\x00,]+")
_ESCAPES: Final = re.compile(rb"=(?!2C|3D)")
_MALFORMED: Final = "08P01"
_REFUSED: Final = "28000"


class Verifier(Struct, frozen=True):
    """What is kept of a password: enough to check a proof, too little to make one."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def __repr__(self) -> str:
        return "Verifier(...)"


class ClientFirst(Struct, frozen=True):
    """A client's first message: its GS2 header, that header's flag, the rest, and its nonce."""

    header: bytes
    flag: str
    bare: bytes
    nonce: bytes


class ClientFinal(Struct, frozen=True):
    """A client's final message. `bound`: the header and the channel's data, as it saw them."""

    bound: bytes
    nonce: bytes
    unproven: bytes
    proof: bytes


def make_verifier(password: bytes, salt: bytes, iterations: int) -> Verifier:
    """Return what to keep of `password` (RFC 5802, section 3), which is taken as it is."""
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    return Verifier(salt, iterations, hashlib.sha256(client).digest(), server)


def parse_first(message: bytes, mechanism: str, binding: bytes) -> ClientFirst:
    """Read `client-first-message`, and check it against what was offered.

    `mechanism` is the one that the client chose, `binding` the channel's data where PLUS was
    offered, else empty. FAILS CLOSED: a client that says `y` (it could bind, but was not offered
    to) where PLUS was offered had somebody in between take that away. Raises: ProtocolViolation.
    """
    if len(message) > MAXIMUM_MESSAGE:
        raise _violation("the first message is too long")
    flag, comma, rest = message.partition(b",")
    authorization, second, bare = rest.partition(b",")
    if not comma or not second:
        raise _violation("the first message has no header")
    _check_flag(flag, mechanism, binding)
    if authorization:
        raise _violation("an authorization identity is not taken", _REFUSED)
    if bare.startswith(b"m="):
        raise _violation("a mandatory extension is not known", _REFUSED)
    user, _, rest = bare.partition(b",")
    nonce, comma, extensions = rest.partition(b",")
    if not user.startswith(b"n=") or _ESCAPES.search(user[2:]) or b"\0" in user:
        raise _violation("no user name where it belongs")
    if not nonce.startswith(b"r=") or len(nonce) > MAXIMUM_NONCE:
        raise _violation("no nonce where it belongs, or one that is too long")
    if _NONCE.fullmatch(nonce[2:]) is None:
        raise _violation("a nonce that is not printable")
    if comma:
        _check_extensions(extensions)
    return ClientFirst(flag + b",,", chr(flag[0]), bare, nonce[2:])


def _check_flag(flag: bytes, mechanism: str, binding: bytes) -> None:
    """Demand a channel-binding flag that fits the mechanism and what was offered."""
    if mechanism == PLUS and binding:
        if flag == b"p=" + BINDING:
            return
        if flag.startswith(b"p="):
            raise _violation("a channel binding that is not offered")
        raise _violation("SCRAM-SHA-256-PLUS without channel binding")
    if mechanism != PLAIN:
        raise _violation("a mechanism that was not offered")
    if flag == b"y" and binding:
        raise _violation(
            "the client saw no offer of channel binding, and there was one: "
            "somebody in between may have taken it away",
            _REFUSED,
        )
    if flag not in (b"n", b"y"):
        raise _violation("a channel-binding flag that does not fit the mechanism")


def _check_extensions(text: bytes) -> None:
    """Optional extensions are passed over, mandatory ones refused (RFC 5802, section 5.1)."""
    for extension in text.split(b","):
        if _EXTENSION.fullmatch(extension) is None:
            raise _violation("an extension of another form")
        if extension.startswith(b"m="):
            raise _violation("a mandatory extension is not known", _REFUSED)


def parse_final(message: bytes) -> ClientFinal:
    """Read `client-final-message`. Raises: ProtocolViolation."""
    if len(message) > MAXIMUM_MESSAGE:
        raise _violation("the final message is too long")
    unproven, found, proof = message.rpartition(b",p=")
    bound, comma, rest = unproven.partition(b",")
    nonce, more, extensions = rest.partition(b",")
    if not found or not comma or not bound.startswith(b"c=") or not nonce.startswith(b"r="):
        raise _violation("the final message is of another form")
    if more:
        _check_extensions(extensions)
    if _NONCE.fullmatch(nonce[2:]) is None:
        raise _violation("a nonce that is not printable")
    decoded = _decode(proof)
    if len(decoded) != HASH:
        raise _violation("a proof of another length")
    return ClientFinal(_decode(bound[2:]), nonce[2:], unproven, decoded)


def server_first(first: ClientFirst, random: bytes, salt: bytes, iterations: int) -> bytes:
    """Return `server-first-message`. `random`: the server's own part of the nonce, raw."""
    nonce = first.nonce + base64.b64encode(random)
    return b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(salt), iterations)


def outcome(
    first: ClientFirst, challenge: bytes, final: ClientFinal, binding: bytes, verifier: Verifier
) -> tuple[bool, bytes]:
    """Return whether `final` proves the password, and `server-final-message` for when it does.

    `challenge` is the server-first-message that was sent. INVARIANT: the same work is done whatever
    is wrong, and no comparison's time depends on where the first difference stands.
    """
    signed = b",".join((first.bare, challenge, final.unproven))
    signature = hmac.digest(verifier.stored_key, signed, "sha256")
    key = bytes(a ^ b for a, b in zip(final.proof, signature, strict=True))
    proven = hmac.compare_digest(hashlib.sha256(key).digest(), verifier.stored_key)
    nonce = challenge[2:].partition(b",")[0]
    bound = first.header + (binding if first.flag == "p" else b"")
    same_nonce = hmac.compare_digest(final.nonce, nonce)
    same_channel = hmac.compare_digest(final.bound, bound)
    answer = hmac.digest(verifier.server_key, signed, "sha256")
    return proven & same_nonce & same_channel, b"v=" + base64.b64encode(answer)


def _decode(text: bytes) -> bytes:
    """Decode base64, strictly: the one way in which these bytes can be written."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _violation("what is not base64") from None
    if not raw or base64.b64encode(raw) != text:
        raise _violation("base64 in another form than its own")
    return raw


def _violation(what: str, code: str = _MALFORMED) -> ProtocolViolation:
    return ProtocolViolation("client", f"scram: {what}", code)
