"""A certificate authority of a test's own: servers, clients, and clients with every kind of flaw."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PEM = serialization.Encoding.PEM
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


class Issued:
    """A certificate with its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.der = certificate.public_bytes(serialization.Encoding.DER)
        self.certificate = certificate.public_bytes(PEM)
        self.key = key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write both, for their owner alone; return the paths."""
        paths = (folder / f"{name}.crt", folder / f"{name}.key")
        for path, content in zip(paths, (self.certificate, self.key), strict=True):
            path.write_bytes(content)
            path.chmod(0o600)
        return paths


class Authority:
    """Signs. `ed`: with Ed25519, whose signatures name no hash."""

    def __init__(self, name: str = "test authority", *, ed: bool = False) -> None:
        self._signing = (
            ed25519.Ed25519PrivateKey.generate() if ed else ec.generate_private_key(ec.SECP256R1())
        )
        self._algorithm = None if ed else hashes.SHA256()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(
            self._builder(self._name, self._signing.public_key()).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), True
            )
        )
        self.certificate = certificate.public_bytes(PEM)
        self.key = self._signing.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def server(self, name: str = "localhost") -> Issued:
        """A server's certificate for `name` and 127.0.0.1."""
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self.issue(common_name=name, names=names, usage=(SERVER,))

    def client(
        self,
        common_name: str | Sequence[str] = "",
        *,
        uris: Sequence[str] = (),
        mails: Sequence[str] = (),
        **more: object,
    ) -> Issued:
        """A client's certificate."""
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.RFC822Name(mail) for mail in mails]
        return self.issue(common_name=common_name, names=names, **more)  # type: ignore[arg-type]

    def issue(
        self,
        *,
        common_name: str | Sequence[str] = "",
        names: Sequence[x509.GeneralName] = (),
        units: Sequence[str] = (),
        usage: Sequence[ObjectIdentifier] | None = (CLIENT,),
        ca: bool | None = False,
        begins: float = -3600,
        ends: float = 86_400,
        now: datetime.datetime | None = None,
    ) -> Issued:
        """A certificate; `begins` and `ends` in seconds from `now`; None leaves an extension out."""
        common = [common_name] if isinstance(common_name, str) else common_name
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, one) for one in common if one]
        attributes += [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, u) for u in units]
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name(attributes), key.public_key(), begins, ends, now)
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), False)
        return Issued(self._sign(builder), key)

    def _builder(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
        begins: float = -3600,
        ends: float = 86_400,
        now: datetime.datetime | None = None,
    ) -> x509.CertificateBuilder:
        start = now or datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start + datetime.timedelta(seconds=begins))
            .not_valid_after(start + datetime.timedelta(seconds=ends))
        )

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._signing, self._algorithm)
