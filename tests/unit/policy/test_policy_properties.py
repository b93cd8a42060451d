"""What must hold of any policy: nothing that is added to refuse ever allows more."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sallyport.core.decision import Approval
from tests.unit.policy.requests import decide, operation, policy_of

NAMES = ("public.a", "public.b", "audit.c")
EFFECTS = ("read", "write", "admin", "unknown")
VERBS = ("select", "update", "drop-table")
FACTS = ("no-where", "catalog")
BROKEN = "op.nothing == 1"

selectors = st.fixed_dictionaries(
    {},
    optional={
        "verbs": st.lists(st.sampled_from((*VERBS, "*")), min_size=1, max_size=2),
        "effects": st.lists(st.sampled_from(EFFECTS), min_size=1, max_size=4),
        "facts": st.lists(st.sampled_from(FACTS), max_size=1),
        "resources": st.dictionaries(
            st.sampled_from(("table", "database", "function")),
            st.lists(st.sampled_from((*NAMES, "public.*", "*")), min_size=1, max_size=2),
            min_size=1,
            max_size=2,
        ),
    },
)
conditions = st.sampled_from((None, "true", "false", BROKEN, "op.verb == 'select'"))


@st.composite
def rules(draw: st.DrawFn, effects: tuple[str, ...] = ("allow", "deny", "hold", "mask")) -> Any:
    effect = draw(st.sampled_from(effects))
    rule: dict[str, Any] = {"name": "x", "effect": effect, "operations": draw(selectors)}
    if effect == "hold":
        rule["hold"] = {"approvers": ["dba"]}
    if effect == "mask":
        rule["mask"] = {"columns": [draw(st.sampled_from(("public.a.x", "*.x", "audit.*")))]}
    condition = draw(conditions)
    if condition is not None:
        rule["when"] = condition
    if draw(st.booleans()):
        rule["unless"] = {"operations": draw(selectors)}
    if draw(st.integers(0, 5)) == 0:
        rule["mode"] = "observe"
    return rule


def named(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**rule, "name": f"r{index}"} for index, rule in enumerate(given)]


policies = st.lists(rules(), max_size=5).map(named)
operations = st.builds(
    operation,
    st.sampled_from(VERBS),
    st.dictionaries(
        st.sampled_from([f"{kind} {name}" for kind in ("table", "function") for name in NAMES]),
        st.fixed_dictionaries(
            {
                "effect": st.sampled_from(EFFECTS),
                "exposed": st.lists(st.sampled_from(("x", "y", "*")), max_size=1),
            }
        ),
        max_size=3,
    ),
    st.lists(st.sampled_from(FACTS), max_size=2, unique=True).map(tuple),
)
RANK = {"deny": 0, "hold": 1, "allow": 2}


def rank(given: list[dict[str, Any]], op: Any, **more: Any) -> int:
    return RANK[decide(policy_of(*given), op, **more).outcome]


@given(policies, operations, rules(effects=("deny", "hold", "mask")))
def test_adding_a_rule_that_refuses_never_allows_more(
    before: list[dict[str, Any]], op: Any, added: dict[str, Any]
) -> None:
    assert rank([*before, {**added, "name": "added"}], op) <= rank(before, op)


@given(policies, operations, st.data())
def test_removing_an_allow_never_allows_more(
    before: list[dict[str, Any]], op: Any, data: st.DataObject
) -> None:
    allows = [rule for rule in before if rule["effect"] == "allow"]
    if not allows:
        return
    gone = data.draw(st.sampled_from(allows))
    after = [rule for rule in before if rule is not gone]
    if gone.get("when") != BROKEN:
        assert rank(after, op) <= rank(before, op)


@given(policies, operations, st.randoms())
def test_the_order_of_rules_is_irrelevant(
    before: list[dict[str, Any]], op: Any, random: Any
) -> None:
    after = list(before)
    random.shuffle(after)
    one, other = decide(policy_of(*before), op), decide(policy_of(*after), op)
    assert one.outcome == other.outcome
    assert set(one.rules) == set(other.rules)
    assert set(one.observed) == set(other.observed)
    assert one.cacheable == other.cacheable
    if one.hold is not None and other.hold is not None:
        assert set(one.hold.approvers) == set(other.hold.approvers)


@given(policies, operations)
def test_a_rule_with_an_error_never_allows(before: list[dict[str, Any]], op: Any) -> None:
    broken = {
        "name": "broken",
        "effect": "allow",
        "when": BROKEN,
        "operations": {"effects": list(EFFECTS)},
    }
    verdict = decide(policy_of(*before, broken), op)
    assert verdict.outcome == "deny"
    assert "broken" in verdict.rules
    assert not verdict.cacheable


@given(policies, operations)
def test_an_allow_covers_every_resource_by_some_rule(before: list[dict[str, Any]], op: Any) -> None:
    """The oracle says it the slow way: one resource at a time, from the rules' own words."""
    if decide(policy_of(*before), op).outcome != "allow":
        return
    for resource in op.resources:
        assert any(_covers(rule, op, resource) for rule in before), resource


def _covers(rule: dict[str, Any], op: Any, resource: Any) -> bool:
    if rule["effect"] != "allow" or rule.get("mode") == "observe":
        return False
    if rule.get("when") not in (None, "true") and op.verb != "select":
        return False
    return _touches(rule["operations"], op, resource, ("read", "write", "admin"))


def _touches(words: dict[str, Any], op: Any, resource: Any, effects: tuple[str, ...]) -> bool:
    if not {op.verb, "*"} & set(words.get("verbs", ("*",))):
        return False
    if words.get("facts") and not set(words["facts"]) & op.facts:
        return False
    if resource.effect.value not in words.get("effects", effects):
        return False
    globs = words.get("resources", {resource.kind: ["*"]}).get(resource.kind, ())
    return any(
        glob in ("*", resource.name) or (glob == "public.*" and resource.name.startswith("public."))
        for glob in globs
    )


@given(policies, operations, st.booleans())
def test_an_approval_for_another_digest_answers_nothing(
    before: list[dict[str, Any]], op: Any, same: bool
) -> None:
    verdict = decide(policy_of(*before), op)
    if verdict.hold is None:
        return
    digest = op.digest if same else b"\0" * 32
    approval = Approval("a-1", digest, verdict.hold.rules, ("eve",), ("dba",))
    after = decide(policy_of(*before), op, approval=approval)
    assert after.outcome == ("allow" if same else "hold")
    assert not after.cacheable
