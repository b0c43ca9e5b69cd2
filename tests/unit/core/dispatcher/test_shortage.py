"""Too few publishes for the deadlines: noticed before the first is missed, and by how much."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.dispatcher.calendar import BLOCK_BITS
from actors.core.dispatcher.lead_time import LeadTime
from actors.core.dispatcher.rule import Rule
from actors.core.dispatcher.schedule import Schedule

NOW_MS = 1_000_000
DEADLINE_MS = 60_000
BATCH = 20
HOT = 100  # plays, from which a video waits for its deadline


def measured(took_ms, in_flight_max=1, rate_max_per_s=0.0):
    interval_ms = 1000 / rate_max_per_s if rate_max_per_s else 0.0
    lead_time = LeadTime(DEADLINE_MS, interval_ms=interval_ms, in_flight_max=in_flight_max)
    for _ in range(100 if took_ms else 0):
        lead_time.measure(took_ms)
    return lead_time


def schedule_of(lead_time, arrivals_ms, now_ms=NOW_MS):
    schedule = Schedule(Rule(HOT, DEADLINE_MS), BATCH, lead_time)
    for number, arrived_ms in enumerate(arrivals_ms):
        schedule.offer(number.to_bytes(16, "big"), arrived_ms, HOT, min(arrived_ms, now_ms))
    return schedule


def test_a_rate_limit_below_what_the_deadlines_need_is_a_shortage_that_says_by_how_much():
    found = schedule_of(measured(50, rate_max_per_s=10), [NOW_MS] * 20_000).shortage(NOW_MS)
    assert found.needed_per_s == pytest.approx(1000 / 60, rel=0.01)
    assert (found.possible_per_s, found.by_rate_limit) == (10, True)


def test_a_client_that_is_too_slow_is_a_shortage_and_enough_publishes_at_once_are_none():
    hot = [NOW_MS] * 20_000
    found = schedule_of(measured(106), hot).shortage(NOW_MS)
    assert found.needed_per_s == pytest.approx(1000 / 60, rel=0.01)
    assert found.possible_per_s == pytest.approx(1000 / 106)
    assert (found.publish_ms, found.by_rate_limit) == (pytest.approx(106), False)
    assert schedule_of(measured(106, in_flight_max=8), hot).shortage(NOW_MS) is None


def test_where_nothing_was_measured_and_nothing_is_limited_there_is_no_shortage():
    assert schedule_of(measured(0), [NOW_MS] * 100_000).shortage(NOW_MS) is None


def test_where_the_limit_is_not_measured_yet_it_counts_all_the_same():
    assert schedule_of(measured(0, rate_max_per_s=1), [NOW_MS] * 20_000).shortage(NOW_MS) is not None


def test_one_batch_that_leaves_in_time_is_no_shortage_however_low_the_limit():
    assert schedule_of(measured(50, rate_max_per_s=0.1), [NOW_MS] * BATCH).shortage(NOW_MS) is None


@pytest.mark.parametrize(("in_flight_max", "is_short"), [(1, True), (8, False)])
def test_it_is_noticed_before_the_first_deadline_is_missed(in_flight_max, is_short):
    chance = Random(1)
    arrivals = sorted(NOW_MS + chance.randrange(DEADLINE_MS) for _ in range(20_000))
    lead_time = measured(100, in_flight_max)
    found = []
    for now_ms in range(NOW_MS, NOW_MS + DEADLINE_MS, 5000):
        known = [arrived_ms for arrived_ms in arrivals if arrived_ms <= now_ms]
        found.append(schedule_of(lead_time, known, now_ms).shortage(now_ms) is not None)
    assert any(found) is is_short


def test_a_backlog_after_an_outage_is_no_shortage_if_the_client_takes_what_is_played():
    late = [NOW_MS] * 20_000
    after_ms = NOW_MS + DEADLINE_MS + 30_000
    assert schedule_of(measured(50), late).shortage(after_ms) is None
    found = schedule_of(measured(100), late).shortage(after_ms)
    assert found.needed_per_s == pytest.approx(1000 / 60, rel=0.01)
    assert found.possible_per_s == pytest.approx(10)


def test_once_a_deadline_has_passed_all_that_is_pending_counts_over_the_length_of_a_deadline():
    missed, later = [NOW_MS], [NOW_MS + DEADLINE_MS // 2] * 20_000
    found = schedule_of(measured(200), missed + later).shortage(NOW_MS + DEADLINE_MS)
    assert found.needed_per_s == pytest.approx(1000 / 60, rel=0.01)


@given(
    st.lists(st.integers(0, DEADLINE_MS), min_size=1, max_size=200),
    st.sampled_from((20, 400, 3000)),
    st.sampled_from((1, 3)),
    st.sampled_from((0, 0.5, 2)),
)
def test_there_is_a_shortage_exactly_if_batches_without_a_pause_would_miss_a_deadline(
    ages_ms, took_ms, in_flight_max, rate_max_per_s
):
    lead_time = measured(took_ms, in_flight_max, rate_max_per_s)
    arrivals_ms = [NOW_MS - age_ms // 2 for age_ms in ages_ms]  # no deadline is near
    is_short = schedule_of(lead_time, arrivals_ms).shortage(NOW_MS) is not None
    deadlines_ms = [arrived_ms + DEADLINE_MS for arrived_ms in sorted(arrivals_ms)]
    answers_ms = [NOW_MS + lead_time.shortest_ms(i // BATCH) for i in range(len(deadlines_ms))]
    pairs = list(zip(deadlines_ms, answers_ms, strict=True))
    if is_short:
        assert any(answered_ms > deadline_ms for deadline_ms, answered_ms in pairs)
    assert is_short or all(
        answered_ms <= deadline_ms + (1 << BLOCK_BITS) for deadline_ms, answered_ms in pairs
    )
