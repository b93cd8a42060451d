"""Exchanges in two steps: tokens that prove themselves by SCRAM and never travel.

Control's half: a client's first message is answered with salt and nonce, its final one with yes or
no. INVARIANT: an id that nobody has, and a token that is revoked, expired or shown from elsewhere,
get the same messages after the same work; StoredKey and ServerKey leave only as proofs. What is
open is bounded in number and time: a handle ends by its one answer, after `LIFETIME`, or as the
longest open one when there are too many.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from sallyport.core import scram
from sallyport.core.errors import ProtocolViolation
from sallyport.core.scram import ClientFirst, Verifier
from sallyport.core.subject import Challenge, Opening, Subject
from sallyport.identity.tokens import SALT, SCRAM_ITERATIONS, TokenService

LIFETIME: Final = 30.0
"""Seconds from a challenge within which its answer counts."""
MAXIMUM_OPEN: Final = 10_000
"""Exchanges open at once; beyond, the longest open one goes."""
HANDLE: Final = 16
"""Bytes of a handle."""
MAXIMUM_CLAIM: Final = 64
"""Characters of a claimed id that are looked at; an id has 16."""


class _Exchange(Struct, frozen=True):
    """One challenge that waits for its answer. `real`: whether the verifier is a token's own."""

    expires: float
    claimed: str
    source: str
    first: ClientFirst
    challenge: bytes
    binding: bytes
    verifier: Verifier
    real: bool


class Outcome(Struct, frozen=True):
    """How an exchange ended: the subject with the gateway's proof, or nobody."""

    claimed: str
    source: str
    subject: Subject | None = None
    proof: bytes = b""


class Exchanges:
    """The exchanges that are open. `key` makes what is shown of ids that nobody has: keep it."""

    def __init__(
        self,
        tokens: TokenService,
        key: bytes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._key = key
        self._clock = monotonic
        self._open: OrderedDict[tuple[str, bytes], _Exchange] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    async def begin(self, worker: str, opening: Opening) -> Challenge | None:
        """Answer a first message; None where it is malformed, which tells nothing of any token."""
        try:
            first = scram.parse_first(opening.message, opening.mechanism, opening.binding)
        except ProtocolViolation:
            return None
        claimed = opening.claimed[:MAXIMUM_CLAIM]
        stand_in = self._stand_in(claimed)
        found = await self._tokens.verifier(claimed)
        verifier = stand_in if found is None else found
        random = secrets.token_bytes(scram.SERVER_NONCE)
        message = scram.server_first(first, random, verifier.salt, verifier.iterations)
        handle = secrets.token_bytes(HANDLE)
        now = self._clock()
        self._forget(now)
        self._open[worker, handle] = _Exchange(
            expires=now + LIFETIME,
            claimed=claimed,
            source=opening.source,
            first=first,
            challenge=message,
            binding=opening.binding,
            verifier=verifier,
            real=found is not None,
        )
        return Challenge(handle, message)

    async def finish(self, worker: str, handle: bytes, message: bytes) -> Outcome:
        """Check the answer to a challenge of this worker. A handle counts once, right or wrong.

        The token is looked up whatever the proof is worth: it may have been revoked since.
        """
        exchange = self._open.pop((worker, handle), None)
        if exchange is None or exchange.expires < self._clock():
            return Outcome("", "" if exchange is None else exchange.source)
        failed = Outcome(exchange.claimed, exchange.source)
        try:
            final = scram.parse_final(message)
        except ProtocolViolation:
            return failed
        proven, proof = scram.outcome(
            exchange.first, exchange.challenge, final, exchange.binding, exchange.verifier
        )
        subject = await self._tokens.admit(
            exchange.claimed, exchange.source, proven=proven & exchange.real
        )
        if subject is None:
            return failed
        return Outcome(exchange.claimed, exchange.source, subject, proof)

    def _stand_in(self, claimed: str) -> Verifier:
        """Return what is shown and checked for an id without a verifier: always the same."""
        parts = (
            hmac.digest(self._key, f"{part}\0{claimed}".encode("utf-8", "surrogatepass"), "sha256")
            for part in ("salt", "stored key", "server key")
        )
        salt, stored, server = parts
        return Verifier(salt[:SALT], SCRAM_ITERATIONS, stored, server)

    def _forget(self, now: float) -> None:
        """Drop what is past its time, and the longest open ones above the bound."""
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.expires >= now and len(self._open) < MAXIMUM_OPEN:
                return
            self._open.popitem(last=False)
