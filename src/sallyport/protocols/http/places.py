"""Places: what a path's own words say of what stands there: collections, credentials, exports.

Words are compared in lower case and without `-` and `_`, in every reading of the path: what a
server might take for `/Admin` counts as that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

ADMIN: Final = "admin-path"
CREDENTIALS: Final = "credential-path"
EXPORT: Final = "bulk-export"
COLLECTION: Final = "collection"

_ADMIN: Final = frozenset(
    "admin administrator administration adminapi adminconsole superuser sudo root actuator"
    " management manage console phpmyadmin pgadmin adminer wpadmin cpanel serverstatus serverinfo"
    " jmxconsole managerhtml debug pprof heapdump threaddump jolokia internal".split()
)
_CREDENTIALS: Final = frozenset(
    "apikey apikeys accesskey accesskeys accesstoken accesstokens refreshtokens tokens secret"
    " secrets credential credentials password passwords passwd privatekey privatekeys sshkeys"
    " gpgkeys deploykeys signingkeys keypairs serviceaccountkeys clientsecrets env htpasswd"
    " idrsa kubeconfig awscredentials git".split()
)
_EXPORT: Final = frozenset(
    "export exports dump dumps backup backups bulk bulkexport bulkdownload downloadall exportall"
    " snapshot snapshots scroll".split()
)
_NOISE: Final = re.compile(r"[-_.]")
_VERSION: Final = re.compile(r"v[0-9]+")


def facts_of_place(readings: Iterable[str], template: str) -> frozenset[str]:
    """Return the facts that the words of a path state."""
    found = set()
    for reading in readings:
        words = [_NOISE.sub("", part) for part in reading.lower().split("/") if part]
        if not _ADMIN.isdisjoint(words):
            found.add(ADMIN)
        if not _CREDENTIALS.isdisjoint(words):
            found.add(CREDENTIALS)
        if words and (not _EXPORT.isdisjoint(words) or words[-1].startswith("export")):
            found.add(EXPORT)
        if _is_collection(words, template):
            found.add(COLLECTION)
    return frozenset(found)


def _is_collection(words: list[str], template: str) -> bool:
    """Whether a path names many things: its template says, or its last word is a plural.

    FAILS CLOSED: a path of one word, or of none after a version, names a collection.
    """
    if template:
        return not template.rstrip("/").endswith("}")
    if not words:
        return True
    last = words[-1]
    if not last.isalpha():
        return False
    before = [word for word in words[:-1] if word != "api" and not _VERSION.fullmatch(word)]
    return not before or last.endswith("s")
