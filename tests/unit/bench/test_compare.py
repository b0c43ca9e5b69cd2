"""Comparing two checkouts: the rule that calls one slower, the order of turns, and the refusals."""

import pytest

from bench import compare
from bench.checkouts import CannotCompare, Checkout, missing, requirements, used_s
from bench.judgement import SLOWER_ABOVE, judge, turns
from bench.pair import ROUNDS
from tests.support.queues import free_ports


def test_the_quartiles_of_nine_ratios_lie_between_the_second_and_third_from_either_end():
    judged = judge([1.9, 1.2, 1.1, 1.8, 1.5, 1.6, 1.4, 1.7, 1.3])
    assert (judged.lower, judged.median, judged.upper) == pytest.approx((1.25, 1.5, 1.75))


def test_a_single_ratio_is_its_own_quartiles():
    judged = judge([1.25])
    assert (judged.lower, judged.median, judged.upper) == (1.25, 1.25, 1.25)


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.0] * 9, "not slower"),
        ([SLOWER_ABOVE] * 9, "not slower"),  # the limit itself is allowed
        ([1.04] * 9, "slower"),
        ([0.5] + [1.04] * 8, "slower"),  # one fast pair changes nothing
        ([0.99] * 3 + [1.5] * 6, "not slower"),  # a slow median alone is not enough
        ([1.0] * 8 + [9.0], "not slower"),
        ([0.5] * 9, "not slower"),
    ],
)
def test_slower_is_said_only_where_three_quarters_of_the_ratios_are_above_the_limit(ratios, verdict):
    judged = judge(ratios)
    assert judged.verdict == verdict
    assert judged.slower == (verdict == "slower")


def test_who_goes_first_alternates_from_round_to_round_and_from_pair_to_pair():
    assert turns(0, 3) == [("old", "new"), ("new", "old"), ("old", "new")]
    assert turns(1, 3) == [("new", "old"), ("old", "new"), ("new", "old")]


@pytest.mark.parametrize("pair", range(9))
def test_in_the_measured_rounds_of_a_pair_either_side_goes_first_equally_often(pair):
    first = [names[0] for names in turns(pair, 1 + ROUNDS)[1:]]
    assert first.count("old") == first.count("new")


def test_cpu_time_is_that_of_all_processes_also_of_those_that_came_later():
    assert used_s({1: 1.0, 2: 5.0}, {1: 1.5, 2: 5.0, 3: 0.25}) == 0.75


def test_a_process_that_ended_took_its_cpu_time_with_it():
    with pytest.raises(CannotCompare, match="ended while it was measured"):
        used_s({1: 1.0, 2: 5.0}, {1: 1.5})


def test_requirements_that_the_environment_does_not_fulfil_are_named():
    needed = ["", "pytest >=7", "pytest <2", "no-such-package-of-ours", 'no-such-one ; python_version < "3"']
    assert missing(needed) == ["pytest <2", "no-such-package-of-ours"]


def test_a_checkout_that_needs_something_else_is_refused_in_one_line(tmp_path):
    (tmp_path / "setup.cfg").write_text(
        "[options]\ninstall_requires =\n    # why\n    pytest >=7\n    no-such-package-of-ours >=1,<2\n"
    )
    assert [line for line in requirements(tmp_path) if line] == [
        "pytest >=7",
        "no-such-package-of-ours >=1,<2",
    ]
    with pytest.raises(CannotCompare) as refused:
        Checkout(tmp_path, "abc1234 (a change)").check()
    assert str(refused.value) == (
        "abc1234 (a change) needs what this environment lacks: no-such-package-of-ours >=1,<2"
    )


def make_checkout(folder):
    (folder / "actors").mkdir(parents=True)
    (folder / "actors" / "__init__.py").touch()
    (folder / "supervisor.py").touch()
    return Checkout(folder, folder.name)


def test_a_checkout_runs_its_own_modules(tmp_path):
    make_checkout(tmp_path / "one").check()


def test_a_checkout_that_would_run_modules_from_elsewhere_is_refused(tmp_path):
    make_checkout(tmp_path / "other")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "actors").symlink_to(tmp_path / "other" / "actors")
    (tmp_path / "one" / "supervisor.py").touch()
    with pytest.raises(CannotCompare, match=r"would run .*other"):
        Checkout(tmp_path / "one", "one").check()


def test_a_checkout_that_cannot_be_imported_is_refused_with_the_reason(tmp_path):
    checkout = make_checkout(tmp_path / "one")
    (checkout.folder / "supervisor.py").write_text("import no_such_module_of_ours\n")
    with pytest.raises(CannotCompare, match="no_such_module_of_ours"):
        checkout.check()


def test_ports_are_all_different():
    assert len(set(free_ports(50))) == 50


def test_a_commit_that_is_not_there_ends_with_code_2(capsys):
    assert compare.main(["no-such-commit"]) == 2
    assert "no commit 'no-such-commit'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["HEAD", "--pairs", "0"], ["HEAD", "--plays", "1"]])
def test_wrong_arguments_end_with_code_2(words, capsys):
    with pytest.raises(SystemExit) as ended:
        compare.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err
