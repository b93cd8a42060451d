"""Questions, holds and people for the tests of approvals."""

from __future__ import annotations

import itertools
from typing import Any

from sallyport.approvals.service import Question
from sallyport.core.decision import Hold
from sallyport.core.operation import Effect, Operation, Parameter, Resource, digest_of
from sallyport.core.subject import Subject
from tests.support.clock import Clock

NUMBERS = itertools.count(1)


def operation(text: str = "UPDATE t SET a = 1 WHERE id = 1", **fields: Any) -> Operation:
    values: dict[str, Any] = {
        "id": next(NUMBERS),
        "protocol": "postgres",
        "target": "shop",
        "verb": "update",
        "effect": Effect.WRITE,
        "resources": (Resource("table", "public.t", Effect.WRITE),),
        "facts": frozenset(),
        "text": text,
        "parameters": (),
        "fingerprint": b"f",
        "digest": digest_of(text),
    }
    return Operation(**(values | fields))


def hold(**fields: Any) -> Hold:
    values: dict[str, Any] = {
        "rules": ("updates-wait",),
        "approvers": ("dba",),
        "people": 1,
        "timeout": 300.0,
        "ticket": False,
    }
    return Hold(**(values | fields))


def agent(name: str = "agent-1", **fields: Any) -> Subject:
    values: dict[str, Any] = {"groups": ("agents",), "issuer": "sallyport", "token": "tok"}
    return Subject(name=name, **(values | fields))


def dba(name: str = "dana", **fields: Any) -> Subject:
    return agent(name, **({"groups": ("dba",)} | fields))


def question(clock: Clock, **fields: Any) -> Question:
    values: dict[str, Any] = {
        "session": "ses-1",
        "subject": agent(),
        "operation": operation(),
        "hold": hold(),
        "database": "shop",
        "login": "app",
        "application": "psql",
        "source": "127.0.0.1",
        "expires": clock.now + 300,
    }
    return Question(**(values | fields))


def secret_parameter(value: bytes | None, binary: bool = False) -> Parameter:
    return Parameter("$1", "25", value, binary)
