"""Withheld: a target's credential that comes back in a response does not reach the client.

Targets show what they were asked with: in debug pages, in errors, in redirects. What looks like the
credential, as it was sent, is replaced by as many asterisks, so that no length changes. A target
that tells it in another form (hashed, reversed, in hexadecimal) is not noticed.
"""

from __future__ import annotations

import base64
from typing import Final, final
from urllib.parse import quote

from sallyport.protocols.http.message import Fields
from sallyport.protocols.http.settings import Inject

_SHORTEST: Final = 6
"""Bytes of a secret that is looked for: shorter ones stand in every text."""


def forms_of(inject: Inject, credential: bytes) -> tuple[bytes, ...]:
    """Return how a credential may stand in a response, the longest form first."""
    value = credential.strip()
    found = {value}
    if inject.way == "certificate" or inject.way == "none":
        return ()
    if inject.way == "basic":
        pair = inject.user.encode() + b":" + value if inject.user else value
        found |= {pair, pair.partition(b":")[2], base64.b64encode(pair)}
    elif inject.way == "query":
        found.add(quote(value, safe="").encode())
    elif inject.way == "oauth2":
        found.add(value.partition(b":")[2])
    long = [form for form in found if len(form) >= _SHORTEST]
    return tuple(sorted(long, key=len, reverse=True))


def hide(forms: tuple[bytes, ...], data: bytes) -> bytes:
    """Return `data`, whole, without any of the forms."""
    for form in forms:
        if form in data:
            data = data.replace(form, b"*" * len(form))
    return data


def hide_fields(forms: tuple[bytes, ...], fields: Fields) -> Fields:
    """Return fields without any of the forms in a value."""
    if not any(form in value for _, value in fields for form in forms):
        return fields
    return [(name, hide(forms, value)) for name, value in fields]


@final
class Withholding:
    """Hides in a body that arrives in pieces: keeps back what may be the beginning of a form."""

    def __init__(self, forms: tuple[bytes, ...]) -> None:
        self._forms = forms
        self._longest = max(map(len, forms), default=0)
        self._kept = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """Return what may leave by now."""
        if not self._forms:
            return data
        if self._kept:
            data = self._kept + data
        shown = hide(self._forms, data)
        if shown is not data:
            self.found = True
        begins = self._begins(shown)
        self._kept = shown[begins:]
        return shown[:begins] if self._kept else shown

    def finish(self) -> bytes:
        """Return the rest."""
        rest, self._kept = self._kept, b""
        return rest

    def _begins(self, data: bytes) -> int:
        """Return where a form may begin that is not whole yet; the end: nowhere."""
        earliest = max(0, len(data) - self._longest + 1)
        first = len(data)
        for form in self._forms:
            position = data.find(form[:1], max(earliest, len(data) - len(form) + 1), first)
            while position >= 0:
                if form.startswith(data[position:]):
                    first = position
                    break
                position = data.find(form[:1], position + 1, first)
        return first
