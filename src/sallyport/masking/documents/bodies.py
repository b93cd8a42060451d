"""Bodies: which types can be looked into, and what looks into each.

A type is what a response says of itself; nothing is guessed but that a text which begins like JSON
is looked at as JSON where masks name values of it. FAILS CLOSED: what is not known here cannot be
looked into, and whether it leaves all the same is for policy to say.
"""

from __future__ import annotations

from typing import Final

from sallyport.core.decision import Mask
from sallyport.masking.documents.events import EventBody
from sallyport.masking.documents.forms import FormBody
from sallyport.masking.documents.json_stream import JsonMasker
from sallyport.masking.documents.terms import Terms, terms_of
from sallyport.masking.documents.texts import BodyMasker, Recoded, Sniffed, TextBody

__all__ = ["BodyMasker", "body_masker", "searches"]

_JSON: Final = frozenset(
    "application/json text/json text/x-json application/x-json application/json-seq"
    " application/x-ndjson application/ndjson application/jsonl application/x-jsonlines"
    " application/jsonlines application/stream+json application/x-json-stream".split()
)
_TEXTS: Final = frozenset(
    "application/javascript application/x-javascript application/ecmascript application/graphql"
    " application/sql application/toml application/x-sh application/x-pem-file"
    " application/rtf application/x-httpd-php application/csv".split()
)
_PLAIN_WORDS: Final = frozenset(
    "application/xml text/xml application/xml-dtd application/yaml application/x-yaml text/yaml"
    " text/x-yaml text/vnd.yaml".split()
)
"""Where brackets or a colon in the place of a value would make another document of it."""
_FORM: Final = "application/x-www-form-urlencoded"
_EVENTS: Final = "text/event-stream"
_UTF8: Final = frozenset(("", "utf-8", "utf8", "us-ascii", "ascii"))
_WESTERN: Final = frozenset(
    ("iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "windows-1252", "cp1252")
)


def searches(masks: tuple[Mask, ...]) -> bool:
    """Whether any of `masks` has a say in bodies. Names of columns mean nothing in them."""
    return any(mask.detectors or mask.json for mask in masks)


def body_masker(
    masks: tuple[Mask, ...], media_type: str, charset: str, key: bytes
) -> BodyMasker | None:
    """Return what masks a body of this type (in lower case); None: it cannot be looked into.

    `key` makes the hashes. Raises: MaskingFailed for a mask that cannot be carried out.
    """
    if charset not in _UTF8 and charset not in _WESTERN:
        return None
    found = _by_type(terms_of(masks, key), media_type)
    if found is None or charset in _UTF8:
        return found
    return Recoded(found)


def _by_type(terms: Terms, media_type: str) -> BodyMasker | None:
    kind, _, subtype = media_type.partition("/")
    if not kind or not subtype or kind == "multipart":
        return None
    if media_type in _JSON or media_type.endswith(("+json", "+json-seq")):
        return JsonMasker(terms)
    if media_type == _EVENTS:
        return _sniffed(EventBody(terms), terms)
    if media_type == _FORM:
        notated = terms.notated()
        return _sniffed(TextBody(None) if notated is None else FormBody(notated), terms)
    word = media_type in _PLAIN_WORDS or subtype.endswith(("+xml", "+yaml"))
    if not word and kind != "text" and media_type not in _TEXTS:
        return None
    return _sniffed(TextBody(terms.notated(word=word)), terms)


def _sniffed(body: BodyMasker, terms: Terms) -> BodyMasker:
    """Return what looks into a body as JSON where it begins like that, whatever its type says:
    clients can ask some servers for another one."""
    return body if terms.paths is None else Sniffed(body, lambda: JsonMasker(terms))
