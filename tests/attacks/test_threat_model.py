"""The threat model says what is tested, and all that is tested is in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ATTACKS = Path(__file__).parent
COLUMNS = ["attacker", "attack", "defence", "where", "test"]


def table() -> list[list[str]]:
    """Return the rows of the threat model's table, without its heading."""
    lines = (ROOT / "docs" / "threat_model.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    assert rows[0] == COLUMNS
    return rows[2:]


def quoted(column: str) -> list[str]:
    return [
        found for row in table() for found in re.findall("`([^`]+)`", row[COLUMNS.index(column)])
    ]


def named_in(file: Path) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    names = {node.name for node in ast.parse(file.read_text()).body if isinstance(node, functions)}
    return {name for name in names if name.startswith("test_")}


def test_every_test_that_the_threat_model_names_exists() -> None:
    for named in quoted("test"):
        path, _, name = named.partition("::")
        assert name in named_in(ROOT / path), named


def test_every_attack_is_in_the_threat_model() -> None:
    made = {
        f"tests/attacks/{file.name}::{name}"
        for file in ATTACKS.glob("test_*.py")
        if file != Path(__file__)
        for name in named_in(file)
    }
    assert made <= set(quoted("test")), made - set(quoted("test"))


def test_every_defence_is_where_the_threat_model_says() -> None:
    for path in quoted("where"):
        assert (ROOT / path).is_file(), path


def test_every_row_is_whole() -> None:
    for row in table():
        assert len(row) == len(COLUMNS), row
        assert all(row), row
