"""The bars of `status --watch`: what is known is as high as it was, and what is not known is a gap."""

import pytest

from actors.cli.rates import BARS, STEP_S, Rates, bars

NOW_S = 1_000_000.0  # a whole number of steps


def test_bars_are_as_high_as_their_part_of_the_greatest():
    assert bars([0, 1, 4, 8]) == BARS[0] + BARS[1] + BARS[4] + BARS[7]
    assert bars([0.001, 1000]) == BARS[1] + BARS[7], "a little is more than nothing"
    assert bars([0, 0]) == BARS[0] * 2
    assert bars([None, 5, None]) == f" {BARS[7]} "
    assert bars([]) == ""


@pytest.fixture
def rates():
    """Three steps: ten plays a second, then none, then twenty; a publish in each step."""
    rates = Rates()
    for number, plays in enumerate((0, 50, 50, 150)):
        rates.note(NOW_S + number * STEP_S, plays, number)
    return rates


def test_each_step_is_a_bar_and_the_time_before_is_a_gap(rates):
    shown = rates.plays(NOW_S + 3 * STEP_S - 0.001, 5)
    assert shown == "  " + BARS[4] + BARS[0] + BARS[7]
    assert rates.publishes(NOW_S + 3 * STEP_S - 0.001, 3) == BARS[7] * 3


def test_the_present_rate_is_that_of_the_last_seconds(rates):
    assert rates.present(NOW_S + 3 * STEP_S, over_s=STEP_S) == (20.0, 12.0)
    assert rates.present(NOW_S + 60) is None, "the service has not answered for long"


def test_a_service_that_is_away_or_counts_anew_leaves_a_gap():
    rates = Rates()
    rates.note(NOW_S, 1000, 10)
    rates.interrupted()
    rates.note(NOW_S + STEP_S, 1100, 11)
    rates.note(NOW_S + 2 * STEP_S, 0, 0)
    rates.note(NOW_S + 3 * STEP_S, 5, 1)
    assert rates.plays(NOW_S + 3 * STEP_S - 0.001, 3) == "  " + BARS[7]


def test_the_services_own_history_stands_before_what_was_seen(rates):
    history = {
        "span": "hour",
        "step_s": STEP_S,
        "times_s": [NOW_S - 2 * STEP_S, NOW_S - STEP_S, NOW_S],
        "series": {
            "counted_per_s": [40.0, None, 999.0],
            "received_per_s": [1.0, 1.0, 1.0],
            "publishes_per_minute_realtime": [6.0, 1.0, 1.0],
            "publishes_per_minute_deadline": [6.0, 1.0, 1.0],
        },
    }
    rates.told(history)
    assert rates.plays(NOW_S + 3 * STEP_S - 0.001, 5) == BARS[7] + " " + BARS[2] + BARS[0] + BARS[4]
    assert rates.publishes(NOW_S - STEP_S - 0.001, 1) == BARS[7]
    assert rates.present(NOW_S - STEP_S, over_s=STEP_S) == (40.0, 12.0), "of all triggers together"
