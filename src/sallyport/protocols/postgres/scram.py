"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's part (RFC 5802, RFC 7677, RFC 5929).

The server is unmasked as much as the client: it must prove that it knows the password's verifier,
and a server that does not is refused. With TLS the proof is bound to the server's certificate
(`tls-server-end-point`), so that nobody in between can pass it on. No socket, no clock.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from typing import Final, final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from sallyport.core.errors import ProtocolViolation
from sallyport.core.subject import Secret

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"

MINIMUM_ITERATIONS: Final = 4096
"""RFC 7677's least: fewer would make what is sent cheap to break."""
MAXIMUM_ITERATIONS: Final = 1_000_000
"""More would let a rogue server spend the gateway's processor."""
MAXIMUM_MESSAGE: Final = 4096
"""Bytes of a server's message."""


def end_point(certificate: bytes) -> bytes | None:
    """Return the `tls-server-end-point` binding of a DER certificate (RFC 5929, section 4.1).

    None where the certificate's signature names no hash (Ed25519): then nothing can be bound.
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(certificate)
    return digest.finalize()


def prepare(password: bytes) -> bytes:
    """Return `password` as SASLprep makes it (RFC 4013).

    A password that is not UTF-8, or that holds what SASLprep forbids, stays as it is: the server
    does so too.
    """
    try:
        text = password.decode("utf-8")
    except UnicodeDecodeError:
        return password
    if text.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char
        for char in text
        if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    return password if not prepared or _forbidden(prepared) else prepared.encode("utf-8")


_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,
)


def _forbidden(text: str) -> bool:
    """Whether SASLprep forbids `text` (RFC 4013, sections 2.3 to 2.5)."""
    if any(check(char) for char in text for check in _PROHIBITED):
        return True
    if not any(stringprep.in_table_d1(char) for char in text):
        return False
    # text from right to left must be so from end to end (RFC 3454, section 6)
    if any(stringprep.in_table_d2(char) for char in text):
        return True
    return not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1]))


@final
class Scram:
    """One exchange. Calls: `first`, then `final` with the answer, then `verify` with the last.

    `binding` is what `end_point` gave, where there is TLS. INVARIANT: `verified` is True only
    after the server proved itself. Every method raises ProtocolViolation("target") where the
    server's message is not exactly what the RFC allows.
    """

    __slots__ = (
        "_bare",
        "_binding",
        "_header",
        "_nonce",
        "_password",
        "_proof",
        "mechanism",
        "verified",
    )

    def __init__(
        self,
        password: Secret,
        offered: tuple[str, ...],
        *,
        encrypted: bool,
        binding: bytes | None,
        nonce: str | None = None,
    ) -> None:
        self._password = password
        self._nonce = nonce if nonce is not None else secrets.token_urlsafe(24)
        self._bare = f"n=,r={self._nonce}"
        self._proof = b""
        self.verified = False
        if PLUS in offered and encrypted and binding is not None:
            self.mechanism = PLUS
            self._header, self._binding = "p=tls-server-end-point,,", binding
        elif PLAIN in offered:
            self.mechanism = PLAIN
            # `y`: we could have bound. A server that offered it then knows somebody removed it.
            could = encrypted and binding is not None
            self._header, self._binding = ("y,," if could else "n,,"), b""
        else:
            raise ProtocolViolation("target", "no SASL mechanism that the gateway has", "28000")

    def first(self) -> bytes:
        """Return the client's first message. The server takes the user from the StartupMessage."""
        return (self._header + self._bare).encode("ascii")

    def final(self, challenge: bytes) -> bytes:
        """Return the client's final message for the server's first one."""
        nonce, salt, iterations = self._read_challenge(challenge)
        password = prepare(self._password.reveal())
        salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
        key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(key).digest()
        bound = base64.b64encode(self._header.encode("ascii") + self._binding)
        without_proof = b"c=" + bound + b",r=" + nonce
        signed = b",".join((self._bare.encode("ascii"), challenge, without_proof))
        signature = hmac.digest(stored, signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._proof = hmac.digest(server_key, signed, "sha256")
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, outcome: bytes) -> None:
        """Check the server's signature in its final message."""
        if not self._proof or self.verified:
            raise _violation("a final message out of turn")
        if not outcome.startswith(b"v="):
            raise _violation("a final message without a signature", "28000")
        if not hmac.compare_digest(_decode(outcome[2:]), self._proof):
            raise _violation("a wrong signature: it does not know the password", "28000")
        self.verified = True

    def _read_challenge(self, challenge: bytes) -> tuple[bytes, bytes, int]:
        """Take the server's first message apart: nonce, salt, iterations."""
        if self._proof:
            raise _violation("a second challenge")
        if len(challenge) > MAXIMUM_MESSAGE:
            raise _violation("a challenge that is too long")
        parts = challenge.split(b",")
        if len(parts) < 3 or [part[:2] for part in parts[:3]] != [b"r=", b"s=", b"i="]:
            raise _violation("a challenge of another form")
        nonce, salt, count = (part[2:] for part in parts[:3])
        ours = self._nonce.encode("ascii")
        if not nonce.startswith(ours) or len(nonce) < len(ours) + 8:
            raise _violation("a nonce that is not made for this exchange")
        if not all(0x21 <= byte <= 0x7E for byte in nonce):
            raise _violation("a nonce that is not printable")
        if not (count.isdigit() and len(count) <= 10 and count[:1] != b"0"):
            raise _violation("an iteration count that is no number")
        iterations = int(count)
        if not MINIMUM_ITERATIONS <= iterations <= MAXIMUM_ITERATIONS:
            raise _violation(f"an iteration count of {iterations}")
        return nonce, _decode(salt), iterations


def _decode(text: bytes) -> bytes:
    """Decode base64, strictly."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _violation("what is not base64") from None
    if not raw:
        raise _violation("an empty value")
    return raw


def _violation(what: str, code: str = "08P01") -> ProtocolViolation:
    return ProtocolViolation("target", f"scram: the server sent {what}", code)
