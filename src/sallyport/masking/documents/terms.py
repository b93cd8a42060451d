"""Terms: what several masks ask of one response, put together once."""

from __future__ import annotations

from functools import lru_cache
from typing import Final, final

from sallyport.core.decision import Mask
from sallyport.core.errors import MaskingFailed
from sallyport.core.globs import Globs
from sallyport.masking.content import Content, Rule
from sallyport.masking.detectors import detectors_of
from sallyport.masking.documents.json_search import Keys
from sallyport.masking.documents.jsonpath import Paths
from sallyport.masking.documents.names import fields_named
from sallyport.masking.documents.notation import Notated
from sallyport.masking.finders import Detector
from sallyport.masking.settings import Setting, setting_of, strongest
from sallyport.masking.transforms import Transform

_KEY_SIZE: Final = 16
_KNOWN: Final = 1024


def _searcher(masks: tuple[Mask, ...], key: bytes, most: Transform) -> Content | None:
    chosen: dict[Detector, Transform] = {}
    for mask in masks:
        transform = min(setting_of(mask).in_results, most)
        for detector in detectors_of(mask):
            chosen[detector] = max(chosen.get(detector, transform), transform)
    if not chosen:
        return None
    return Content([Rule(each, False, transform) for each, transform in chosen.items()], key)


@final
class Terms:
    """What is hidden, and how. Raises: ValueError for a mask that cannot be carried out.

    `values` looks into JSON, where a match under the null transform leaves nothing of its value;
    `texts` into anything else, where it is redacted: a text cannot be NULL.
    """

    __slots__ = (
        "_chosen", "_cookies", "_headers", "_settings", "key", "keys", "paths", "texts", "values",
    )  # fmt: skip

    def __init__(self, masks: tuple[Mask, ...], key: bytes) -> None:
        self.key = key
        self.values = _searcher(masks, key, Transform.NULL)
        self.texts = _searcher(masks, key, Transform.REDACT)
        self.keys = Keys(None if self.values is None else Notated(self.values, key))
        named: list[tuple[str, Setting]] = []
        self._headers: list[tuple[Globs, Setting]] = []
        self._cookies: list[tuple[Globs, Setting]] = []
        for mask in masks:
            setting = setting_of(mask)._replace(keys=())
            named += [(path, setting) for path in mask.json]
            if mask.headers:
                self._headers.append((fields_named(mask.headers), setting))
            if mask.cookies:
                self._cookies.append((Globs(mask.cookies), setting))
            if setting.transform == "hash" and len(key) < _KEY_SIZE:
                raise ValueError(f"the hash transform needs a key of {_KEY_SIZE} bytes or more")
        self._settings = [setting for _, setting in named]
        self.paths = Paths([path for path, _ in named]) if named else None
        self._chosen: dict[tuple[int, ...], Setting | None] = {}

    def setting(self, chosen: tuple[int, ...]) -> Setting | None:
        """Return what becomes of a value that the paths of these numbers name; None: nothing."""
        if not chosen:
            return None
        known = self._chosen.get(chosen)
        if known is None:
            known = strongest(self._settings[number] for number in chosen)
            if len(self._chosen) >= _KNOWN:
                self._chosen.clear()
            self._chosen[chosen] = known
        return known

    def header(self, name: str) -> Setting | None:
        """Return what becomes of a field's whole value; None: nothing."""
        return strongest(setting for globs, setting in self._headers if globs.matches(name))

    def cookie(self, name: str) -> Setting | None:
        """Return what becomes of a cookie's value; None: nothing."""
        return strongest(setting for globs, setting in self._cookies if globs.matches(name))

    @property
    def names_cookies(self) -> bool:
        """Whether any cookie is named."""
        return bool(self._cookies)

    def notated(self, *, word: bool = False, plus: bool = False) -> Notated | None:
        """Return what searches texts with escapes; None: nothing is looked for."""
        return None if self.texts is None else Notated(self.texts, self.key, word=word, plus=plus)


def terms_of(masks: tuple[Mask, ...], key: bytes) -> Terms:
    """Return the terms of `masks`. FAILS CLOSED. Raises: MaskingFailed for what cannot be done."""
    try:
        return _terms(masks, key)
    except ValueError as error:
        raise MaskingFailed(str(error)) from None


_terms = lru_cache(maxsize=32)(Terms)
