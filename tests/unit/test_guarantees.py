"""docs/guarantees.md names only what exists: files, names in them, invariants, mutants and tests."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.simulation.checks import Invariant
from tests.simulation.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "guarantees.md"
HEAD = ["promise", "rests on", "without it fails"]
_CODE = re.compile(r"`([^`]+)`")
_INVARIANT = re.compile(r"\b[A-Z][A-Z_]{3,}\b")


class Row(NamedTuple):
    """One line of a table."""

    promise: str
    rests_on: str
    fails: str


def rows(text: str) -> list[Row]:
    """The rows of every table of promises in the text."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and cells != HEAD and set(line) != set("|-"):
            assert len(cells) == len(HEAD), f"{line!r}: expected {len(HEAD)} cells"
            found.append(Row(*cells))
    return found


def identifiers(file: Path) -> set[str]:
    """Every name that stands in the code of a file, and `Class.member` of its classes."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.ClassDef(name=name, body=body):
                found.add(name)
                found |= {
                    f"{name}.{one.name}"
                    for one in body
                    if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.alias(name=name):
                found.add(name)
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
    return found


def names_of_tests(root: Path = ROOT) -> set[str]:
    """Every test function under tests/."""
    return {
        name
        for file in (root / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }


TESTS = names_of_tests()


def faults(row: Row) -> list[str]:
    """What the row names and is not there; empty when all of it is."""
    found = []
    named = _CODE.findall(row.rests_on)
    files = [name for name in named if name.endswith(".py")]
    found += [f"no file {name}" for name in files if not (ROOT / name).is_file()]
    known: set[str] = set().union(*(identifiers(ROOT / name) for name in files if (ROOT / name).is_file()))
    found += [
        f"no {name} in {', '.join(files) or 'any file'}" for name in named if name not in {*files, *known}
    ]
    for name in _CODE.findall(row.fails):
        is_there = (ROOT / name).is_file() if "/" in name else name in TESTS or name in MUTANTS
        found += [] if is_there else [f"no test, mutant or file {name}"]
    found += [
        f"no invariant {name}" for name in _INVARIANT.findall(row.fails) if name not in Invariant.__members__
    ]
    if not _CODE.search(row.fails):
        found.append("names nothing that fails")
    return found


@pytest.mark.parametrize("row", rows(DOCUMENT.read_text()), ids=lambda row: row.promise)
def test_a_row_names_only_what_exists(row):
    assert faults(row) == []


def test_every_table_was_read():
    assert len(rows(DOCUMENT.read_text())) >= 39


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("", "`actors/nowhere.py`", "`test_a_row_names_only_what_exists`"), "no file actors/nowhere.py"),
        (
            Row("", "`nothing` in `actors/version.py`", "`test_a_row_names_only_what_exists`"),
            "no nothing in actors/version.py",
        ),
        (
            Row("", "`Nothing.at_all` in `actors/version.py`", "`test_a_row_names_only_what_exists`"),
            "no Nothing.at_all in actors/version.py",
        ),
        (Row("", "`nothing`", "`test_a_row_names_only_what_exists`"), "no nothing in any file"),
        (Row("", "everything", "`test_nothing`"), "no test, mutant or file test_nothing"),
        (Row("", "everything", "`tests/test_nothing.py`"), "no test, mutant or file tests/test_nothing.py"),
        (Row("", "everything", "`WantsTooMuch`: NO_SUCH_THING"), "no invariant NO_SUCH_THING"),
        (Row("", "everything", "a good deal"), "names nothing that fails"),
    ],
)
def test_a_row_that_names_what_is_not_there_is_found(row, expected):
    assert faults(row) == [expected]
