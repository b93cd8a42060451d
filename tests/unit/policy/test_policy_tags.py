"""Tags: masks that name what columns hold, and targets that say which columns hold it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sallyport import policy
from sallyport.config.document import translate
from sallyport.config.rules import ApprovalSettings, Rule
from sallyport.core.decision import Mask
from sallyport.core.globs import glob_of
from sallyport.core.operation import UNKNOWN_TAGS, Tags
from sallyport.policy import document
from tests.unit.policy.requests import context, operation, subject, target

CLASSES = {
    "shop": {"pii.email": ("public.customers.email", "*.*.mail"), "pci.card": ("*.payments.card",)},
    "crm": {"pii.email": ("crm.people.address",)},
}
ALLOW = {"name": "all", "effect": "allow"}


def compiled(
    *rules: dict[str, Any], classes: dict[str, dict[str, tuple[str, ...]]] | None = None
) -> policy.Policy:
    made = [Rule.model_validate(rule) for rule in (ALLOW, *rules)]
    return policy.compile(
        document.encode(
            document.Document(
                version=document.VERSION,
                rules=tuple(translate(rule, ApprovalSettings()) for rule in made),
                classes=CLASSES if classes is None else classes,
            )
        )
    )


def mask(**terms: Any) -> dict[str, Any]:
    return {"name": "hide", "effect": "mask", "mask": terms}


def masks(
    made: policy.Policy, name: str = "shop", tags: Tags = (), **resource: Any
) -> tuple[Mask, ...]:
    read = operation(resources={"table public.customers": {"effect": "read", **resource}})
    return made.evaluate(subject(), target(name), context(), read, tags=tags).obligations.masks


@pytest.mark.parametrize(
    ("tags", "columns"),
    [
        (["pii.email"], ("public.customers.email", "*.*.mail")),
        (["pii.*"], ("public.customers.email", "*.*.mail")),
        (["{pii,pci}.*"], ("*.payments.card", "public.customers.email", "*.*.mail")),
        (["pci.card", "nothing"], ("*.payments.card",)),
    ],
)
def test_tags_become_the_columns_that_have_them(tags: list[str], columns: tuple[str, ...]) -> None:
    (found,) = masks(compiled(mask(tags=tags, transform="hash")))
    assert (found.columns, found.transform) == (columns, "hash")


def test_a_tag_adds_to_columns_and_takes_none_away() -> None:
    (found,) = masks(compiled(mask(columns=["*.*.ssn"], tags=["pci.*"])))
    assert found.columns == ("*.*.ssn", "*.payments.card")
    (found,) = masks(compiled(mask(columns=["*.*.ssn"], tags=["none"])))
    assert found.columns == ("*.*.ssn",)


def test_each_target_has_its_own_columns() -> None:
    made = compiled(mask(tags=["pii.*"]))
    assert masks(made, "crm")[0].columns == ("crm.people.address",)
    assert masks(made, "other") == ()
    assert masks(made, "shop")[0].columns == ("public.customers.email", "*.*.mail")


def test_a_tagged_column_that_is_used_is_exposed() -> None:
    made = compiled(mask(tags=["pii.email"]))
    for exposed, outcome in (("email", "deny"), ("*", "deny"), ("city", "allow")):
        read = operation(
            resources={"table public.customers": {"effect": "read", "exposed": [exposed]}}
        )
        assert made.evaluate(subject(), target(), context(), read).outcome == outcome
        explained = policy.explain(made, subject(), target(), context(), read)
        assert explained.verdict.outcome == outcome


SAID: Tags = (("pii.name", ("public.customers.name",)), ("secret", ("public.customers.pin",)))


def test_what_the_target_says_adds_to_what_the_document_says() -> None:
    made = compiled(mask(tags=["pii.*"]))
    assert masks(made, tags=SAID)[0].columns == (
        "public.customers.email", "*.*.mail", "public.customers.name",
    )  # fmt: skip
    assert masks(made, "other", SAID)[0].columns == ("public.customers.name",)
    assert masks(compiled(mask(tags=["secret"]), classes={}), tags=SAID)[0].columns == (
        "public.customers.pin",
    )
    assert masks(compiled(mask(tags=["phi"]), classes={}), tags=SAID) == ()
    assert masks(made, "other") == ()


def test_a_column_that_the_target_tags_is_exposed_when_it_is_used() -> None:
    made = compiled(mask(tags=["pii.*"]), classes={})
    for exposed, tags, outcome in (
        ("name", SAID, "deny"), ("*", SAID, "deny"), ("name", (), "allow"), ("pin", SAID, "allow")
    ):  # fmt: skip
        read = operation(
            resources={"table public.customers": {"effect": "read", "exposed": [exposed]}}
        )
        told = policy.explain(made, subject(), target(), context(), read, tags=tags)
        assert told.verdict.outcome == outcome
        assert made.evaluate(subject(), target(), context(), read, tags=tags).outcome == outcome


def test_where_the_target_says_nothing_every_column_may_have_the_tag() -> None:
    made = compiled(mask(tags=["hr.pay"]), classes={})
    assert masks(made, tags=UNKNOWN_TAGS)[0].columns == ("*",)
    read = operation(resources={"table public.customers": {"effect": "read", "exposed": ["name"]}})
    assert made.evaluate(subject(), target(), context(), read, tags=UNKNOWN_TAGS).outcome == "deny"
    unknown = operation(resources={"table customers": {"effect": "unknown"}})
    for tags, outcome in ((UNKNOWN_TAGS, "deny"), ((), "allow")):
        rule = {"name": "all", "effect": "allow", "operations": {"effects": ["read", "unknown"]}}
        found = compiled({**rule, "name": "u"}, mask(tags=["hr.pay"]), classes={})
        assert found.evaluate(subject(), target(), context(), unknown, tags=tags).outcome == outcome


def test_more_names_than_an_expression_can_hold_are_no_hindrance() -> None:
    odd = tuple(glob_of("public", f"t{n}", f"a*{{{n}}}") for n in range(20_000))
    made = compiled(mask(tags=["pii"]), classes={})
    assert len(masks(made, tags=(("pii", odd),))[0].columns) == 20_000


def test_why_a_mask_takes_no_part_is_told() -> None:
    made = compiled(mask(tags=["pii.*"]))
    account = policy.explain(made, subject(), target("other"), context(), operation()).rules[-1]
    assert account.why == "target `other` has no column with its tags"


def test_exceptions_hold_for_tags_too() -> None:
    rule = {**mask(tags=["pii.*"]), "unless": {"subjects": {"groups": ["agents"]}}}
    assert masks(compiled(rule)) == ()
    rule["unless"] = {"when": "context.login == 'other'"}
    assert len(masks(compiled(rule))) == 1


def test_targets_are_chosen_by_their_labels() -> None:
    rule = {**mask(tags=["pii.*"], columns=["*.*.ssn"]), "targets": {"labels": {"env": "prod-*"}}}
    made = compiled(rule)
    read = operation()
    seen = {
        env: made.evaluate(subject(), target(env=env), context(), read).obligations.masks
        for env in ("prod-eu", "demo")
    }
    assert len(seen["prod-eu"]) == 1 and seen["demo"] == ()
    assert seen["prod-eu"][0].columns[0] == "*.*.ssn"


def test_another_classification_is_another_revision() -> None:
    one = compiled(mask(tags=["pii.*"]))
    other = compiled(mask(tags=["pii.*"]), classes={"shop": {"pii.email": ("a.b.c",)}})
    assert one.revision != other.revision


def test_a_classification_that_is_no_glob_is_refused() -> None:
    with pytest.raises(policy.PolicyError, match="hide"):
        compiled(mask(tags=["pii.*"]), classes={"shop": {"pii.email": ("public.{a",)}})


def test_workers_refuse_settings_that_they_do_not_know() -> None:
    raw = msgspec.json.decode(compiled(mask(tags=["pii.*"])).document)
    raw["rules"][-1]["mask"]["blur"] = 1
    with pytest.raises(policy.PolicyError):
        document.decode(msgspec.json.encode(raw))
