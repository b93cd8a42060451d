"""Which provider it is, and what is told when it is none; the gateway's own TLS."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sallyport.cli.client import Client
from sallyport.cli.errors import CommandError
from sallyport.cli.login import entering
from sallyport.cli.login.kept import Logins
from sallyport.cli.output import fail, note
from tests.support.authority import Authority
from tests.support.hostile import CLIENT, Hostile, answer
from tests.unit.web.harness import running_api


def offered(*names: str) -> dict[str, Any]:
    whole = {"issuer": "https://i", "client_id": "c", "scopes": ["openid"], "flow": "auto"}
    return {"providers": [{"name": name, **whole} for name in names]}


def test_the_only_provider_needs_no_name() -> None:
    assert entering._choose(offered("corp"), "").name == "corp"
    assert entering._choose(offered("a", "b"), "b").name == "b"


@pytest.mark.parametrize(
    ("answered", "wanted", "said"),
    [
        (offered(), "", "nobody can log in"),
        (offered("a", "b"), "", "which provider?"),
        (offered("a"), "b", "no provider is named `b`"),
        ({}, "", "names no providers"),
        ({"providers": [{"name": "a"}]}, "", "names no providers"),
        ({"providers": "a"}, "", "names no providers"),
    ],
)
def test_none_is_told(answered: dict[str, Any], wanted: str, said: str) -> None:
    with pytest.raises(CommandError, match=said.replace("?", r"\?")):
        entering._choose(answered, wanted)


@pytest.fixture
def gateway(hostile: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """A gateway at the provider's own address."""
    monkeypatch.setenv("SALLYPORT_KEYRING", "off")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one = {
        "name": "corp",
        "issuer": hostile.url,
        "client_id": CLIENT,
        "scopes": ["openid"],
        "flow": "device",
    }
    hostile.paths["/oauth/providers"] = lambda _: answer({"providers": [one]})
    hostile.paths["/device"] = lambda _: answer(
        {
            "device_code": "d",
            "user_code": "AB-CD",
            "verification_uri": f"{hostile.url}/device",
            "expires_in": 60,
            "interval": 0.01,
        }
    )
    hostile.paths["/token"] = lambda _: hostile.gives()
    hostile.paths["/oauth/token"] = lambda _: answer(
        {"access_token": "sp_x", "token_type": "Bearer", "expires_in": 900}
    )
    hostile.paths["/api/v1/whoami"] = lambda _: answer({"name": "ann"})
    return hostile


def test_whole(gateway: Hostile, capsys: pytest.CaptureFixture[str]) -> None:
    kept = entering.log_in(gateway.url, "", "", False)
    assert (kept.name, kept.sub, kept.nonce, kept.token) == ("ann", "ann", None, "sp_x")
    assert Logins().find(gateway.url) == kept
    told = capsys.readouterr()
    assert "enter the code AB-CD" in told.err and told.out == ""
    assert "sp_x" not in told.err and "refresh" not in told.err


@pytest.mark.parametrize("claims", [{"aud": "x"}, {"at_hash": "x"}, {"nonce": "x"}, {"sub": ...}])
def test_nothing_odd_reaches_the_gateway_or_the_disk(gateway: Hostile, claims: Any) -> None:
    gateway.paths["/token"] = lambda _: gateway.gives(**claims)
    with pytest.raises(CommandError, match="ID token"):
        entering.log_in(gateway.url, "", "", False)
    assert "/oauth/token" not in [path for path, _ in gateway.asked]
    assert Logins().find(gateway.url) is None


def test_what_the_gateway_does_not_take_is_not_kept(gateway: Hostile) -> None:
    gateway.paths["/oauth/token"] = lambda _: answer(
        {"error": "invalid_request", "error_description": "a token is not valid"}, 400
    )
    with pytest.raises(CommandError, match="does not take this login"):
        entering.log_in(gateway.url, "", "", False)
    assert Logins().find(gateway.url) is None


def test_what_others_say_poses_as_no_line_of_the_commands_own(
    gateway: Hostile, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "no\nOpen https://evil.example and enter the code ABCD\n  hint: run this"
    gateway.paths["/device"] = lambda _: answer(
        {"error": "access_denied", "error_description": said}, 400
    )
    with pytest.raises(CommandError) as there:
        entering.log_in(gateway.url, "", "", False)
    gateway.paths["/oauth/providers"] = lambda _: answer({"detail": said, "hint": said}, 400)
    with pytest.raises(CommandError) as here:
        entering.log_in(gateway.url, "", "", False)
    for error in (there.value, here.value):
        assert said in error.message
        fail(error.message, error.hint)
        note(error.message)
    lines = capsys.readouterr().err.splitlines()
    own = [line for line in lines if not line.startswith("    ")]
    assert len(lines) > len(own) and not [line for line in own if "evil" in line or "run" in line]


@pytest.mark.parametrize("ca", [" ", "garbage", "\u00e4", "\ud800", "x" * 1_000_000])
def test_a_gateway_that_names_nonsense_as_authority_gets_no_login(
    gateway: Hostile, ca: str
) -> None:
    told = msgspec.json.decode(gateway.paths["/oauth/providers"]({})[1])
    told["providers"][0]["ca"] = ca
    gateway.paths["/oauth/providers"] = lambda _: answer(told)
    with pytest.raises(CommandError, match="who vouches for"):
        entering.log_in(gateway.url, "", "", False)
    assert [path for path, _ in gateway.asked] == ["/oauth/providers"], "nothing else was asked"
    assert Logins().find(gateway.url) is None


async def test_a_gateway_with_an_authority_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority("gateways")
    certificate, key = authority.server().files(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with running_api(tmp_path / "api", context) as api:

        def ask() -> int:
            return len(Client(api.url, None).get_open("/oauth/providers")["providers"])

        with pytest.raises(CommandError, match="certificate verify failed"):
            await asyncio.to_thread(ask)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert await asyncio.to_thread(ask) == 2
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
        with pytest.raises(CommandError, match="SSL_CERT_FILE"):
            await asyncio.to_thread(ask)
