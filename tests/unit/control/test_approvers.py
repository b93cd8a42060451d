"""At which targets an approver's word counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sallyport.control.approvers import ApproverScopes
from sallyport.core.grant import Target, TargetAddress
from sallyport.core.subject import Subject
from tests.unit.control.harness import config_of

ROLES: dict[str, Any] = {
    "approver": [
        "dba",
        {"groups": ["leads"], "targets": {"labels": {"team": "shop"}}},
        {"groups": ["leads", "night"], "targets": {"names": ["billing*"]}},
    ]
}


def target(name: str, **labels: str) -> Target:
    return Target(name, "postgres", TargetAddress("h", 1), "d", labels)


@pytest.mark.parametrize(
    ("groups", "reached"),
    [
        (("dba",), "shop billing other"),
        (("leads",), "shop billing"),
        (("night",), "billing"),
        (("night", "dba"), "shop billing other"),
        (("strangers",), "shop billing other"),
    ],
    ids=str,
)
def test_groups_reach_their_targets(tmp_path: Path, groups: tuple[str, ...], reached: str) -> None:
    scopes = ApproverScopes(config_of(tmp_path, roles=ROLES).roles.approver)
    subject = Subject("dana", groups, "sallyport", "t", roles=("approver",))
    there = (target("shop", team="shop"), target("billing-eu"), target("other", team="x"))
    found = [one.name.removesuffix("-eu") for one in there if scopes.reach(subject, one)]
    assert " ".join(found) == reached


def test_a_group_with_targets_holds_the_role(tmp_path: Path) -> None:
    roles = config_of(tmp_path, roles=ROLES).roles
    assert roles.groups["approver"] == ("dba", "leads", "night")
