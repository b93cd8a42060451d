"""Carrying: an allowed request out to its target and back, on record from first to last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, final

from sallyport.core.decision import Allow
from sallyport.core.errors import MaskingFailed, ProtocolViolation, TargetUnavailable
from sallyport.core.grant import Grant
from sallyport.masking.plan import text_masker
from sallyport.protocols.base import Services
from sallyport.protocols.http.records import Account
from sallyport.protocols.http.serving.asking import Asked
from sallyport.protocols.http.serving.delivery import Delivery
from sallyport.protocols.http.serving.ends import GoneError, Incoming, Responder
from sallyport.protocols.http.serving.forward import Forwarding


class Settings(NamedTuple):
    """What the gateway's settings say: bytes of a body on record, the key of hashing masks."""

    result_bytes: int
    mask_key: bytes


Terms = Callable[[], Settings]
"""Gives the settings in force."""


class Request(NamedTuple):
    """A request that was read. `target`: as it goes on. `whole`: its body; None: that is too large
    to look at, `prefix` was read of it, and `body` gives the rest."""

    asked: Asked
    number: int
    target: str
    body: Incoming
    whole: bytes | None
    prefix: bytes


@final
class Carrying:
    """One request on its way."""

    def __init__(self, services: Services, terms: Terms, request: Request, allow: Allow) -> None:
        self._services = services
        self._request = request
        self._allow = allow
        self._terms = terms()

    async def run(self, responder: Responder) -> None:
        """Send the request, deliver the response. Raises what ended it in the middle."""
        asked, number = self._request.asked, self._request.number
        session = asked.session
        account = account_of(self._services, session.grant, number, self._allow, self._terms)
        forwarding = Forwarding(session, account, asked.head, asked.fields, self._request.target)
        delivery = Delivery(
            session, account, self._allow, self._terms.mask_key, responder, asked.route
        )
        request = self._request
        try:
            await forwarding.run(request.body, request.whole, request.prefix, responder, delivery)
            account.ended(str(delivery.status))
        except BaseException as error:
            account.ended(str(delivery.status or ""), why(error, session.grant), "unfinished")
            self._services.push(_nothing)
            raise


def account_of(
    services: Services, grant: Grant, number: int, allow: Allow, terms: Settings
) -> Account:
    """Return the account of an allowed operation: as full as its rules say, masked as its text."""
    masker = text_masker(allow.obligations.masks, terms.mask_key)
    conceal = masker.mask_text if masker is not None else None
    account = Account(
        services.record, time.time, grant.session, number, terms.result_bytes, conceal
    )
    account.keep = allow.obligations.record == "full"
    return account


def _nothing() -> None:
    """What was recorded goes to the journal's file, also where nothing is left to send."""


def why(error: BaseException, grant: Grant) -> str:
    """Return, for the record, what ended an operation in its middle."""
    if grant.ended.reason is not None:
        return f"unfinished: {grant.ended.reason}"
    if isinstance(error, asyncio.CancelledError | GoneError):
        return "unfinished: the client has gone"
    if isinstance(error, MaskingFailed | TargetUnavailable | ProtocolViolation):
        return f"unfinished: {error}"
    return f"unfinished: {type(error).__name__}"
