"""The population is fixed and large; the mutated code draws the sample; all that is listed is in it."""

from pathlib import Path

import pytest

from tests.mutants.population import FOLDERS, digest, files, kept_ids, population, sample
from tests.mutants.report import listed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def everything():
    return population(ROOT)


def test_the_population_is_large_enough_and_every_mutation_has_an_id_of_its_own(everything):
    ids = [one.id for one in everything]
    assert len(ids) >= 400
    assert len(set(ids)) == len(ids)


def test_every_folder_and_nearly_every_file_with_rules_has_mutations(everything):
    found = {one.file for one in everything}
    assert {file.split("/")[1] for file in found} == set(FOLDERS)
    long = [file for file in files(ROOT) if len((ROOT / file).read_text().splitlines()) > 100]
    assert [
        file for file in long if file not in found and "messages" not in file and "stats" not in file
    ] == []


def test_what_the_tests_once_missed_is_in_it(everything):
    assert kept_ids() - {one.id for one in everything} == set()


def test_other_code_has_another_digest_and_a_new_test_does_not_change_it(tmp_path):
    (tmp_path / "actors/core").mkdir(parents=True)
    (tmp_path / "actors/core/one.py").write_text("x = 1\n")
    before = digest(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_one.py").write_text("assert True\n")
    assert digest(tmp_path) == before
    (tmp_path / "actors/core/one.py").write_text("x = 2\n")
    assert digest(tmp_path) != before


def test_the_same_seed_draws_the_same_and_another_one_others(everything):
    assert sample(everything, 60, "a" * 40) == sample(everything, 60, "a" * 40)
    assert sample(everything, 60, "a" * 40) != sample(everything, 60, "b" * 40)
    assert len({one.id for one in sample(everything, 60, "c" * 40)}) == 60


def test_every_listed_survivor_is_a_mutation(everything):
    assert listed() - {one.id for one in everything} == set()
