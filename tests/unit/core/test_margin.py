"""How long before its deadline a video leaves: as the measured publishes ask for, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.margin import BATCHES_MAX, ROUND_MS, SLACK_MS_MIN, Margin

times_ms = st.lists(st.floats(0, 100_000), max_size=30)


def measured(*times, deadline_ms=60_000):
    margin = Margin(deadline_ms)
    for took_ms in times:
        margin.measure(took_ms)
    return margin


def test_before_any_publish_a_guess_stands_in():
    assert 200 < Margin(60_000).milliseconds(1) < 1500


def test_steady_publishes_leave_little_more_than_their_time_and_the_slack():
    assert 600 + 40 <= measured(*[40] * 100).milliseconds(1) <= 600 + 40 + 2 * ROUND_MS


def test_it_follows_slower_publishes_within_a_few_and_faster_ones_after_more():
    margin = measured(*[10] * 50)
    before_ms = margin.milliseconds(1)
    for _ in range(4):
        margin.measure(2000)
    assert margin.milliseconds(1) > before_ms + 2000
    for _ in range(100):
        margin.measure(10)
    assert margin.milliseconds(1) <= before_ms + 2 * ROUND_MS


def test_publishes_that_vary_leave_earlier_than_steady_ones_of_the_same_mean():
    assert measured(*[10, 190] * 50).milliseconds(1) > measured(*[100] * 100).milliseconds(1) + 100


def test_each_further_batch_that_waits_adds_its_publish_time():
    margin = measured(*[100] * 100)
    assert margin.milliseconds(5) - margin.milliseconds(1) in range(400 - ROUND_MS, 420 + ROUND_MS)
    assert margin.milliseconds(10**9) == margin.milliseconds(BATCHES_MAX)


def test_no_batch_waiting_counts_as_one():
    margin = measured(100)
    assert margin.milliseconds(0) == margin.milliseconds(1)


@given(st.integers(100, 86_400_000), times_ms, st.integers(0, 10_000))
def test_it_is_never_more_than_half_the_deadline_nor_less_than_a_slack(deadline_ms, times, batches):
    margin_ms = measured(*times, deadline_ms=deadline_ms).milliseconds(batches)
    assert min(SLACK_MS_MIN, deadline_ms // 2) <= margin_ms <= deadline_ms // 2
    assert margin_ms % ROUND_MS == 0 or margin_ms == deadline_ms // 2


@given(times_ms, st.integers(1, 60))
def test_more_batches_never_leave_later(times, batches):
    margin = measured(*times)
    assert margin.milliseconds(batches) <= margin.milliseconds(batches + 1)
