"""Which mask rules in force name a column: what the operator is told beside a finding."""

from __future__ import annotations

from typing import Any

from sallyport.config.document import translate
from sallyport.config.rules import ApprovalSettings, Rule
from sallyport.control.mask_checks import rules_naming
from sallyport.policy import document
from tests.unit.policy.requests import target

CLASSES = {"shop": {"pii.email": ("public.customers.mail",)}}


def naming(columns: list[str], *rules: dict[str, Any], name: str = "shop") -> list[tuple[str, ...]]:
    made = [Rule.model_validate({"effect": "mask", **rule}) for rule in rules]
    translated = tuple(translate(rule, ApprovalSettings()) for rule in made)
    policy = document.Document(document.VERSION, rules=translated, classes=CLASSES)
    return rules_naming(document.encode(policy), target(name), columns)


def test_rules_name_columns_by_globs_and_by_the_configurations_tags() -> None:
    found = naming(
        ["public.customers.mail", "public.customers.notes", "public.orders.notes", "", "*"],
        {"name": "tagged", "mask": {"tags": ["pii.*"]}},
        {"name": "notes", "mask": {"columns": ["*.*.notes"]}},
        {"name": "all", "mask": {"columns": ["public.customers.*"]}},
    )
    assert found == [("tagged", "all"), ("notes", "all"), ("notes",), (), ()]


def test_what_a_rule_exempts_it_does_not_name() -> None:
    rule = {"columns": ["*.*.notes"], "unless_columns": ["public.orders.*"]}
    assert naming(
        ["public.customers.notes", "public.orders.notes"], {"name": "notes", "mask": rule}
    ) == [("notes",), ()]


def test_detectors_other_targets_and_rules_that_only_observe_name_nothing() -> None:
    mask = {"columns": ["*.*.notes"]}
    assert naming(
        ["public.customers.notes"],
        {"name": "detects", "mask": {"detectors": ["email"]}},
        {"name": "elsewhere", "mask": mask, "targets": {"names": ["crm"]}},
        {"name": "observes", "mask": mask, "mode": "observe"},
    ) == [()]
