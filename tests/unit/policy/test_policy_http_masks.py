"""Masks that name parts of HTTP responses: what they say, and what they leave alone."""

from __future__ import annotations

import pytest

from sallyport import policy
from sallyport.control.mask_checks import revision_at
from sallyport.core.decision import Mask
from sallyport.masking.plan import Column, plan, text_masker
from tests.unit.policy.requests import context, operation, subject, target
from tests.unit.policy.test_policy_tags import compiled, mask, masks

KEY = b"0123456789abcdef"


def test_the_terms_reach_whoever_carries_them_out() -> None:
    made = compiled(mask(json=["$..email"], headers=["x-user"], cookies=["sid"]))
    assert masks(made) == (
        Mask("hide", "redact", json=("$..email",), headers=("x-user",), cookies=("sid",)),
    )


@pytest.mark.parametrize("terms", [{"json": ["$.a"]}, {"headers": ["x-a"]}, {"cookies": ["sid"]}])
def test_tags_that_no_column_has_take_nothing_away(terms: dict[str, list[str]]) -> None:
    made = compiled(mask(tags=["nothing.*"], **terms))
    assert [one.columns for one in masks(made)] == [()]
    assert masks(compiled(mask(tags=["nothing.*"]))) == ()


@pytest.mark.parametrize("transform", ["redact", "hash", "null", "partial", "generalise"])
def test_they_have_no_say_in_results_with_columns(transform: str) -> None:
    named = (Mask("m", transform, json=("$..email",), headers=("*",), cookies=("sid",)),)
    columns = [Column("email", frozenset({("a", "b", "email")}), "jsonb", False)]
    assert not named[0].on_results
    assert plan(named, columns, KEY) is None
    assert text_masker(named, KEY) is None


def test_they_are_explained() -> None:
    made = compiled(mask(json=["$..email"], headers=["x-user"], cookies=["sid"]))
    read = operation(resources={"table public.customers": {"effect": "read"}})
    told = policy.explain(made, subject(), target(), context(), read).as_text()
    assert "redact json $..email, header x-user, cookie sid (hide)" in told


def test_a_check_of_a_targets_masks_is_not_about_them() -> None:
    at = target()
    none = revision_at(compiled().document, at)
    assert revision_at(compiled(mask(json=["$.a"], headers=["x-a"])).document, at) == none
    columns = revision_at(compiled(mask(columns=["*.*.a"])).document, at)
    assert columns != none
    assert revision_at(compiled(mask(columns=["*.*.a"], json=["$.a"])).document, at) == columns
