"""A client certificate's files: what libpq would refuse, or go on without, is told before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sallyport.cli.errors import CommandError
from sallyport.cli.own_certificate import MAXIMUM_FILE, read_own_certificate
from tests.support.authority import PEM, Authority

AUTHORITY = Authority("clients")


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return AUTHORITY.client("ann").files(tmp_path, "ann")


def refused(certificate: object, key: object) -> CommandError:
    with pytest.raises(CommandError) as caught:
        read_own_certificate(str(certificate), str(key))
    return caught.value


def test_two_files_that_fit(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files[0].parent)
    own = read_own_certificate("ann.crt", "ann.key")
    assert own is not None
    assert (own.certificate, own.key) == (str(files[0]), str(files[1])), "wherever a client runs"
    assert read_own_certificate("", "") is None


def test_one_alone_is_wrong_usage(files: tuple[Path, Path]) -> None:
    for pair in ((files[0], ""), ("", files[1])):
        assert refused(*pair).code == 2


def test_what_is_not_there_or_no_file(files: tuple[Path, Path], tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    large = tmp_path / "large"
    large.write_bytes(b"x" * (MAXIMUM_FILE + 1))
    for other, said in (
        (tmp_path / "nothing", "cannot be read: no such file"),
        (tmp_path, "is not a plain file"),
        (pipe, "is not a plain file"),
        (large, "is longer than"),
    ):
        assert said in refused(files[0], other).message
        assert said in refused(other, files[1]).message


@pytest.mark.parametrize(
    ("mode", "own", "roots"),
    [
        (0o600, True, True),
        (0o400, True, True),
        (0o640, False, True),
        (0o660, False, False),
        (0o644, False, False),
        (0o601, False, False),
    ],
)
def test_a_key_that_others_can_get_at(
    files: tuple[Path, Path], mode: int, own: bool, roots: bool
) -> None:
    files[1].chmod(mode)
    owners = {0: roots, 65534: own} if os.geteuid() == 0 else {os.geteuid(): own}
    for owner, taken in owners.items():
        os.chown(files[1], owner, -1)
        if taken:
            read_own_certificate(*map(str, files))
        else:
            error = refused(*files)
            assert "others can get at the key" in error.message
            assert error.hint == f"chmod 600 {files[1]}"


def test_a_key_whose_name_libpq_would_take_for_an_engines(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = files[1].rename(tmp_path / "pkcs11:ann")
    assert "crypto engine" in refused(files[0], odd).message


def test_a_certificate_is_in_force_now(tmp_path: Path) -> None:
    for name, times in (("old", {"ends": -60}), ("early", {"begins": 3600, "ends": 7200})):
        pair = AUTHORITY.client("ann", **times).files(tmp_path, name)
        error = refused(*pair)
        assert "is in force from" in error.message and "not now" in error.message


def test_files_that_do_not_fit(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = AUTHORITY.client("bob").files(tmp_path, "bob")
    assert "is not the key of the certificate" in refused(files[0], other[1]).message
    assert "holds no certificate" in refused(files[1], files[1]).message
    files[1].write_bytes(b"-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n")
    assert "cannot be used" in refused(*files).message


def test_a_key_that_is_encrypted_or_in_der_is_left_to_libpq(
    files: tuple[Path, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    key = serialization.load_pem_private_key(files[1].read_bytes(), None)
    pkcs8 = serialization.PrivateFormat.PKCS8
    hidden = key.private_bytes(PEM, pkcs8, serialization.BestAvailableEncryption(b"secret"))
    files[1].write_bytes(hidden)
    assert read_own_certificate(*map(str, files)) is not None
    der = serialization.Encoding.DER
    files[1].write_bytes(key.private_bytes(der, pkcs8, serialization.NoEncryption()))
    assert read_own_certificate(*map(str, files)) is not None
    assert capfd.readouterr() == ("", ""), "nobody is asked for a passphrase"
