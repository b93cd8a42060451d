"""Secrets go in, come out whole, and open under no other name, version or key."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from sallyport.core.errors import RecorderLost
from sallyport.core.event import Audited
from sallyport.store.database import Database
from sallyport.vault.credentials import MAXIMUM_SECRET, Vault
from sallyport.vault.errors import VaultError
from sallyport.vault.master import MasterKey, decode_key
from sallyport.vault.references import resolve, resolve_local

CANARY = b"correct-horse-battery-staple"
MASTER = bytes(range(32))


@pytest.fixture
def audited() -> list[Audited]:
    return []


@pytest.fixture
def vault(database: Database, audited: list[Audited]) -> Vault:
    return Vault(database, MASTER, audited.append)


async def test_a_secret_comes_back_whole_and_in_its_latest_version(vault: Vault) -> None:
    assert (await vault.set("shop-app", b"first", "ann")).version == 1
    assert (await vault.set("shop-app", CANARY, "ann")).version == 2
    assert (await vault.get("shop-app")).reveal() == CANARY
    assert [(one.name, one.version) for one in await vault.list()] == [("shop-app", 2)]


async def test_neither_files_nor_audit_nor_repr_hold_the_secret(
    vault: Vault, database: Database, audited: list[Audited]
) -> None:
    record = await vault.set("shop-app", CANARY, "ann")
    for file in database.path.parent.iterdir():
        assert CANARY not in file.read_bytes()
    shown = f"{record} {audited} {await vault.get('shop-app')!r} {vault!r} {await vault.list()}"
    assert CANARY.decode() not in shown
    assert [(event.action, event.actor, event.object) for event in audited] == [
        ("credential-set", "ann", "shop-app")
    ]


@pytest.mark.parametrize("column", ["wrapped", "sealed"])
async def test_a_changed_row_does_not_open(vault: Vault, database: Database, column: str) -> None:
    await vault.set("a", CANARY, "ann")
    with sqlite3.connect(database.path) as raw:
        (value,) = raw.execute(f"SELECT {column} FROM credentials").fetchone()
        raw.execute(f"UPDATE credentials SET {column} = ?", (value[:-1] + bytes([value[-1] ^ 1]),))
    raw.close()
    with pytest.raises(VaultError, match="does not open"):
        await vault.get("a")


async def test_a_row_copied_over_another_or_renumbered_does_not_open(
    vault: Vault, database: Database
) -> None:
    await vault.set("low", b"harmless", "ann")
    await vault.set("high", CANARY, "ann")
    with sqlite3.connect(database.path) as raw:
        raw.execute(
            "UPDATE credentials SET (wrapped, sealed) ="
            " (SELECT wrapped, sealed FROM credentials WHERE name = 'high') WHERE name = 'low'"
        )
        raw.execute("UPDATE credentials SET version = 9 WHERE name = 'high'")
    raw.close()
    for name in ("low", "high"):
        with pytest.raises(VaultError, match="does not open"):
            await vault.get(name)


async def test_another_master_key_is_noticed_at_the_start(database: Database, vault: Vault) -> None:
    await vault.set("a", CANARY, "ann")
    with pytest.raises(VaultError, match="another master key"):
        await Vault(database, os.urandom(32), print).verify()
    await vault.verify()


async def test_rotation_moves_every_secret_to_the_new_key(database: Database, vault: Vault) -> None:
    for number in range(5):
        await vault.set(f"c{number}", CANARY + bytes([number]), "ann")
    new = os.urandom(32)
    assert await vault.rotate_master(new, "ann") == 5
    await vault.set("later", b"sealed under the new one", "ann")
    fresh = Vault(database, new, print)
    await fresh.verify()
    assert (await fresh.get("c3")).reveal() == CANARY + bytes([3])
    assert (await fresh.get("later")).reveal() == b"sealed under the new one"
    with pytest.raises(VaultError):
        await Vault(database, MASTER, print).get("c3")
    both = Vault(database, MASTER, print, previous=[new])
    assert (await both.get("c3")).reveal() == CANARY + bytes([3])


async def test_what_cannot_be_audited_is_not_done(database: Database) -> None:
    def lost(event: Audited) -> None:
        raise RecorderLost("no disk")

    vault = Vault(database, MASTER, lost)
    with pytest.raises(RecorderLost):
        await vault.set("a", CANARY, "ann")
    assert await vault.list() == []


async def test_the_gateways_own_keys_are_made_once_and_out_of_reach(vault: Vault) -> None:
    made = await asyncio.gather(*(vault.ensure("mask-key") for _ in range(10)))
    assert len({secret.reveal() for secret in made}) == 1
    assert len(made[0].reveal()) == 32
    assert await vault.list() == []
    with pytest.raises(VaultError):
        await vault.set("@mask-key", b"mine", "mallory")
    with pytest.raises(VaultError):
        await vault.delete("@mask-key", "mallory")


@pytest.mark.parametrize("name", ["", "a b", "a\n", "../x\0", "é", "x" * 200, "-a"])
async def test_odd_names_are_refused(vault: Vault, name: str) -> None:
    with pytest.raises(VaultError):
        await vault.set(name, b"x", "ann")


async def test_sizes_are_bounded_and_deletion_deletes(vault: Vault) -> None:
    for value in (b"", b"x" * (MAXIMUM_SECRET + 1)):
        with pytest.raises(VaultError, match="bytes"):
            await vault.set("a", value, "ann")
    await vault.set("a", b"x" * MAXIMUM_SECRET, "ann")
    assert await vault.delete("a", "ann")
    assert not await vault.delete("a", "ann")
    with pytest.raises(VaultError, match="is not set"):
        await vault.get("a")


# --- references


async def test_references_reach_all_three_places(
    vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vault.set("in-vault", b"v", "ann")
    monkeypatch.setenv("SP_TEST_SECRET", "e")
    file = tmp_path / "secret"
    file.write_bytes(b"f \r\n")
    file.chmod(0o600)
    assert (await resolve("vault:in-vault", vault)).reveal() == b"v"
    assert (await resolve("env:SP_TEST_SECRET", vault)).reveal() == b"e"
    assert (await resolve(f"file:{file}")).reveal() == b"f "


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "secret"
    file.write_bytes(CANARY)
    file.chmod(mode)
    with pytest.raises(VaultError, match="chmod 600") as refused:
        resolve_local(f"file:{file}")
    assert CANARY.decode() not in str(refused.value)


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "absent", Path("/dev/zero")):
        with pytest.raises(VaultError):
            resolve_local(f"file:{path}")


@pytest.mark.parametrize("reference", ["plain", "vault:x", "env:SP_NOT_SET", "http://x", ""])
def test_what_is_no_local_reference_is_refused(reference: str) -> None:
    with pytest.raises(VaultError):
        resolve_local(reference)


def test_the_master_key_is_generated_once_and_privately(tmp_path: Path) -> None:
    path = tmp_path / "state" / "master.key"
    key = MasterKey(f"file:{path}")
    with pytest.raises(VaultError, match="cannot be read"):
        key.load()
    made = key.load(generate=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert key.load(generate=True) == made == key.load()
    with pytest.raises(VaultError):
        MasterKey("vault:master")


def test_a_raw_master_key_may_end_in_a_line_feed(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\x01" * 31 + b"\n")
    path.chmod(0o600)
    assert MasterKey(f"file:{path}").load() == (b"\x01" * 31 + b"\n", [])
    for wrong in (b"", b"short", b"x" * 33, b"!" * 44):
        with pytest.raises(VaultError):
            decode_key(wrong)


async def test_a_rotation_replaces_the_file_and_opens_everything(
    database: Database, tmp_path: Path
) -> None:
    key = MasterKey(f"file:{tmp_path / 'master.key'}")
    old, _ = key.load(generate=True)
    vault = Vault(database, old, print)
    await vault.set("a", CANARY, "ann")
    assert await key.rotate(vault, "ann") == 1
    new, others = key.load()
    assert new != old and others == []
    assert (await Vault(database, new, print).get("a")).reveal() == CANARY


@pytest.mark.parametrize("wrapped", [False, True], ids=["before the store", "after the store"])
async def test_a_rotation_cut_short_loses_nothing(
    database: Database, tmp_path: Path, wrapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = MasterKey(f"file:{tmp_path / 'master.key'}")
    old, _ = key.load(generate=True)
    vault = Vault(database, old, print)
    await vault.set("a", CANARY, "ann")

    async def crash(new: bytes, actor: str) -> int:
        if wrapped:
            await Vault.rotate_master(vault, new, actor)
        raise KeyboardInterrupt

    monkeypatch.setattr(vault, "rotate_master", crash)
    with pytest.raises(KeyboardInterrupt):
        await key.rotate(vault, "ann")
    current, interrupted = key.load()
    assert current == old and len(interrupted) == 1
    after = Vault(database, current, print, interrupted)
    await after.verify()
    await key.recover(after)
    assert key.load() == (old, [])
    assert (await Vault(database, old, print).get("a")).reveal() == CANARY
