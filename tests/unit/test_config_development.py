"""The development issuer's configuration: refused outside the demo, and off loopback in it."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from sallyport.app.configuration import vocabularies
from sallyport.config import Config
from sallyport.config.development import SEGMENT, VARIABLE
from sallyport.config.issuer_checks import hints
from sallyport.config.loader import load_bytes
from sallyport.config.yaml import read_yaml
from sallyport.core.errors import ConfigError

DEMO = (
    (resources.files("sallyport.demo") / "sallyport.yaml")
    .read_text()
    .replace("@API_PORT@", "8642")
    .replace("@GATEWAY_PORT@", "6432")
    .replace("@WEB_PORT@", "8641")
    .replace("@ORDERS_PORT@", "8640")
    .replace("@DATABASE_PORT@", "5432")
    .replace("@ISSUER_PORT@", "8643")
)
HERE = f"http://127.0.0.1:8643/{SEGMENT}"


def load(issuer: dict[str, Any] | None = None, **more: Any) -> Config:
    """Load the demo's own file, with another issuer or other parts."""
    whole: Any = read_yaml(DEMO.encode(), "demo").value
    if issuer is not None:
        whole["issuers"] = [{"name": "mine", "audience": ["sallyport"], **issuer}]
    return load_bytes(
        json.dumps({**whole, **more}).encode(),
        file="demo",
        folder=Path("/tmp"),
        vocabularies=vocabularies(),
    )


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


ALIKE: dict[str, dict[str, Any]] = {
    "the preset": {"preset": "development", "issuer": "https://login.example.com"},
    "the address": {"issuer": HERE},
    "the address, by another preset": {"issuer": HERE, "preset": "keycloak"},
    "the address somewhere else": {"issuer": f"https://login.example.com/{SEGMENT}"},
    "a slash behind it": {"issuer": f"{HERE}/"},
    "in capitals": {"issuer": HERE.upper().replace("HTTP", "http")},
    "in escapes": {"issuer": HERE.replace("-", "%2d")},
    "with a query": {"issuer": f"{HERE}?x"},
    "its keys for another's": {"issuer": "https://login.example.com", "jwks": f"{HERE}/jwks"},
}


@pytest.mark.parametrize("issuer", ALIKE.values(), ids=ALIKE)
@pytest.mark.parametrize("said", [None, "", "0", "true"])
def test_it_is_refused_outside_the_demo(
    issuer: dict[str, Any], said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(
        ConfigError, match=r"issuer `mine` .*asks for no password.*outside the demo"
    ):
        load(issuer)


def test_the_demos_own_file_is_refused_elsewhere_and_the_line_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError) as told:
        load_bytes(DEMO.encode(), file="demo", folder=Path("/tmp"), vocabularies=vocabularies())
    assert told.value.line is not None
    assert "preset: development" in DEMO.splitlines()[told.value.line - 1]
    assert "name a provider of your own" in str(told.value).lower()


@pytest.mark.usefixtures("demo")
def test_the_demo_takes_it_and_says_what_it_is() -> None:
    (issuer,) = load().issuers
    assert (issuer.issuer, issuer.algorithms) == (HERE, ("ES256",))
    assert [hint for hint in hints(load()) if "no password" in hint]
    assert hints(load({"issuer": HERE})), "without its preset, too"


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": {"preset": "development", "issuer": f"https://login.example.com/{SEGMENT}"}},
        {"issuer": {"preset": "development", "issuer": f"http://127.0.0.1.example.com/{SEGMENT}"}},
        {"issuer": {"issuer": HERE, "jwks": f"https://login.example.com/{SEGMENT}/jwks"}},
        {"api": {"address": "0.0.0.0:8642", "tls": {"certificate": "file:c", "key": "file:k"}}},
        {"api": {"address": "127.0.0.1:8642", "url": "https://gateway.example.com"}},
        {"listeners": [{"name": "l", "protocol": "postgres", "address": "192.0.2.1:6432",
                        "tls": {"certificate": "file:c", "key": "file:k"}}]},
        {"listeners": [{"name": "l", "protocol": "postgres", "address": "127.0.0.1:6432",
                        "public": "db.example.com:6432"}]},
    ],
    ids=["issuer", "a name like loopback", "keys", "api", "api's url", "listener", "public address"],
)  # fmt: skip
def test_in_the_demo_nothing_of_it_leaves_this_machine(changed: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected loopback .* a development issuer"):
        load(**changed)
