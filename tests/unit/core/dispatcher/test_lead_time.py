"""How long before its deadline a video leaves: by the measured publish times, within bounds."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.dispatcher.lead_time import BATCHES_MAX, SLACK_MS_MIN, LeadTime

SLACK_MS = 600  # a hundredth of a minute
times_ms = st.lists(st.floats(0, 100_000), max_size=30)


def measured(*times, deadline_ms=60_000, interval_ms=0):
    lead_time = LeadTime(deadline_ms, interval_ms=interval_ms)
    for took_ms in times:
        lead_time.measure(took_ms)
    return lead_time


def test_before_any_publish_a_guess_stands_in_that_is_too_long_for_most_clients():
    assert LeadTime(60_000).lead_ms() == SLACK_MS + 6000
    assert LeadTime(1000).lead_ms() == SLACK_MS_MIN + 200


def test_the_guess_has_time_for_five_publishes_of_two_seconds_in_half_a_minute():
    assert LeadTime(30_000).lead_ms(4) >= 5 * 2000


def test_with_a_pace_from_before_nothing_is_guessed_and_it_goes_on_from_there():
    before = measured(40, 90, 60)
    after = LeadTime(60_000, publish_time=before.publish_time)
    assert after.lead_ms(4) == before.lead_ms(4)
    before.measure(2000)
    after.measure(2000)
    assert after.publish_time == before.publish_time


def test_steady_publishes_leave_little_more_than_their_time_and_the_slack():
    assert SLACK_MS + 40 <= measured(*[40] * 100).lead_ms() <= SLACK_MS + 45


def test_after_one_publish_half_as_long_again_is_allowed_for():
    assert measured(2000).lead_ms() == SLACK_MS + 3000


def test_it_follows_slower_publishes_within_a_few_and_faster_ones_after_more():
    lead_time = measured(*[10] * 50)
    before_ms = lead_time.lead_ms()
    for _ in range(4):
        lead_time.measure(2000)
    assert lead_time.lead_ms() > before_ms + 2000
    for _ in range(100):
        lead_time.measure(10)
    assert lead_time.lead_ms() <= before_ms + 20


def test_publishes_that_vary_leave_earlier_than_steady_ones_of_the_same_mean():
    assert measured(*[10, 190] * 50).lead_ms() > measured(*[100] * 100).lead_ms() + 100


def test_each_batch_before_it_adds_its_publish_time():
    lead_time = measured(*[100] * 100)
    assert lead_time.lead_ms(4) - lead_time.lead_ms() in range(400, 421)


def test_where_the_client_has_a_rate_limit_each_batch_before_it_adds_that_interval():
    assert measured(*[100] * 100, interval_ms=500).lead_ms(4) == measured(*[100] * 100).lead_ms() + 2000
    assert measured(*[900] * 100, interval_ms=500).lead_ms(4) >= SLACK_MS + 5 * 900
    assert measured(*[100] * 100, interval_ms=10_000).lead_ms(4) == SLACK_MS + 100 + 40_000


@given(st.integers(100, 86_400_000), times_ms, st.integers(0, 10_000), st.sampled_from((0, 700)))
def test_it_is_at_most_half_the_deadline_or_all_with_a_rate_and_at_least_a_slack(
    deadline_ms, times, before, interval
):
    margin_ms = measured(*times, deadline_ms=deadline_ms, interval_ms=interval).lead_ms(before)
    most_ms = deadline_ms if interval else deadline_ms // 2
    assert min(SLACK_MS_MIN, deadline_ms // 2) <= margin_ms <= most_ms


@given(times_ms, st.integers(0, 60))
def test_more_batches_never_leave_later(times, before):
    lead_time = measured(*times)
    assert lead_time.lead_ms(before) <= lead_time.lead_ms(before + 1)


@given(times_ms, st.integers(0, 29_999), st.sampled_from((0.0, 700.0)))
def test_so_many_batches_are_answered_by_then_and_not_one_more(times, within_ms, interval_ms):
    lead_time = measured(*times, interval_ms=interval_ms)
    batches = lead_time.batches(within_ms)
    assert batches == 0 or lead_time.lead_ms(batches - 1) <= within_ms
    assert batches == BATCHES_MAX or lead_time.lead_ms(batches) > within_ms


def test_there_is_time_for_any_number_by_half_a_deadline_for_nothing_helps_beyond():
    assert measured(2000).batches(30_000) == BATCHES_MAX


def test_of_many_that_vary_the_slow_and_the_quick_even_out():
    lead_time = measured(*[10, 190] * 50)
    alone_ms = lead_time.lead_ms() - SLACK_MS - 100
    together_ms = lead_time.lead_ms(8) - SLACK_MS - 900
    assert 2 * alone_ms < together_ms < 4 * alone_ms
