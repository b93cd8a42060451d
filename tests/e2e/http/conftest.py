"""One site, and a gateway before it, that all client tests share; each is asked direct and through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.authority import Authority
from tests.support.http_gateway import HttpGateway
from tests.support.http_peers import Peer, Uvicorn

Certificates = tuple[Path, Path, Path]


@dataclass
class Way:
    """How the site is asked: `base` and `secure` are where its paths begin, over TLS too."""

    name: str
    base: str
    secure: str
    ca: Path
    token: str = ""
    peers: dict[str, Peer] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """PEM files: a server's certificate, its key, and the authority that signed it."""
    authority, folder = Authority(), tmp_path_factory.mktemp("certificates")
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate)
    return *authority.server().files(folder, "server"), ca


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with Uvicorn(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="session")
def secure_site(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    with Uvicorn(tmp_path_factory.mktemp("secure"), certificates[:2]) as running:
        yield running


@pytest.fixture(scope="session")
def gateway(
    site: Peer,
    secure_site: Peer,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[HttpGateway]:
    peers = {"site": site, "secure": secure_site}
    with HttpGateway(tmp_path_factory.mktemp("gateway"), peers, files=certificates) as running:
        yield running


@pytest.fixture(params=["direct", "through"])
def way(
    request: pytest.FixtureRequest, site: Peer, secure_site: Peer, certificates: Certificates
) -> Way:
    peers = {"site": site, "secure": secure_site}
    if request.param == "direct":
        return Way("direct", site.url, secure_site.url, certificates[2], peers=peers)
    gateway: HttpGateway = request.getfixturevalue("gateway")
    secure = f"https://127.0.0.1:{gateway.tls_port}/t/secure"
    return Way("through", gateway.base("site"), secure, certificates[2], gateway.agent, peers)
