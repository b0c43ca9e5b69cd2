"""The rule by which a long run says that something grows."""

import random

import pytest

from bench.flatness import PARTS, Sample, trends

SAMPLES, EVERY_S = 360, 10.0


def run(value, unit="MB", samples=SAMPLES):
    """The trend of a figure whose value is a function of the share of the run that is over."""
    taken = [
        Sample(number * EVERY_S, {("counter-0", unit): value(number / samples)}) for number in range(samples)
    ]
    (found,) = trends(taken)
    return found


def test_a_figure_that_grows_by_a_twentieth_grows_in_spite_of_noise():
    chance = random.Random(1)
    found = run(lambda share: 50 + 5 * share + chance.uniform(-1, 1))
    assert found.grows
    assert found.percent_an_hour == pytest.approx(100 * 5 / 52, abs=2)


def test_noise_a_saw_tooth_and_a_moment_of_much_are_flat():
    chance = random.Random(1)
    assert not run(lambda share: 50 + chance.uniform(-2, 2)).grows
    assert not run(lambda share: 50 + 400 * share % 20).grows
    assert not run(lambda share: 500 if 0.97 < share < 0.99 else 50).grows


def test_a_warm_up_of_a_third_is_flat_and_one_of_two_thirds_grows():
    assert not run(lambda share: 50 * min(1, 3 * share)).grows
    assert run(lambda share: 50 * min(1, 1.5 * share)).grows


@pytest.mark.parametrize(("unit", "step"), [("MB", 1.0), ("descriptors", 1.0), ("files", 1.0)])
def test_what_comes_and_goes_is_no_growth_and_more_is(unit, step):
    assert not run(lambda share: 20 + step * (share > 0.5), unit).grows
    assert run(lambda share: 20 + 2 * step * (share > 0.5), unit).grows


def test_a_figure_that_is_there_only_at_the_end_grows_from_0():
    taken = [
        Sample(number, {("log", "MB on disk"): 5.0} if number > PARTS else {}) for number in range(2 * PARTS)
    ]
    (found,) = trends(taken)
    assert (found.first, found.last, found.grows) == (0.0, 5.0, True)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="8 samples, expected 9 or more"):
        run(lambda share: 1.0, samples=PARTS - 1)
