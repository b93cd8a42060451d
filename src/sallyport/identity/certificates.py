"""TLS client certificates become subjects.

The TLS leg has verified the chain to the listener's authorities, and that the client holds the key;
what the certificate says is read here once more. The name is the one URI `spiffe://...`, where it
has one, else its one mail address, else its one common name. FAILS CLOSED: a certificate that is
an authority's, that is not made for clients (RFC 5280, extended key usage `clientAuth`) or that has
two names of the kind that counts is nobody's.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Final

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sallyport.core.errors import SallyportError
from sallyport.core.subject import Refused, Subject
from sallyport.identity.names import MAXIMUM_GROUPS, is_name
from sallyport.identity.revocations import is_revoked
from sallyport.store.database import Database

ISSUER: Final = "certificate"
"""What `Subject.issuer` says of those who came with a client certificate."""
MAXIMUM_CERTIFICATE: Final = 16 * 1024
"""Bytes of the largest certificate."""

_SPIFFE: Final = "spiffe://"
_SPIFFE_ID: Final = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+", re.ASCII
)
_log = structlog.get_logger("identity")


class CertificateError(SallyportError):
    """A certificate that names nobody. The message is for the log, never for a client."""


class Certificates:
    """Reads client certificates, and asks whether they were revoked here."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def check(self, der: bytes, *, groups: bool) -> Subject | None:
        """Return whom the certificate names, or None; why not is logged, and told to nobody.

        `groups`: whether its organizational units are groups.
        """
        try:
            subject = self._read(der, groups)
            if await self._revoked(subject):
                raise CertificateError("revoked here")
        except CertificateError as error:
            _log.info("certificate refused", reason=str(error))
            return None
        return subject

    async def may_still(self, subject: Subject) -> Refused | None:
        """Return why `subject`, once authenticated, may no longer open a session, or None."""
        if subject.expires is None or subject.expires <= self._clock():
            return Refused("the certificate has expired", "get a new one")
        if await self._revoked(subject):
            return Refused("the certificate is no longer valid", "get a new one")
        return None

    async def _revoked(self, subject: Subject) -> bool:
        return await is_revoked(
            self._database, subject.token, (subject.name,), subject.claims["iat"]
        )

    def _read(self, der: bytes, groups: bool) -> Subject:
        """Read what counts of a certificate. Raises: CertificateError."""
        if len(der) > MAXIMUM_CERTIFICATE:
            raise CertificateError("too long")
        try:
            certificate = x509.load_der_x509_certificate(der)
            begins = certificate.not_valid_before_utc.timestamp()
            ends = certificate.not_valid_after_utc.timestamp()
            issuer = certificate.issuer.rfc4514_string()
            extensions = certificate.extensions
            name = _name(certificate, extensions)
            units = _units(certificate) if groups else ()
            _check_purpose(extensions)
        except CertificateError:
            raise
        except Exception as error:  # the parser has many kinds, and a stranger chose the bytes
            raise CertificateError(f"cannot be read ({type(error).__name__})") from None
        if not begins <= self._clock() < ends:
            raise CertificateError("expired, or not yet in force")
        return Subject(
            name=name,
            groups=units,
            issuer=ISSUER,
            token=certificate_id(der),
            expires=ends,
            claims={"iat": begins, "serial": f"{certificate.serial_number:x}", "authority": issuer},
        )


def certificate_id(der: bytes) -> str:
    """Return what a certificate is called in records, and revoked by: a hash of all of it."""
    return "crt-" + hashlib.sha256(der).hexdigest()[:24]


def _check_purpose(extensions: x509.Extensions) -> None:
    """Demand an end entity's certificate that is made for clients."""
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.ca:
            raise CertificateError("an authority's own certificate")
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        raise CertificateError("no extended key usage: `clientAuth` is needed") from None
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        raise CertificateError("not made for clients: extended key usage lacks `clientAuth`")


def _name(certificate: x509.Certificate, extensions: x509.Extensions) -> str:
    """Return the name that counts. Raises: CertificateError where that is not one name."""
    uris: list[str] = []
    mails: list[str] = []
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        mails = names.get_values_for_type(x509.RFC822Name)
    if any(uri.lower().startswith(_SPIFFE) for uri in uris):
        if len(uris) != 1 or _SPIFFE_ID.fullmatch(uris[0]) is None:
            raise CertificateError("a SPIFFE certificate has one URI, `spiffe://domain/path`")
        found = uris
    elif mails:
        found = mails
    else:
        attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        found = [str(one.value) for one in attributes]
    if len(found) != 1 or not is_name(found[0]):
        raise CertificateError("it does not have one name that can be shown")
    return found[0]


def _units(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the organizational units as groups. FAILS CLOSED: a unit that is no group is not
    left out, but refused: a rule could deny just that one."""
    attributes = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    units = [str(one.value) for one in attributes]
    if len(units) > MAXIMUM_GROUPS or not all(is_name(unit) for unit in units):
        raise CertificateError("an organizational unit is no group")
    return tuple(dict.fromkeys(units))
