"""The threat model in docs/security.md names tests that exist."""

import ast
import re
from functools import cache

import pytest

from platform_core.conf.environment import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in (ROOT / "docs" / "security.md").read_text().partition("## Threat model")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| attacker ")
]


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_there_is_one():
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_every_line_is_complete_and_names_tests_that_exist(row):
    assert len(row) == 5
    assert all(row)
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", row[-1])
    assert named
    assert ", ".join(f"`{file}::{name}`" for file, name in named) == row[-1]
    for file, name in named:
        assert name in functions_of(file), f"{file} has no {name}"
