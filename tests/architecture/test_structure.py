"""The structure: sizes, who may construct proofs, which files touch asyncio."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.compile_sources import COMPILED

SOURCE = Path(__file__).parents[2] / "src" / "sallyport"
FILES = sorted(path for path in SOURCE.rglob("*.py") if "versions" not in path.parts)

TREES = {path: ast.parse(path.read_text()) for path in FILES}
"""Parsed as tests are collected: CPython 3.11 fails when something else is parsed meanwhile, which
the end of an earlier test's object may do."""

MAXIMUM_FILE = 500
MAXIMUM_FUNCTION = 50


def relative(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                yield node.func.id
            elif isinstance(node.func, ast.Attribute):
                yield node.func.attr


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAXIMUM_FILE
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or 0) - node.lineno + 1
            assert size <= MAXIMUM_FUNCTION, f"{node.name} is {size} lines"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(TREES[path])


def test_only_the_gate_makes_an_allow_and_only_the_lifecycle_a_grant() -> None:
    makers: dict[str, set[str]] = {"Allow": set(), "Grant": set()}
    for path in FILES:
        for name in calls(TREES[path]):
            if name in makers:
                makers[name].add(relative(path))
    testing = {name for name in makers["Allow"] | makers["Grant"] if name.startswith("testing/")}
    assert makers["Allow"] - testing == {"session/gate.py"}
    assert makers["Grant"] - testing == {"session/lifecycle.py"}


def test_in_protocols_only_plugin_and_endpoint_touch_the_loop() -> None:
    """And what carries a protocol that is no dialogue: its package `serving`."""
    allowed = {"plugin.py", "endpoint.py", "inspect.py", "base.py"}
    for path in (SOURCE / "protocols").rglob("*.py"):
        if path.name in allowed or path.parent.name == "serving":
            continue
        found = {name.split(".")[0] for name in imports(TREES[path])}
        assert not found & {"asyncio", "socket", "time"}, relative(path)


@pytest.mark.parametrize("package", ["core", "policy", "masking", "sql"])
def test_pure_packages_know_no_loop_and_no_clock(package: str) -> None:
    for path in (SOURCE / package).rglob("*.py"):
        found = {name.split(".")[0] for name in imports(TREES[path])}
        forbidden = {"asyncio", "socket", "threading"}
        if path.name != "identifiers.py":
            forbidden.add("time")
        assert not found & forbidden, relative(path)


def test_what_is_compiled_defines_no_struct_and_knows_its_depth() -> None:
    """mypyc drops a class's keywords (`frozen`), and compiled calls know no recursion limit."""
    for name in COMPILED:
        tree = TREES[SOURCE.parent / name]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert not node.keywords, f"{name}:{node.lineno}"
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                assert "Struct" not in bases, f"{name}:{node.lineno}"
        assert "RecursionError" not in {
            one.id for one in ast.walk(tree) if isinstance(one, ast.Name)
        }


def test_nothing_relies_on_assert() -> None:
    for path in FILES:
        for node in ast.walk(TREES[path]):
            assert not isinstance(node, ast.Assert), f"{relative(path)}:{node.lineno}"


def test_every_package_is_on_the_page_about_architecture() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    table = page.partition("## Packages")[2].partition("##")[0]
    named = set()
    for row in table.splitlines():
        if row.startswith("| `"):
            named |= set(re.findall(r"`([a-z]+)`", row.split("|")[1]))
    assert named == {path.parent.name for path in SOURCE.glob("*/__init__.py")}


def test_the_page_about_architecture_names_files_that_are_there() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`([a-z_/]+\.(?:py|yaml))`", page)) - {"configuration.yaml"}
    assert named
    for name in named:
        found = [*SOURCE.rglob(name), *SOURCE.parents[1].glob(name)]
        assert found, name
