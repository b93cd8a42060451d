"""Classifying: from a request to an operation that any policy can read."""

from __future__ import annotations

import json

import pytest

from sallyport.core.operation import Effect, Operation
from sallyport.protocols.http.classify import Classifier, compile_settings
from sallyport.protocols.http.message import Fields, RequestHead
from sallyport.protocols.http.settings import HttpSettings, Override

SETTINGS = HttpSettings(
    templates=("/users/{id}", "/users/{id}/keys"),
    operations=(
        Override(("/search", "/report/*"), Effect.READ, ("post",)),
        Override(("/danger",), Effect.ADMIN),
    ),
)
JSON: Fields = [(b"content-type", b"application/json")]


def operation(
    method: str, target: str, given: Fields | None = None, body: bytes | None = b""
) -> Operation:
    head = RequestHead(method, "http", "gw", target, given or [], "HTTP/1.1")
    classifier = Classifier("api", compile_settings(SETTINGS))
    return classifier.operation(7, head, given or [], body)[0]


@pytest.mark.parametrize(
    ("method", "target", "verb", "effect"),
    [
        ("GET", "/users/1", "get", Effect.READ),
        ("HEAD", "/x", "head", Effect.READ),
        ("OPTIONS", "*", "options", Effect.READ),
        ("POST", "/users", "post", Effect.WRITE),
        ("DELETE", "/users/1", "delete", Effect.WRITE),
        ("PROPFIND", "/x", "propfind", Effect.WRITE),
        ("TRACE", "/x", "trace", Effect.UNKNOWN),
        ("BREW", "/x", "other", Effect.UNKNOWN),
        ("get", "/x", "other", Effect.UNKNOWN),
        ("POST", "/search", "post", Effect.READ),
        ("PUT", "/search", "put", Effect.WRITE),
        ("POST", "/report/a", "post", Effect.READ),
        ("POST", "/report/a/b", "post", Effect.WRITE),
        ("POST", "/report/a;x", "post", Effect.READ),
        ("POST", "//search", "post", Effect.WRITE),
        ("GET", "/danger", "get", Effect.ADMIN),
    ],
)
def test_verbs_and_effects(method: str, target: str, verb: str, effect: Effect) -> None:
    found = operation(method, target)
    assert (found.verb, found.effect) == (verb, effect)
    assert found.resources[0].kind == "api"
    assert found.resources[0].effect is Effect.READ


@pytest.mark.parametrize(
    ("method", "target", "facts"),
    [
        ("DELETE", "/users", {"collection"}),
        ("DELETE", "/api/v1/users", {"collection"}),
        ("DELETE", "/users/1", set()),
        ("DELETE", "/users/alice", set()),
        ("DELETE", "/", {"collection"}),
        ("GET", "/users/7/keys", {"collection"}),
        ("GET", "/api-keys", {"credential-path", "collection"}),
        ("GET", "/API_Keys/1", {"credential-path"}),
        ("GET", "/Admin/x1", {"admin-path"}),
        ("GET", "/x/%61dmin/1", {"admin-path"}),
        ("GET", "/x/export", {"bulk-export"}),
        ("GET", "/users/1?limit=5000", {"bulk-export"}),
        ("GET", "/users/1?limit=50", set()),
        ("GET", "/users/1?_method=DELETE", {"method-override"}),
        ("GET", "/a%2Fadmin%2f1", {"admin-path", "ambiguous-path"}),
        ("GET", "/.env", {"credential-path", "collection"}),
        ("GET", "/.git/config", {"credential-path"}),
    ],
)
def test_facts_of_places(method: str, target: str, facts: set[str]) -> None:
    assert operation(method, target).facts - {"no-body"} == facts


def test_every_reading_of_a_path_is_a_resource() -> None:
    found = operation("GET", "/a%2Fb;x")
    names = [one.name for one in found.resources if one.kind == "path"]
    assert {"/a%2Fb;x", "/a/b;x", "/a/b"} <= set(names)


def test_a_template_stands_beside_the_name() -> None:
    path = operation("GET", "/users/5").resources[1]
    assert (path.name, path.template) == ("/users/5", "/users/{id}")


@pytest.mark.parametrize(
    ("given", "body", "fact", "unclear"),
    [
        (JSON, b'{"a":1}', "json-body", ""),
        (JSON, b'{"a":1,"a":2}', "ambiguous-body", "ambiguous"),
        (JSON, b'{"a":{"b":1,"\\u0062":2}}', "ambiguous-body", "ambiguous"),
        (JSON, b"{'a':1}", "ambiguous-body", "ambiguous"),
        (JSON, b'{"a":1}x', "ambiguous-body", "ambiguous"),
        (JSON, b'{"a":NaN}', "ambiguous-body", "ambiguous"),
        (JSON, b"\xef\xbb\xbf{}", "ambiguous-body", "ambiguous"),
        (JSON, b"[" * 5000, "ambiguous-body", "ambiguous"),
        (JSON, b"[" * 70 + b"]" * 70, "ambiguous-body", "ambiguous"),
        (JSON, '{"a":1}'.encode("utf-16"), "ambiguous-body", "ambiguous"),
        ([(b"content-type", b"application/json; charset=utf-16")], b"{}", "ambiguous-body",
         "ambiguous"),
        ([*JSON, *JSON], b"{}", "ambiguous-body", "ambiguous"),
        ([*JSON, (b"content-encoding", b"gzip")], b"\x1f\x8b", "ambiguous-body", "encoded"),
        ([(b"content-type", b"application/x-www-form-urlencoded")], b"a=1&a=2", "form-body", ""),
        ([(b"content-type", b"text/plain")], b'{"a":1}', "opaque-body", ""),
        ([], b"x", "opaque-body", ""),
        (JSON, None, "large-body", "large"),
    ],
)  # fmt: skip
def test_bodies(given: Fields, body: bytes | None, fact: str, unclear: str) -> None:
    found = operation("POST", "/users/1", given, body)
    assert fact in found.facts
    names = [one.name for one in found.resources if one.kind == "body"]
    assert names == ([unclear] if unclear else [])
    assert found.effect is (Effect.UNKNOWN if unclear else Effect.WRITE)
    assert found.bound is (body is not None)


def test_what_conditions_read() -> None:
    given = [*JSON, (b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"\xe9")]
    found = operation("POST", "/users/1?q=a&q=b&r", given, b'{"n":[1,{"x":"y"}]}')
    assert json.loads(found.content) == {
        "query": {"q": ["a", "b"], "r": [""]},
        "headers": {"content-type": "application/json", "x-a": "1, 2", "x-b": "é"},
        "type": "application/json",
        "body": {"n": [1, {"x": "y"}]},
    }
    assert [(one.name, one.value) for one in found.parameters] == [
        ("query.q", b"a"), ("query.q", b"b"), ("query.r", b""),
    ]  # fmt: skip


def test_an_approval_is_for_all_that_a_request_does() -> None:
    base = operation("POST", "/users/1?a=1", JSON, b"{}").digest
    same = [*JSON, (b"user-agent", b"x"), (b"traceparent", b"y")]
    assert operation("POST", "/users/1?a=1", same, b"{}").digest == base
    for other in (
        operation("PUT", "/users/1?a=1", JSON, b"{}"),
        operation("POST", "/users/2?a=1", JSON, b"{}"),
        operation("POST", "/users/1?a=2", JSON, b"{}"),
        operation("POST", "/users/1?a=1", JSON, b"[]"),
        operation("POST", "/users/1?a=1", [*JSON, (b"x-dry-run", b"0")], b"{}"),
        operation("POST", "/users/1?a=1", [], b"{}"),
    ):
        assert other.digest != base


def test_messages_and_deliveries() -> None:
    classifier = Classifier("api", compile_settings(SETTINGS))
    text = classifier.message(1, "/chat?room=1", b'{"op":"delete"}', False)
    assert (text.verb, text.effect) == ("message", Effect.WRITE)
    assert json.loads(text.content)["body"] == {"op": "delete"}
    binary = classifier.message(2, "/chat", b"\x00\xff", True)
    assert binary.effect is Effect.UNKNOWN
    assert text.digest != classifier.message(3, "/chat?room=1", b'{"op":"drop"}', False).digest
    passed = classifier.delivery(4, "/files/a", "image/png")
    assert (passed.verb, passed.effect, passed.bound) == ("deliver", Effect.UNKNOWN, False)
    assert [one.name for one in passed.resources if one.kind == "media"] == ["image/png"]


def test_before_its_body_is_read_a_request_may_be_many_things() -> None:
    head = RequestHead("POST", "http", "gw", "/users/1", JSON, "HTTP/1.1", None)
    classifier = Classifier("api", compile_settings(SETTINGS))
    early = list(classifier.early(1, head, JSON))
    assert {"json-body", "form-body", "opaque-body", "ambiguous-body", "large-body"} == {
        fact for one in early for fact in one.facts
    }  # fmt: skip
    assert all(one.effect is Effect.WRITE for one in early[:3])
    assert all(one.effect is Effect.UNKNOWN for one in early[3:])
