"""Globs over paths: what an allow counts, and what strikes whatever the case."""

from __future__ import annotations

from typing import Any

import pytest

from sallyport.core.operation import Effect, Operation, Resource, digest_of
from tests.unit.policy.requests import decide, policy_of


def ask(path: str, template: str = "") -> Operation:
    return Operation(
        id=1, protocol="http", target="api", verb="get", effect=Effect.READ,
        resources=(
            Resource("api", "api", Effect.READ),
            Resource("path", path, Effect.READ, template=template),
        ),
        facts=frozenset(), text=path, parameters=(), fingerprint=b"", digest=digest_of(path),
    )  # fmt: skip


def rule(effect: str, *paths: str) -> dict[str, Any]:
    resources = {"path": list(paths)}
    if effect == "allow":
        resources["api"] = ["*"]
    return {"name": effect, "effect": effect, "operations": {"resources": resources}}


@pytest.mark.parametrize(
    ("glob", "path", "allowed"),
    [
        ("/users/*", "/users/7", True),
        ("/users/*", "/users/7/keys", False),
        ("/users/*", "/users/", False),
        ("/users/**", "/users/7/keys", True),
        ("/Users/*", "/users/7", False),
        ("/users/{id}", "/users/7", True),
        ("/users/{7,8}", "/users/7", True),
        ("/users/?", "/users/7", True),
        ("/users/?", "/users//", False),
        ("*", "/users", False),
    ],
)
def test_what_an_allow_covers(glob: str, path: str, allowed: bool) -> None:
    template = "/users/{id}" if path == "/users/7" else ""
    verdict = decide(policy_of(rule("allow", glob)), ask(path, template))
    assert (verdict.outcome == "allow") is allowed


@pytest.mark.parametrize(
    ("glob", "path", "denied"),
    [
        ("/admin/**", "/admin/x", True),
        ("/admin/**", "/ADMIN/x", True),
        ("/Admin/**", "/admin/X", True),
        ("/users/*", "/users/", True),
        ("/users/{ID}", "/users/7", True),
        ("/admin/*", "/admin/x/y", False),
        ("/admin", "/administration", False),
    ],
)
def test_where_a_deny_strikes(glob: str, path: str, denied: bool) -> None:
    template = "/users/{id}" if path == "/users/7" else ""
    verdict = decide(policy_of(rule("allow", "/**"), rule("deny", glob)), ask(path, template))
    assert (verdict.outcome == "deny") is denied
