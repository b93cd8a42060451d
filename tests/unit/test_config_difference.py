"""What is put on record of a changed configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sallyport.config.difference import LONGEST, MOST, difference
from tests.unit.control.harness import BASE, config_of


def changes(folder: Path, **after: Any) -> list[tuple[str | None, str | None, str | None]]:
    found = difference(config_of(folder), config_of(folder, **after))
    return [(one["path"], one["before"], one["after"]) for one in found]


def test_nothing_changed(tmp_path: Path) -> None:
    assert changes(tmp_path) == []


def test_entries_go_by_their_names(tmp_path: Path) -> None:
    rules = BASE["policy"]["rules"]
    policy = {**BASE["policy"], "rules": [rules[1], {**rules[0], "mode": "observe"}]}
    assert changes(tmp_path, policy=policy) == [
        ("policy.rules", "read, limits", "limits, read"),
        ("policy.rules[read].mode", "enforce", "observe"),
    ]
    found = changes(tmp_path, policy={**policy, "rules": rules[:1]})
    assert [(path, after) for path, _, after in found] == [("policy.rules[limits]", None)]
    assert "rows_per_hour" in (found[0][1] or "")


def test_values_are_told_short(tmp_path: Path) -> None:
    roles = {"approver": [f"group-{number:04}" for number in range(500)]}
    ((path, before, after),) = changes(tmp_path, roles={**BASE["roles"], **roles})
    assert path == "roles.approver" and before == "['dba']"
    assert after is not None and len(after) == LONGEST + 3


def test_very_many_are_counted(tmp_path: Path) -> None:
    one = BASE["access"][0]
    access = [{**one, "name": f"rule-{number}"} for number in range(MOST + 20)]
    found = changes(tmp_path, access=access)
    assert len(found) == MOST + 1
    assert found[-1][0] == "and 21 more"
