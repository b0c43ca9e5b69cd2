"""Planted mutations, tried against planted tests in a checkout of their own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mutants import places, population
from tests.mutants.population import Mutation
from tests.mutants.report import problems, summary
from tests.mutants.run import Fate, jobs, measure, try_all

ROOT = Path(__file__).resolve().parents[3]

PLANTED = """
class Few:
    def wide(self, videos):
        return videos > 20

    def narrow(self, videos):
        return videos < 20

def count(number):
    while number > 0:
        number -= 1
    return number

def unheard(number):
    return number + 1

def early():
    return 1

EARLY = early()

def apart():
    return 2
"""

TESTS = """
import os
import subprocess
import sys

from actors.store import planted

def test_that_ends_its_process():
    planted.Few().wide(1)
    os._exit(1)

def test_wide():
    assert planted.Few().wide(21)
    assert not planted.Few().wide(20)

def test_narrow_without_its_limit():
    assert planted.Few().narrow(19)
    assert not planted.Few().narrow(21)

def test_count():
    assert planted.count(3) == 0

def test_early():
    assert planted.EARLY == 1

def test_in_a_process_of_its_own():
    command = [sys.executable, "-c", "from actors.store.planted import apart; print(apart())"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2\\n"

def test_that_fails_by_itself():
    planted.Few().wide(1)
    assert False
"""


@pytest.fixture(scope="module")
def fates(tmp_path_factory):
    """What became of every planted mutation, by its id; and the tests that were left out."""
    root = tmp_path_factory.mktemp("checkout")
    for name, text in (
        ("actors/__init__.py", ""),
        ("actors/store/__init__.py", ""),
        ("actors/store/planted.py", PLANTED),
        ("tests/unit/store/test_planted.py", TESTS),
        ("setup.cfg", "[tool:pytest]\naddopts = --import-mode=importlib\n"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copytree(ROOT / "tests" / "mutants", root / "tests" / "mutants")
    subprocess.run(["git", "init", "--quiet"], cwd=root, check=True)
    before = sorted(path for path in root.rglob("*") if ".git" not in path.parts)
    found: dict[str, Fate] = {}
    with jobs(root, 1, all_of(root)) as all_jobs:
        reached = measure(all_jobs, all_of(root))
        try_all(all_jobs, all_of(root), reached, lambda fate: found.update({fate.mutation.id: fate}))
    assert sorted(path for path in root.rglob("*") if ".git" not in path.parts) == before
    assert (root / "actors/store/planted.py").read_text() == PLANTED
    return found, reached.left_out


def all_of(root: Path) -> list[Mutation]:
    file = "actors/store/planted.py"
    tree = population._tree(root / file)
    return [
        Mutation(place.id, file, place.line, name, "", "")
        for name, function in places.functions(tree)
        for place in places.places("store.planted", name, function)
        if ":number:2" not in place.id and ":returned:" not in place.id
    ]


def fate_of(fates, name: str) -> Fate:
    return fates[0][f"store.planted:{name}"]


def test_a_mutation_is_killed_by_the_test_that_notices_it(fates):
    assert fate_of(fates, "Few.wide:compared:1").by.endswith("::test_wide")


def test_a_mutation_that_no_test_notices_survives_the_tests_that_reach_it(fates):
    fate = fate_of(fates, "Few.narrow:compared:1")
    assert (fate.by, fate.tests) == ("", 1)


def test_a_mutation_that_no_test_reaches_survives(fates):
    fate = fate_of(fates, "unheard:arithmetic:1")
    assert (fate.by, fate.tests) == ("", 0)


def test_an_endless_loop_is_killed_by_its_cpu_time(fates):
    assert fate_of(fates, "count:deleted:1").by.endswith("::test_count (endless)")


def test_a_mutation_of_what_runs_at_the_import_is_imported(fates):
    assert fate_of(fates, "early:number:1").by.endswith("::test_early")


def test_a_mutation_reaches_the_processes_that_a_test_starts(fates):
    assert fate_of(fates, "apart:number:1").by.endswith("::test_in_a_process_of_its_own")


def test_a_test_that_fails_without_a_mutation_kills_none(fates):
    assert [one.partition("::")[2] for one in fates[1]] == [
        "test_that_ends_its_process (died)",
        "test_that_fails_by_itself",
    ]


def fate(identity: str, by: str = "") -> Fate:
    return Fate(Mutation(identity, "actors/core/a.py", 1, "f", "a", "b"), by, 3)


def test_a_survivor_has_to_be_listed():
    assert problems([fate("a"), fate("b", "a test")], {"a"}, {"a", "b"}, complete=True) == []
    assert problems([fate("a"), fate("b")], {"a"}, {"a", "b"}, complete=False) == [
        "b survives and is not listed in survivors.md"
    ]


def test_what_is_listed_has_to_survive_and_to_exist():
    assert problems([fate("a", "a test")], {"a"}, {"a"}, complete=False) == []
    assert problems([fate("a", "a test")], {"a"}, {"a"}, complete=True) == [
        "a is listed in survivors.md, and is killed"
    ]
    assert problems([], {"a"}, set(), complete=False) == ["a is listed in survivors.md, and is no mutation"]


def test_the_last_line_has_the_score():
    some = [fate("a"), fate("b"), *(fate(f"c{at}", "a test") for at in range(58))]
    assert summary(some, {"a"}) == "58 of 60 killed (96.7 %), 2 survive: 1 listed, 1 new"
