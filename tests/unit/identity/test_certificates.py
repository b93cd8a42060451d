"""Client certificates: which name counts, and every certificate that names nobody."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.subject import Evidence, Refused, Subject
from sallyport.identity.certificates import (
    MAXIMUM_CERTIFICATE,
    Certificates,
    certificate_id,
)
from sallyport.identity.oidc import Issuers
from sallyport.identity.service import (
    FAILED,
    FAILED_CERTIFICATE,
    IdentityService,
    ListenerRules,
)
from sallyport.identity.tokens import TokenService
from sallyport.store.database import Database
from tests.support.authority import CLIENT, SERVER, Authority, Issued
from tests.support.clock import Clock

NOW = 1_800_000_000.0
THEN = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
AUTHORITY = Authority()
SPIFFE = "spiffe://example.org/agents/report"


@pytest.fixture
def tokens(database: Database, clock: Clock) -> TokenService:
    return TokenService(database, lambda _: None, clock)


@pytest.fixture
def reader(database: Database, clock: Clock) -> Certificates:
    return Certificates(database, clock)


@pytest.fixture
def identity(tokens: TokenService, database: Database, reader: Certificates) -> IdentityService:
    listeners = {
        ("postgres", "certs"): ListenerRules("certificate"),
        ("postgres", "grouped"): ListenerRules("certificate", client_groups=True),
        ("postgres", "tokens"): ListenerRules("token"),
    }
    return IdentityService(
        tokens, Issuers([], database), {"admin": ["dba"]}, listeners=listeners, reader=reader
    )


def client(*names: Any, **more: Any) -> Issued:
    return AUTHORITY.client(*names, **{"now": THEN, **more})


def evidence(issued: Issued, listener: str = "certs", **more: Any) -> Evidence:
    words = {"token": "", "encrypted": True, "certificate": issued.der, **more}
    return Evidence("postgres", listener, "203.0.113.7", **words)


@pytest.mark.parametrize(
    ("issued", "name"),
    [
        (client("ann"), "ann"),
        (client("ann", mails=["ann@example.org"]), "ann@example.org"),
        (client("ann", mails=["ann@example.org"], uris=[SPIFFE]), SPIFFE),
        (client("ann", uris=["https://example.org/ann"]), "ann"),  # no SPIFFE ID: no name
        (client("", uris=[SPIFFE], ca=None), SPIFFE),
        (client("ann", usage=(SERVER, CLIENT)), "ann"),
    ],
)
async def test_the_name_that_counts(reader: Certificates, issued: Issued, name: str) -> None:
    subject = await reader.check(issued.der, groups=False)
    assert subject is not None
    assert (subject.name, subject.issuer, subject.groups) == (name, "certificate", ())
    assert subject.token == certificate_id(issued.der)
    assert subject.expires == NOW + 86_400
    assert subject.claims["iat"] == NOW - 3600
    assert subject.claims["authority"] == "CN=test authority"


@pytest.mark.parametrize(
    "issued",
    [
        client(""),
        client(("ann", "bob")),
        client("a\u202eb"),
        client(" ann"),
        client("ann", mails=["a@example.org", "b@example.org"]),
        client("ann", uris=[SPIFFE, "https://example.org"]),
        client("ann", uris=[SPIFFE, SPIFFE + "/2"]),
        client("ann", uris=["spiffe://"]),
        client("ann", uris=["spiffe://example.org"]),
        client("ann", uris=["spiffe://Example.org/a"]),
        client("ann", uris=["SPIFFE://example.org/a"]),
        client("ann", uris=["spiffe://example.org/a/"]),
        client("ann", uris=["spiffe://example.org/../b"]),
        client("ann", uris=["spiffe://example.org/a%2fb"]),
        client("ann", uris=["spiffe://u@example.org/a"]),
        client("ann", uris=["spiffe://example.org:1/a"]),
        client("ann", uris=["spiffe://example.org/a?b"]),
        client("ann", uris=["spiffe://example.org/a#b"]),
        client("ann", usage=None),
        client("ann", usage=(SERVER,)),
        client("ann", usage=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
        client("ann", ca=True),
        client("ann", ends=-1),
        client("ann", ends=0),
        client("ann", begins=1),
    ],
)
async def test_a_certificate_that_names_nobody(reader: Certificates, issued: Issued) -> None:
    assert await reader.check(issued.der, groups=False) is None


async def test_units_are_groups_only_where_the_operator_says_so(
    identity: IdentityService,
) -> None:
    issued = client("ann", units=["dba", "agents", "dba"])
    plain = await identity.authenticate(evidence(issued))
    assert isinstance(plain, Subject) and (plain.groups, plain.roles) == ((), ())
    grouped = await identity.authenticate(evidence(issued, "grouped"))
    assert isinstance(grouped, Subject)
    assert (grouped.groups, grouped.roles) == (("dba", "agents"), ("admin",))
    odd = client("ann", units=["agents", "a\u202eb"])
    assert await identity.authenticate(evidence(odd, "grouped")) == FAILED_CERTIFICATE
    assert isinstance(await identity.authenticate(evidence(odd)), Subject)


async def test_a_certificate_counts_where_it_is_taken_and_over_tls_alone(
    identity: IdentityService, tokens: TokenService
) -> None:
    issued = client("ann")
    _, secret = await tokens.create("a", "agent-1")
    assert isinstance(await identity.authenticate(evidence(issued)), Subject)
    for refused in (
        evidence(issued, "tokens"),
        evidence(issued, "elsewhere"),
        evidence(issued, encrypted=False),
        evidence(issued, token=secret),
        evidence(issued, certificate=b"", token=secret),  # a token where certificates are taken
        evidence(issued, certificate=b""),
        evidence(issued, certificate=b"garbage"),
    ):
        assert await identity.authenticate(refused) == FAILED_CERTIFICATE
    token = evidence(issued, "tokens", certificate=b"", token="sp_x")
    assert await identity.authenticate(token) == FAILED


async def test_revocation(identity: IdentityService, tokens: TokenService, clock: Clock) -> None:
    ann, other, bob = client("ann"), client("ann"), client("bob")
    subject = await identity.authenticate(evidence(ann))
    assert isinstance(subject, Subject)
    assert await identity.still_valid(subject, "shop", "10.0.0.1") is None
    await tokens.revoke("id", subject.token, "olga")
    assert isinstance(await identity.still_valid(subject, "shop", "10.0.0.1"), Refused)
    assert await identity.authenticate(evidence(ann)) == FAILED_CERTIFICATE
    assert isinstance(await identity.authenticate(evidence(other)), Subject)
    await tokens.revoke("subject", "ann", "olga")
    assert await identity.authenticate(evidence(other)) == FAILED_CERTIFICATE
    assert isinstance(await identity.authenticate(evidence(bob)), Subject)
    later = client("ann", begins=1)  # in force only from after the revocation
    clock.now += 2
    assert isinstance(await identity.authenticate(evidence(later)), Subject)
    await tokens.revoke("all", "", "olga")
    assert await identity.authenticate(evidence(bob)) == FAILED_CERTIFICATE


async def test_a_session_opens_only_while_the_certificate_is_in_force(
    identity: IdentityService, clock: Clock
) -> None:
    subject = await identity.authenticate(evidence(client("ann", ends=60)))
    assert isinstance(subject, Subject)
    clock.now += 60
    refused = await identity.still_valid(subject, "shop", "10.0.0.1")
    assert isinstance(refused, Refused) and "expired" in refused.reason


async def test_without_a_listener_for_them_certificates_are_nobodys(
    tokens: TokenService, database: Database, reader: Certificates
) -> None:
    identity = IdentityService(tokens, Issuers([], database), {}, reader=reader)
    assert await identity.authenticate(evidence(client("ann"))) == FAILED_CERTIFICATE
    subject = await reader.check(client("ann").der, groups=False)
    assert subject is not None
    assert isinstance(await identity.still_valid(subject, "shop", ""), Refused)


async def test_what_is_too_long_is_not_read(reader: Certificates) -> None:
    assert await reader.check(client("ann").der + bytes(MAXIMUM_CERTIFICATE), groups=False) is None


GOOD = client("ann", uris=[SPIFFE], units=["agents"]).der


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_a_damaged_certificate_is_refused_or_read(at: int, byte: int) -> None:
    """The chain was checked by TLS; here nothing but a refusal may come of odd bytes."""
    import asyncio

    class Store:
        def read(self) -> Any:
            raise AssertionError("never reached with the clock at zero")

    reader = Certificates(Store(), lambda: 0.0)  # type: ignore[arg-type]
    damaged = GOOD[:at] + bytes((byte,)) + GOOD[at + 1 :]
    assert asyncio.run(reader.check(damaged, groups=True)) is None
