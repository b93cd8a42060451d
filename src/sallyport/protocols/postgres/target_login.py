"""The login at the target, with the gateway as the client.

Theory of operation. `start` gives the StartupMessage; bytes go into `receive`, which returns what
to answer. The machine walks OPENING -> (SASL -> PROOF) -> ACCEPTED -> READY. How far the server
is trusted with the credential is the `Floor`: a server that asks for less than the floor demands
gets nothing, since a rogue one would ask just that. What the server says in an error never goes
on: it may name the login or quote the credential.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final, NoReturn, final

from sallyport.core.errors import ProtocolViolation, TargetUnavailable
from sallyport.core.subject import Secret
from sallyport.protocols.postgres import frames, messages, replies
from sallyport.protocols.postgres.scram import Scram

MAXIMUM_LOGIN: Final = 256 * 1024
"""Bytes that a server may send before it is ready."""

ENFORCED: Final = {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
"""Settings that every session has: with others the gateway would read a statement differently."""

_SAFE: Final = {
    "22023": "it refuses a setting that the client asked for",
    "28000": "it refuses the gateway's login",
    "28P01": "it refuses the gateway's credential",
    "3D000": "the database does not exist",
    "42501": "the login may not connect to the database",
    "53300": "it has no free connection",
    "55000": "the database takes no connections",
    "57P03": "it is starting up, shutting down or recovering",
}
"""What a client is told for the SQLSTATE of a refused login."""
_KEPT: Final = frozenset({"22023", "3D000", "53300", "55000", "57P03"})
"""SQLSTATEs that a client may see: they tell nothing of the credential, and drivers act on them."""


class Floor(enum.Enum):
    """How far the way to the target is known to be the target's.

    LOCAL: a Unix socket, or loopback. VERIFIED: TLS with a certificate that was checked.
    UNVERIFIED: anything else; there the server must prove by SCRAM that it knows the password.
    """

    LOCAL = "local"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"


class TargetRefused(TargetUnavailable):
    """The target answered and refused. `code` is the SQLSTATE that the client is told."""

    def __init__(self, target: str, message: str, code: str = "08004") -> None:
        super().__init__(target, message)
        self.code = code


class VersionRefused(TargetRefused):
    """The server (or a pooler in front of it) does not take this protocol version."""


class State(enum.Enum):
    """Where a login at the target stands."""

    OPENING = "opening"
    ANSWERED = "answered"
    SASL = "sasl"
    PROOF = "proof"
    ACCEPTED = "accepted"
    READY = "ready"


@final
class TargetLogin:
    """One login. `settings` are the client's own; those that are enforced are put on top.

    `binding` is the server certificate's `scram.end_point`. `md5` allows MD5 off loopback.
    INVARIANT: `done` is True only when the server was accepted as the floor demands, and keeps
    the enforced settings. After `done`, `parameters` is what it reported, `key` what cancels the
    session (None: it gave none), `method` how it let the gateway in.
    """

    def __init__(
        self,
        *,
        target: str,
        login: str,
        database: str,
        credential: Secret,
        settings: dict[str, str],
        write: bool,
        floor: Floor,
        encrypted: bool,
        binding: bytes | None = None,
        md5: bool = False,
        version: int = messages.PROTOCOL_3_2,
    ) -> None:
        self.parameters: dict[str, str] = {}
        self.key: replies.KeyData | None = None
        self.method = "trust"
        self.version = version
        self._target = target
        self._login = login
        self._credential = credential
        self._floor = floor
        self._encrypted = encrypted
        self._binding = binding
        self._md5 = md5
        self._state = State.OPENING
        self._splitter = frames.Splitter("target")
        self._received = 0
        self._scram: Scram | None = None
        self._enforced = dict(ENFORCED)
        if not write:
            self._enforced["default_transaction_read_only"] = "on"
        self._startup = {"user": login, "database": database, **settings, **self._enforced}

    @property
    def done(self) -> bool:
        """Whether the target is ready for statements, and nothing of a message is outstanding."""
        return self._state is State.READY and self._splitter.between

    def start(self) -> bytes:
        """Return the StartupMessage."""
        return messages.startup(self._startup, self.version)

    def receive(self, data: bytes) -> bytes:
        """Take bytes and return the answer.

        Raises: ProtocolViolation, and TargetRefused with a text that is safe to show. Deriving a
        key takes milliseconds: call it in a thread.
        """
        self._received += len(data)
        if self._received > MAXIMUM_LOGIN:
            raise ProtocolViolation("target", f"more than {MAXIMUM_LOGIN} bytes before it is ready")
        self._splitter.feed(data)
        answer = b""
        while (piece := self._splitter.next()) is not None:
            if piece.count != 1 or not piece.whole:
                raise ProtocolViolation("target", "rows before it is ready")
            answer += self._take(piece.type, piece.body)
        return answer

    def _take(self, kind: int, body: bytes) -> bytes:
        """Take one message."""
        if kind == frames.ERROR_RESPONSE:
            self._refused(replies.parse_fields(body))
        if kind == frames.NOTICE_RESPONSE:
            replies.parse_fields(body, "NoticeResponse")
            return b""
        if kind == frames.AUTHENTICATION:
            return self._authenticate(replies.parse_authentication(body))
        if kind == frames.NEGOTIATE_PROTOCOL and self._state is State.OPENING:
            self._negotiated(replies.parse_negotiation(body))
            return b""
        if kind == frames.PARAMETER_STATUS and self._state in (State.ACCEPTED, State.READY):
            name, text = replies.parse_parameter_status(body)
            self.parameters[name] = text
            if self._state is State.READY:
                self._check_settings()
            return b""
        if self._state is State.ACCEPTED and kind == frames.BACKEND_KEY_DATA and self.key is None:
            self.key = replies.parse_key_data(body, self.version)
            return b""
        if self._state is State.ACCEPTED and kind == frames.READY_FOR_QUERY:
            if replies.parse_ready(body) != "I":
                raise ProtocolViolation("target", "a session that begins inside a transaction")
            self._check_settings()
            self._state = State.READY
            return b""
        raise ProtocolViolation("target", f"message `{chr(kind)}` does not belong in a login")

    def _negotiated(self, negotiation: replies.Negotiation) -> None:
        """Take an older minor version. The gateway asks for no options."""
        if negotiation.options or not messages.PROTOCOL_3_0 <= negotiation.version < self.version:
            raise ProtocolViolation("target", "a protocol negotiation that answers nothing")
        self.version = negotiation.version

    def _authenticate(self, request: replies.Authentication) -> bytes:
        """Answer an authentication request, as far as the floor allows."""
        code = request.code
        if code == replies.AUTH_OK:
            return self._accepted(request)
        if code == replies.AUTH_SASL_CONTINUE and self._state is State.SASL and self._scram:
            self._state = State.PROOF
            return messages.sasl_response(self._scram.final(request.data))
        if code == replies.AUTH_SASL_FINAL and self._state is State.PROOF and self._scram:
            self._scram.verify(request.data)
            self._state = State.ANSWERED
            return b""
        if self._state is not State.OPENING:
            raise ProtocolViolation("target", f"authentication request {code} out of turn")
        if code not in (replies.AUTH_CLEARTEXT, replies.AUTH_MD5, replies.AUTH_SASL):
            self._fail(f"it asks for an authentication that the gateway does not have ({code})")
        if not self._credential.reveal():
            self._fail("it asks for a password, and the gateway has none for this login")
        if code == replies.AUTH_SASL:
            return self._begin_scram(request.data)
        if code == replies.AUTH_MD5:
            return self._answer_md5(request.data)
        return self._answer_cleartext(request.data)

    def _accepted(self, request: replies.Authentication) -> bytes:
        """Take AuthenticationOk. FAILS CLOSED: in mid-SCRAM it skips the server's proof."""
        if self._state not in (State.OPENING, State.ANSWERED) or request.data:
            raise ProtocolViolation("target", "accepted before it proved itself", "28000")
        proved = self._scram is not None and self._scram.verified
        if self._floor is Floor.UNVERIFIED and self._credential.reveal() and not proved:
            self._fail("it did not prove itself by SCRAM, and nothing else shows who it is")
        self._state = State.ACCEPTED
        return b""

    def _begin_scram(self, data: bytes) -> bytes:
        """Answer AuthenticationSASL."""
        self._scram = Scram(
            self._credential,
            replies.parse_mechanisms(data),
            encrypted=self._encrypted,
            binding=self._binding,
        )
        self.method = self._scram.mechanism.lower()
        self._state = State.SASL
        return messages.sasl_initial(self._scram.mechanism, self._scram.first())

    def _answer_md5(self, salt: bytes) -> bytes:
        """Answer AuthenticationMD5Password: weak, so on loopback alone unless it was asked for."""
        if len(salt) != 4:
            raise ProtocolViolation("target", "an md5 salt of another length than 4")
        allowed = self._floor is Floor.VERIFIED and self._md5
        if self._floor is not Floor.LOCAL and not allowed:
            self._fail("it asks for an md5 password; the gateway gives its credential by SCRAM")
        self.method = "md5"
        self._state = State.ANSWERED
        password = self._credential.reveal()
        inner = hashlib.md5(password + self._login.encode(), usedforsecurity=False).hexdigest()
        outer = hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest()
        return messages.password(b"md5" + outer.encode())

    def _answer_cleartext(self, data: bytes) -> bytes:
        """Answer AuthenticationCleartextPassword: never where somebody else could be asking."""
        if data:
            raise ProtocolViolation("target", "a malformed authentication request")
        if self._floor is Floor.UNVERIFIED:
            self._fail("it asks for the password in clear; the gateway gives it by SCRAM alone")
        password = self._credential.reveal()
        if 0 in password:
            self._fail("the gateway's credential cannot be sent: it holds a NUL")
        self.method = "password"
        self._state = State.ANSWERED
        return messages.password(password)

    def _check_settings(self) -> None:
        """Demand that the server keeps what is enforced, as far as it reports it.

        `default_transaction_read_only` is reported since PostgreSQL 14.
        """
        for name, wanted in self._enforced.items():
            found = self.parameters.get(name)
            if found is None and name not in ENFORCED:
                continue
            if found != wanted:
                self._fail(f"it does not keep the setting `{name}` = `{wanted}`")

    def _refused(self, fields: dict[str, str]) -> NoReturn:
        """Raise what is safe to say of the server's error."""
        code = fields.get("C", "")
        early = self._state is State.OPENING and self.version != messages.PROTOCOL_3_0
        if early and code in ("0A000", "08P01"):
            raise VersionRefused(self._target, "it does not speak protocol 3.2")
        known = len(code) == 5 and code.isascii() and code.isalnum()
        safe = _SAFE.get(code, f"it refuses the session (SQLSTATE {code if known else 'unknown'})")
        raise TargetRefused(self._target, safe, code if code in _KEPT else "08004")

    def _fail(self, why: str) -> NoReturn:
        raise TargetRefused(self._target, why)
