"""Settings: what a target of this protocol says of itself, and what is no setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sallyport.protocols.http.openapi import templates_of
from sallyport.protocols.http.settings import HttpSettings


def settings(**given: Any) -> HttpSettings:
    return msgspec.convert(given, HttpSettings)


def test_the_shape_is_that_of_the_configuration() -> None:
    found = settings(
        inject={"as": "header", "name": "X-Key"}, version="auto", inspect="64KiB",
        templates=["/a/{b}"], operations=[{"paths": ["/s"], "effect": "read", "methods": ["post"]}],
        origins=["https://app.test"], timeout=5, host="inner.test:8080", forwarded=True,
    )  # fmt: skip
    assert found.inspected == 64 * 1024
    assert found.inject.way == "header"
    assert settings().inspected == 1024 * 1024


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inject": {"as": "header"}}, "`name` is for"),
        ({"inject": {"as": "bearer", "name": "x"}}, "`name` is for"),
        ({"inject": {"as": "header", "name": "a b"}}, "is no header's name"),
        ({"inject": {"as": "oauth2"}}, "`token_url` is for"),
        ({"inject": {"as": "oauth2", "token_url": "http://far.test/t"}}, "https"),
        ({"inject": {"as": "magic"}}, "Invalid enum value"),
        ({"injekt": {}}, "unknown field"),
        ({"version": "3"}, "expected `version`"),
        ({"inspect": "1GB"}, "expected `inspect`"),
        ({"inspect": "17MiB"}, "expected `inspect`"),
        ({"templates": ["a"]}, "expected a template"),
        ({"host": "a/b"}, "expected `host`"),
        ({"openapi": "relative.yaml"}, "absolute path"),
        ({"openapi": "/nowhere/at/all.json"}, "cannot be read"),
        ({"timeout": 0}, "expected `timeout`"),
        ({"timeout": "2d"}, "expected `timeout`"),
    ],
)
def test_what_is_no_setting(given: dict[str, Any], said: str) -> None:
    with pytest.raises((msgspec.ValidationError, ValueError), match=said):
        settings(**given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"openapi":"3.1.0","paths":{"/users/{id}":{},"/x":{}}}', ("/users/{id}", "/x")),
        ("openapi: 3.0.0\nservers: [{url: 'https://h/v1/'}]\npaths: {/a: {}}", ("/v1/a",)),
        ("servers: [{url: /v1}, {url: /v2}]\npaths: {/a: {}}", ("/v1/a", "/v2/a")),
        ("swagger: '2.0'\nbasePath: /api\npaths: {/a/{b}: {}}", ("/api/a/{b}",)),
    ],
)
def test_templates_of_a_description(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(text.replace("{/a/{b}: {}}", "{'/a/{b}': {}}"))
    assert templates_of(str(file)) == expected
    assert settings(openapi=str(file)).known_templates == expected


@pytest.mark.parametrize("text", ["{", "[]", "paths: 7", "a: [", "x", "paths: {1: {}}"])
def test_what_describes_no_api(tmp_path: Path, text: str) -> None:
    file = tmp_path / "api.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"api\.yaml"):
        templates_of(str(file))


def test_a_description_that_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "api.json"
    file.write_text('{"paths":{"/a":{}}}')
    assert templates_of(str(file)) == ("/a",)
    file.write_text('{"paths":{"/a/b":{}}}')
    assert templates_of(str(file)) == ("/a/b",)
