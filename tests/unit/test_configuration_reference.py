"""The documents that are made from the code, and the examples in them."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from sallyport.app.configuration import vocabularies
from sallyport.config import Config, Vocabularies, Vocabulary
from sallyport.config.document import guardrail_rules
from sallyport.config.issuer_checks import hints
from sallyport.config.loader import load_bytes
from sallyport.config.models import TargetSettings
from sallyport.config.rule_checks import RuleChecker
from sallyport.config.rules import AccessRule, ApprovalSettings, Rule
from sallyport.config.yaml import read_yaml
from sallyport.identity.presets import DEVELOPMENT, PRESETS
from sallyport.policy import Policy
from sallyport.protocols.http.classify import FACTS as HTTP_FACTS
from sallyport.protocols.http.plugin import HttpPlugin
from sallyport.protocols.http.settings import HttpSettings, Inject
from sallyport.sql.facts import FACTS
from sallyport.sql.verbs import KINDS, VERBS
from tools.write_configuration_reference import DOCS, main

WORDS = Vocabularies(
    {
        "postgres": Vocabulary(VERBS, frozenset(FACTS), KINDS, frozenset({"table", "view"})),
        "http": Vocabulary(HttpPlugin.verbs, HttpPlugin.facts, HttpPlugin.kinds),
    },
    frozenset({"email", "card"}),
)
SHOP: Any = {
    "name": "shop",
    "protocol": "postgres",
    "labels": {"env": "demo"},
    "address": "127.0.0.1:5432",
    "database": "shop",
    "login": "app",
    "logins": {"app": {}},
    "classify": {"pii.email": ["public.customers.email"]},
}


ORDERS: Any = {
    "name": "orders",
    "protocol": "http",
    "address": "127.0.0.1:8080",
    "login": "api",
    "logins": {"api": {}},
}


def checker() -> RuleChecker:
    targets = tuple(map(TargetSettings.model_validate, (SHOP, ORDERS)))
    return RuleChecker(WORDS, targets, ApprovalSettings())


def test_the_pages_are_in_step_with_the_code() -> None:
    assert main(["--check"]) == 0


def test_a_stale_page_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for page in ("policy.md", "configuration.md"):
        (tmp_path / page).write_text((DOCS / page).read_text().replace("`no-two-phase`", "`x`"))
    monkeypatch.setattr("tools.write_configuration_reference.DOCS", tmp_path)
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert (tmp_path / "policy.md").read_text() == (DOCS / "policy.md").read_text()


def test_every_key_of_the_schema_is_documented() -> None:
    page = (DOCS / "configuration.md").read_text()
    for name in Config.model_fields:
        assert f"| `{name}` |" in page


def examples(name: str = "policy.md") -> list[tuple[str, str]]:
    page = (DOCS / name).read_text()
    blocks = re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)
    texts = [textwrap.dedent(block) for block in blocks]
    return [
        ("access" if text.startswith("access:") else "rules", text)
        for text in texts
        if text.startswith(("- name:", "access:"))
    ]


def test_the_guide_has_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.parametrize(("kind", "text"), [*examples(), *examples("http.md")])
def test_an_example_of_the_guide_is_a_good_one(kind: str, text: str) -> None:
    value: Any = read_yaml(text.encode(), "policy.md").value
    if kind == "access":
        for entry in value["access"]:
            assert list(checker().access((), AccessRule.model_validate(entry))) == []
        return
    assert value
    for entry in value:
        assert list(checker().rule((), Rule.model_validate(entry))) == []


@pytest.mark.parametrize("rule", guardrail_rules(), ids=lambda rule: rule.name)
def test_a_guardrail_speaks_the_words_that_there_are(rule: Rule) -> None:
    assert list(checker().rule((), rule)) == []
    assert rule.reason
    assert rule.hint or rule.effect in ("allow", "limit")


def blocks(page: Path) -> list[str]:
    """Return the YAML that a page shows."""
    return re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def test_the_files_that_pages_show_are_good() -> None:
    """The README's is whole; each of the others takes the place of its parts."""
    (whole,) = blocks(DOCS.parent / "README.md")
    kept: Any = read_yaml(whole.encode(), "README.md").value
    parts = blocks(DOCS / "getting-started.md")
    assert len(parts) == 3
    for part in ("", *parts):
        changed = {**kept, **(read_yaml(part.encode(), "page").value if part else {})}
        config = load_bytes(
            json.dumps(changed).encode(), file="page", folder=DOCS, vocabularies=vocabularies()
        )
        assert Policy(config.policy_document()).revision


def test_the_page_about_http_shows_a_good_file_and_good_conditions() -> None:
    """And has every fact, setting and way to present a credential that there is."""
    page = (DOCS / "http.md").read_text()
    (whole,) = blocks(DOCS / "http.md")
    value: Any = read_yaml(whole.encode(), "http.md").value
    conditions = re.findall(r"^    (when: .+)$", page, re.MULTILINE)
    assert len(conditions) == 4
    for number, condition in enumerate(conditions):
        when: Any = read_yaml(condition.encode(), "http.md").value
        value["policy"]["rules"].append({"name": f"when-{number}", "effect": "deny", **when})
    config = load_bytes(
        json.dumps(value).encode(), file="http.md", folder=DOCS, vocabularies=vocabularies()
    )
    assert Policy(config.policy_document()).revision
    for name, what in HTTP_FACTS.items():
        assert f"| `{name}` | {what} |" in page
    ways = get_args(get_type_hints(Inject)["way"])
    for name in [*HttpSettings.__struct_encode_fields__, *ways]:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("block", blocks(DOCS / "identity-providers.md"))
def test_an_issuer_that_the_page_shows_is_a_good_one(block: str) -> None:
    """And gives no hint: what the page shows is meant."""
    (whole,) = blocks(DOCS.parent / "README.md")
    kept: Any = read_yaml(whole.encode(), "README.md").value
    changed = {**kept, **read_yaml(block.encode(), "page").value}
    config = load_bytes(
        json.dumps(changed).encode(), file="page", folder=DOCS, vocabularies=vocabularies()
    )
    assert hints(config) == []


def test_the_page_has_every_preset() -> None:
    """The demo's is told of, and not shown as one to write."""
    text = "".join(blocks(DOCS / "identity-providers.md"))
    assert set(re.findall(r"preset: ([a-z-]+)", text)) == set(PRESETS) - {DEVELOPMENT}
    assert f"`preset: {DEVELOPMENT}`" in (DOCS / "identity-providers.md").read_text()


def test_every_page_is_found_and_every_link_leads_somewhere() -> None:
    pages = [DOCS.parent / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md")]
    pages += sorted(DOCS.rglob("*.md"))
    linked = set()
    for page in pages:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]+)?\)", page.read_text()):
            place = (page.parent / target).resolve()
            assert place.exists(), f"{page.name} links to {target}"
            linked.add(place)
    assert linked >= set(DOCS.glob("*.md")), "a page that no other links to is not found"
