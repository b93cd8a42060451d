"""Device codes (RFC 8628): what a terminal shows, until somebody has entered it and picked whom."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from sallyport.demo.issuer.logins import Login
from sallyport.demo.issuer.tables import Table, digest
from sallyport.web.forms import OAuthProblem

LASTS: Final = 600.0
"""Seconds that a code can be entered."""

TOLD: Final = 300.0
"""Seconds for which a code that is over is known as one."""

INTERVAL: Final = 1.0
"""Seconds between two polls: the demo waits for nobody's servers."""

SLOWER: Final = 5.0
"""Seconds that `slow_down` adds (RFC 8628, 3.5)."""

EARLY: Final = 0.2
"""Seconds that a poll may be early: two clocks, and one machine that is busy."""

MAXIMUM: Final = 64
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels: a code spells nothing, and is not misread (RFC 8628, 6.1). 34 bits in 8 of them."""


class Device(Struct):
    """One terminal that waits. `asked` is when it last polled."""

    user_code: str
    client: str
    scopes: tuple[str, ...]
    until: float
    asked: float | None = None
    interval: float = INTERVAL
    login: Login | None = None
    refused: bool = False

    @property
    def open(self) -> bool:
        """Whether nobody has answered yet."""
        return self.login is None and not self.refused


class Devices:
    """All device codes. `clock` in epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._devices: Table[Device] = Table(MAXIMUM, LASTS + TOLD, clock)

    def begin(self, client: str, scopes: tuple[str, ...]) -> tuple[str, Device]:
        """Return a new device code, and what belongs to it."""
        letters = "".join(secrets.choice(LETTERS) for _ in range(8))
        device = Device(f"{letters[:4]}-{letters[4:]}", client, scopes, self._clock() + LASTS)
        code = secrets.token_urlsafe(32)
        self._devices.put(digest(code), device)
        return code, device

    def entered(self, text: str) -> Device | None:
        """Return what still waits under a code, however it was typed; None: nothing does."""
        wanted = _plain(text)
        for device in self._devices.values():
            if _plain(device.user_code) == wanted and device.open and self._clock() < device.until:
                return device
        return None

    def poll(self, code: str, client: str) -> Login:
        """Return the login that a device code has come to. It counts once. Raises: OAuthProblem."""
        device = self._devices.get(digest(code))
        if device is None or device.client != client:
            raise OAuthProblem("invalid_grant", "the device code is not known, or was used")
        now, before = self._clock(), device.asked
        device.asked = now
        if now >= device.until:
            raise OAuthProblem("expired_token", "nobody has entered the code in time")
        if before is not None and now - before < device.interval - EARLY:
            device.interval += SLOWER
            raise OAuthProblem("slow_down", f"wait {device.interval:.0f} s between two polls")
        if device.open:
            raise OAuthProblem("authorization_pending", "nobody has entered the code yet")
        self._devices.pop(digest(code))
        if device.login is None:
            raise OAuthProblem("access_denied", "it was refused in the browser")
        return device.login


def _plain(text: str) -> str:
    return "".join(letter for letter in text.upper() if letter in LETTERS)
