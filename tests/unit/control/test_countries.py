"""Countries of sources: by a real database, by none, and by broken ones."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from sallyport.control.countries import UNREADABLE, Countries, country_of
from sallyport.core.errors import ConfigError
from sallyport.core.messages import EndSession
from sallyport.core.subject import Refused
from tests.unit.control.harness import BASE, Gateway, WorkerPeer

DATABASE = "countries.mmdb"
PLACES = {
    "127.0.0.1/32": {"country": {"iso_code": "DE"}, "continent": {"code": "EU"}},
    "127.0.0.2/32": {"country": {"iso_code": "KP"}},
    "203.0.113.0/24": {"registered_country": {"iso_code": "US"}},
    "198.51.100.0/24": {"country_code": "FR"},
    "2001:db8::/32": {"country": "AT", "country_name": "Austria"},
}
FROM_GERMANY = {**BASE["access"][0], "context": {"countries": ["DE"]}}


def write(path: Path, places: dict[str, Any] = PLACES, ip_version: int = 6) -> Path:
    writer = MMDBWriter(ip_version=ip_version, ipv4_compatible=ip_version == 6)
    for network, record in places.items():
        if ip_version == 6 or ":" not in network:
            writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return write(tmp_path / DATABASE)


@pytest.mark.parametrize(
    ("source", "country"),
    [
        ("127.0.0.1", "DE"),
        ("127.0.0.2", "KP"),
        ("::ffff:127.0.0.1", "DE"),
        ("2001:db8::1", "AT"),
        ("2001:db8::1%eth0", "AT"),
        ("198.51.100.7", "FR"),
        ("203.0.113.9", ""),  # where it is registered is not where it is
        ("10.0.0.1", ""),
        ("unix", ""),
        ("nonsense", UNREADABLE),
        ("", UNREADABLE),
    ],
)
def test_the_country_of_an_address(database: Path, source: str, country: str) -> None:
    countries = Countries(database)
    assert [countries.of(source) for _ in range(2)] == [country] * 2


def test_without_a_database_nothing_is_known() -> None:
    assert Countries(None).of("127.0.0.1") == ""


def test_a_database_of_ipv4_says_nothing_of_ipv6(tmp_path: Path) -> None:
    countries = Countries(write(tmp_path / "four.mmdb", ip_version=4))
    assert (countries.of("127.0.0.1"), countries.of("2001:db8::1")) == ("DE", "")


@pytest.mark.parametrize(
    "record",
    [None, [], {"country": {"iso_code": 49}}, {"country": "Germany"}, {"country": {}},
     {"country": "unreadable"}, {"country_code": "de"}],
)  # fmt: skip
def test_a_record_of_another_form_names_no_country(record: Any) -> None:
    assert country_of(record) == ""


@pytest.mark.parametrize("content", [b"", b"\xab\xcd\xefMaxMind.com", b"x" * 100_000])
def test_what_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "none.mmdb"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no MaxMind database"):
        Countries(path)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "asn.mmdb", {"127.0.0.0/8": {"autonomous_system_number": 1}})
    assert path.stat().st_size > 100
    with pytest.raises(ConfigError, match="holds no countries"):
        Countries(path)
    with pytest.raises(ConfigError, match="cannot read"):
        Countries(tmp_path / "nowhere.mmdb")


def test_a_broken_database_breaks_no_lookup(database: Path) -> None:
    whole, path = database.read_bytes(), database.with_name("broken.mmdb")
    chance, opened = random.Random(7), 0
    for _ in range(300):
        broken = bytearray(whole)
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
        path.write_bytes(broken)
        try:
            found = Countries(path).of("127.0.0.2")
        except ConfigError:
            continue
        opened += 1
        assert isinstance(found, str)
    assert opened > 50


@pytest.fixture
async def gateway(tmp_path: Path, database: Path) -> AsyncIterator[Gateway]:
    origin = {"countries": str(database)}
    async with Gateway(tmp_path, access=[FROM_GERMANY], origin=origin) as gateway:
        yield gateway


async def test_access_is_given_by_country(gateway: Gateway, worker: WorkerPeer) -> None:
    given = await worker.session(await gateway.token(), source="127.0.0.1")
    assert given.country == "DE"
    for source in ("127.0.0.2", "127.0.0.3"):
        subject = await worker.login(await gateway.token())
        assert isinstance(await worker.authorize(subject, source=source), Refused)


async def test_unknown_is_let_in_where_it_is_named(gateway: Gateway, worker: WorkerPeer) -> None:
    lenient = {**BASE["access"][0], "context": {"countries": ["DE", "unknown"]}}
    await gateway.reload(access=[lenient], origin={"countries": str(gateway.folder / DATABASE)})
    given = await worker.session(await gateway.token(), source="127.0.0.3")
    assert given.country == ""


async def test_a_new_database_ends_what_it_would_not_give(
    gateway: Gateway, worker: WorkerPeer
) -> None:
    given = await worker.session(await gateway.token(), source="127.0.0.1")
    path = write(gateway.folder / DATABASE, {"127.0.0.0/8": {"country": {"iso_code": "FR"}}})
    assert not gateway.control.registry.is_ending(given.session)
    await gateway.reload(access=[FROM_GERMANY], origin={"countries": str(path)})
    await worker.pushed(EndSession, session=given.session)
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigError):
        await gateway.reload(access=[FROM_GERMANY], origin={"countries": str(path)})
    assert gateway.control.state.countries.of("127.0.0.1") == "FR"
