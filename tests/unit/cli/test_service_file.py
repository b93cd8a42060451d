"""A service file for a listener that takes OAuth: what a gateway names stays within its line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest

from sallyport.cli.connecting import Place
from sallyport.cli.errors import CommandError
from sallyport.cli.service_file import FOLDER, MAXIMUM_VALUE, write_service
from tests.support.oauth_client import needs_libpq_18

PLACE = Place(
    listener="bearer",
    mechanism="oauth",
    host="127.0.0.1",
    port=1,
    database="db",
    user="app",
    sslmode="disable",
    issuer="https://login.example.com",
    client_id="cli",
    scope="openid groups",
)


def changed(**more: str) -> Place:
    return msgspec.structs.replace(PLACE, **more)


def test_it_is_its_owners_alone_and_says_nothing_of_where(tmp_path: Path) -> None:
    told = write_service(PLACE, tmp_path)
    path = Path(told["PGSERVICEFILE"])
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text() == (
        "[sallyport]\n"
        "oauth_issuer=https://login.example.com\n"
        "oauth_client_id=cli\n"
        "oauth_scope=openid groups\n"
    )
    assert write_service(PLACE, tmp_path) == told, "the same place has the same file"
    other = write_service(changed(client_id="other"), tmp_path)
    assert other["PGSERVICEFILE"] != told["PGSERVICEFILE"]
    assert (
        "oauth_scope"
        not in Path(write_service(changed(scope=""), tmp_path)["PGSERVICEFILE"]).read_text()
    )


def test_what_was_written_into_it_is_gone(tmp_path: Path) -> None:
    path = Path(write_service(PLACE, tmp_path)["PGSERVICEFILE"])
    whole = path.read_bytes()
    path.write_text("[sallyport]\nhost=evil.example.com\n")
    write_service(PLACE, tmp_path)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("field", ["issuer", "client_id", "scope"])
@pytest.mark.parametrize(
    "value",
    [
        "x\nhost=evil.example.com",
        "x\rhost=evil.example.com",
        "x\0",
        "x ",
        " x",
        "\u00e4",
        "x\u2028y",
        "x" * (MAXIMUM_VALUE + 1),
    ],
)
def test_what_no_line_can_hold_is_refused(tmp_path: Path, field: str, value: str) -> None:
    with pytest.raises(CommandError, match="odd `oauth_"):
        write_service(changed(**{field: value}), tmp_path)
    assert not (tmp_path / FOLDER).exists()


def test_without_a_client_nobody_can_log_in(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="nobody says by which client"):
        write_service(changed(client_id=""), tmp_path)


def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    """A service file counts before the environment: it could send a client anywhere."""
    folder = tmp_path / FOLDER
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with pytest.raises(CommandError, match="others can get at it"):
        write_service(PLACE, tmp_path)
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    with pytest.raises(CommandError, match="it is a link"):
        write_service(PLACE, tmp_path)


@needs_libpq_18
@pytest.mark.parametrize(
    "value", ["a=b", "#x", "[y]", "it's", "back\\slash", 'qu"ote', "x" * MAXIMUM_VALUE]
)
def test_libpq_reads_each_value_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name, text in write_service(changed(client_id=value), tmp_path).items():
        monkeypatch.setenv(name, text)
    found = {one.keyword: one.val for one in psycopg.pq.Conninfo.get_defaults()}
    assert found[b"oauth_client_id"] == value.encode()
    assert found[b"oauth_scope"] == b"openid groups"
