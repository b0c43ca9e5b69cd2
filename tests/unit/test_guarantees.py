"""Everything that docs/guarantees.md names exists: files, names in them, invariants, mutants and tests."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.simulation.mutants import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "guarantees.md"
HEAD = ["promise", "rests on", "without it fails"]
_CODE = re.compile(r"`([^`]+)`")
_NAMES = r"`[^`]+`(?:, `[^`]+`)*"
_FAILS = re.compile(rf"(?P<names>{_NAMES})(?:: (?P<invariants>\w+(?:, \w+)*))?")
_BARE_NAME = re.compile(r"\w+(?:_\w+)+|\w+/[\w/.]*|\w+\.\w+")


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
    """Every name in the code of a file, and "Class.member" for the methods of its classes."""
    if file.suffix == ".js":
        return set(re.findall(r"\b(?:function|const) (\w+)", file.read_text()))
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
    """The name of every test function under tests/."""
    return {
        node.name
        for file in (root / "tests").rglob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


TESTS = names_of_tests()


def faults_of_names(row: Row) -> list[str]:
    """Faults of the second cell: names of things that do not exist."""
    found = [f"{name} without backticks" for name in _BARE_NAME.findall(_CODE.sub("", row.rests_on))]
    named = _CODE.findall(row.rests_on)
    files = [name for name in named if name.endswith((".py", ".js"))]
    found += [f"no file {name}" for name in files if not (ROOT / name).is_file()]
    known: set[str] = set().union(*(identifiers(ROOT / name) for name in files if (ROOT / name).is_file()))
    return found + [
        f"no {name} in {', '.join(files) or 'any file'}" for name in named if name not in {*files, *known}
    ]


def is_file_of_tests(name: str) -> bool:
    path = ROOT / name
    return path.match("tests/**/test_*.py") and path.is_file()


def faults_of_proof(part: str) -> list[str]:
    """Faults of one part of the third cell, which has to be "`Mutant`: INVARIANT" or "`test_name`"."""
    parts = _FAILS.fullmatch(part)
    if parts is None:
        return [f"{part!r} is neither `Mutant`, ...: INVARIANT, ... nor `test_name`, ..."]
    names = _CODE.findall(parts["names"])
    mutants = [MUTANTS[name] for name in names if name in MUTANTS]
    found = [
        f"no test, mutant or file of tests {name}"
        for name in names
        if name not in TESTS and name not in MUTANTS and not is_file_of_tests(name)
    ]
    told = set(parts["invariants"].split(", ")) if parts["invariants"] else set()
    caught_by = {one.name for mutant in mutants for one in mutant.caught_by}
    if not found and told != caught_by:
        wanted = ", ".join(sorted(caught_by)) or "no invariant"
        found.append(f"{parts['names']}: expected {wanted}")
    return found


def faults(row: Row) -> list[str]:
    """Faults of a row: names of things that do not exist. Empty if there are none."""
    if not all(row):
        return ["an empty cell"]
    return faults_of_names(row) + [found for part in row.fails.split("; ") for found in faults_of_proof(part)]


@pytest.mark.parametrize("row", rows(DOCUMENT.read_text()), ids=lambda row: row.promise)
def test_a_row_names_only_what_exists(row):
    assert faults(row) == []


def test_every_table_was_read_and_no_row_is_there_twice_or_hidden():
    text = DOCUMENT.read_text()
    promises = [row.promise for row in rows(text)]
    assert len(promises) >= 39
    assert sorted(set(promises)) == sorted(promises)
    assert "<!--" not in text


HERE = "`test_a_row_names_only_what_exists`"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row("a", "`actors/nowhere.py`", HERE), "no file actors/nowhere.py"),
        (Row("a", "`nothing` in `actors/version.py`", HERE), "no nothing in actors/version.py"),
        (Row("a", "`No.thing` in `actors/version.py`", HERE), "no No.thing in actors/version.py"),
        (Row("a", "`nothing`", HERE), "no nothing in any file"),
        (Row("a", "no_such in `actors/version.py`", HERE), "no_such without backticks"),
        (Row("a", "actors/nowhere.py", HERE), "actors/nowhere.py without backticks"),
        (Row("a", "", HERE), "an empty cell"),
        (Row("a", "all", "`test_nothing`"), "no test, mutant or file of tests test_nothing"),
        (
            Row("a", "all", "`tests/test_nothing.py`"),
            "no test, mutant or file of tests tests/test_nothing.py",
        ),
        (Row("a", "all", "`README.md`"), "no test, mutant or file of tests README.md"),
        (Row("a", "all", "`WantsTooMuch`: FOO"), "`WantsTooMuch`: expected IN_FLIGHT"),
        (Row("a", "all", "`WantsTooMuch`: no_such"), "`WantsTooMuch`: expected IN_FLIGHT"),
        (Row("a", "all", "`WantsTooMuch`: WIDTH"), "`WantsTooMuch`: expected IN_FLIGHT"),
        (Row("a", "all", "`WantsTooMuch`"), "`WantsTooMuch`: expected IN_FLIGHT"),
        (Row("a", "all", f"{HERE}: WIDTH"), f"{HERE}: expected no invariant"),
        (
            Row("a", "all", "a good deal"),
            "'a good deal' is neither `Mutant`, ...: INVARIANT, ... nor `test_name`, ...",
        ),
    ],
)
def test_a_row_that_names_what_is_not_there_is_found(row, expected):
    assert faults(row) == [expected]
