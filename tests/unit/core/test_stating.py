"""What clients say of their task and purpose: read strictly, kept short, worth nothing."""

from __future__ import annotations

import pytest

from sallyport.core.stating import Stating, problem_of
from sallyport.core.subject import MAXIMUM_STATED, Stated
from sallyport.protocols.postgres.startup import settings_of, stated_in

PATTERN = r"[^;]*;task=(?P<task>[^;]+)(?:;purpose=(?P<purpose>.+))?"


@pytest.mark.parametrize(
    ("application", "given", "read"),
    [
        ("bot;task=JIRA-1;purpose=quarter end", Stated(), Stated("JIRA-1", "quarter end")),
        ("bot;task=JIRA-1", Stated(), Stated("JIRA-1", "")),
        ("bot;task=JIRA-1", Stated("mine", ""), Stated("mine", "")),
        ("bot;task=JIRA-1;purpose=p", Stated("", "own"), Stated("JIRA-1", "own")),
        ("psql", Stated(), Stated()),
        ("x;task=" + "a" * 500, Stated(), Stated("a" * MAXIMUM_STATED, "")),
        ("x;task=a\u202eb\tc", Stated(), Stated("a<U+202E>b\tc", "")),
    ],
    ids=str,
)
def test_the_name_of_an_application_is_read_by_rule(
    application: str, given: Stated, read: Stated
) -> None:
    assert Stating([PATTERN]).read(application, given) == read
    assert Stating([]).read(application, given) == given


@pytest.mark.parametrize(
    "pattern", ["(", "plain", "(?P<subject>.*)", r"(?P<task>a)(?P<x>b)", r"(a)\1"]
)
def test_patterns_that_are_none(pattern: str) -> None:
    assert problem_of(pattern)
    with pytest.raises(ValueError, match=r"pattern|groups"):
        Stating([pattern])


def test_the_startup_message_has_room_for_it_and_the_target_never_hears_it() -> None:
    settings = settings_of(
        {
            "options": "-c sallyport.task=JIRA-1 -c sallyport.purpose=quarter\\ end -c jit=off",
            "application_name": "bot",
        }
    )
    assert stated_in(settings) == Stated("JIRA-1", "quarter end")
    assert settings == {"jit": "off", "application_name": "bot"}
