"""How far two clocks are apart, from answers in whole seconds."""

import math

import pytest

from actors.cli.checks.clock import SAMPLES, Skew, skew_of


def samples(
    ahead_s: float, begin_s: float = 1000.3, takes_s: float = 0.002
) -> list[tuple[float, float, float]]:
    """Answers of a clock that is `ahead_s` ahead: when asked, when answered, its second between the two."""
    asked = [begin_s + 0.09 * number for number in range(SAMPLES)]
    return [(at, at + takes_s, math.floor(at + takes_s / 2 + ahead_s)) for at in asked]


@pytest.mark.parametrize("ahead_s", [0.0, 0.2, -0.2, 0.49, 0.8, -0.8, 3600.0, -86_400.5])
@pytest.mark.parametrize("begin_s", [1000.0, 1000.31, 1000.95])
def test_the_true_difference_is_within_the_bounds_and_they_are_close(ahead_s, begin_s):
    skew = skew_of(samples(ahead_s, begin_s))
    assert skew is not None
    assert skew.low_s - 1e-6 <= ahead_s <= skew.high_s + 1e-6
    assert skew.high_s - skew.low_s < 0.15
    assert skew.is_large == (abs(ahead_s) > 0.6)


def test_slow_answers_are_never_taken_for_a_wrong_clock():
    skew = skew_of(samples(0.3, takes_s=1.5))
    assert skew is not None and not skew.is_large


def test_without_an_answer_or_if_a_clock_is_set_meanwhile_nothing_is_known():
    assert skew_of([]) is None
    assert skew_of([(0.0, 0.1, 0), (1.0, 1.1, 50)]) is None


def test_a_difference_is_told_in_words():
    assert str(Skew(1.4, 1.6)) == "1.50 s ahead of ours, to within 0.10 s"
    assert str(Skew(-1.6, -1.4)) == "1.50 s behind ours, to within 0.10 s"
    assert str(Skew(-0.04, 0.06)) == "as ours, to within 0.06 s"
