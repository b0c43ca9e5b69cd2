"""The bound on publishes is never above the exact minimum, and near it."""

import os
from functools import cache
from importlib.util import find_spec
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.client.bound import Demand, Mode, Play, demands, publishes_min, timer_publishes
from bench.exact import all_hot, exact_minimum
from bench.publishes import replay, rule_publishes
from bench.traces import MS, make_trace

needs_scipy = pytest.mark.skipif(
    find_spec("scipy") is None and not os.environ.get("CI"),
    reason="the exact minimum needs scipy: pip install scipy",
)

SEEDS = 36


def instance(seed):
    """A small trace and its mode. A publish has only two to four places, so that places are scarce."""
    random = Random(seed)
    videos, plays = random.randint(3, 9), random.randint(15, 40)
    mode = Mode(
        deadline=random.randint(8, 20),
        realtime_linger=random.randint(0, 3),
        overdue_linger=2,
        realtime_below=random.choice([1, 2, 4]),
        batch_size_max=random.randint(2, 4),
        every_play=seed % 5 == 4,
    )
    return plays_at(sorted(random.randint(0, 60) for _ in range(plays)), random, videos), mode


def plays_at(received, random, videos, waited_max=0):
    totals = dict.fromkeys(range(videos), 0)
    found = []
    for time in received:
        video = random.randrange(videos)
        totals[video] += 1
        found.append(Play(video, time - random.randint(0, waited_max), time, totals[video]))
    return found


@cache
def bound_and_minimum(seed):
    plays, mode = instance(seed)
    wanted = demands(plays, mode)
    return publishes_min(wanted, mode.batch_size_max), exact_minimum(wanted, mode.batch_size_max)


@needs_scipy
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_bound_is_never_above_the_exact_minimum_and_near_it(seed):
    bound, minimum = bound_and_minimum(seed)
    assert bound <= minimum
    assert minimum - bound <= max(1, minimum // 10)


@needs_scipy
def test_over_many_instances_the_bound_is_mostly_the_minimum():
    found, binding = [], 0
    for seed in range(SEEDS):
        bound, minimum = bound_and_minimum(seed)
        found.append((bound, minimum))
        binding += publishes_min(demands(*instance(seed)), 1000) < bound
    assert binding >= 12, "the size of publishes matters in too few instances, so this test shows nothing"
    assert sum(bound == minimum for bound, minimum in found) >= 0.75 * SEEDS, found
    assert sum(bound for bound, _ in found) >= 0.97 * sum(minimum for _, minimum in found), found


moments = st.integers(0, 12)


@needs_scipy
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), moments, st.integers(0, 6), st.booleans()), min_size=1, max_size=12
    ),
    st.integers(1, 3),
)
def test_for_any_demands_the_bound_is_not_above_the_minimum(rows, batch_size_max):
    wanted = [Demand(video, first, first + length, alone) for video, first, length, alone in rows]
    wanted.sort(key=lambda one: one.last)
    assert publishes_min(wanted, batch_size_max) <= exact_minimum(wanted, batch_size_max)


@needs_scipy
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5))
def test_what_another_demand_implies_is_left_out_and_changes_nothing(seed, waited_max):
    random = Random(seed)
    plays = plays_at(sorted(random.randint(0, 20) for _ in range(12)), random, 3, waited_max)
    mode = Mode(deadline=4, overdue_linger=3, realtime_below=2, batch_size_max=2)
    every = [one for play in plays for one in demands([play], mode)]
    kept = demands(plays, mode)
    assert set(kept) <= set(every)
    assert exact_minimum(kept, 2) == exact_minimum(every, 2)


def test_nothing_demands_nothing():
    assert demands([], Mode(deadline=60)) == []
    assert publishes_min([], 20) == 0


def test_twenty_one_videos_at_once_are_two_publishes():
    wanted = [Demand(video, 0, 0) for video in range(21)]
    assert publishes_min(wanted, 20) == 2
    assert publishes_min(wanted, 21) == 1


def test_plays_that_go_alone_need_a_publish_each():
    plays = [Play("a", 0, 0, total) for total in range(1, 6)]
    mode = Mode(deadline=60, realtime_linger=1, every_play=True, batch_size_max=1)
    assert publishes_min(demands(plays, mode), 1) == 5
    coalesced = Mode(deadline=60, realtime_linger=1)
    assert publishes_min(demands(plays, coalesced), 1) == 1


def test_an_overdue_play_is_granted_its_linger():
    plays = [Play("a", 0, 100, 200)]
    mode = Mode(deadline=60, overdue_linger=7)
    assert demands(plays, mode) == [Demand("a", 100, 107)]


def test_with_its_steps_used_up_the_bound_is_lower_and_still_one():
    plays = make_trace("bursts", 5_000)
    wanted = demands(plays, Mode(deadline=60_000 * MS, realtime_linger=100 * MS))
    whole, hasty = publishes_min(wanted, 20), publishes_min(wanted, 20, steps_max=1)
    assert 0 < hasty < whole


@pytest.mark.parametrize("trace", ["10 min", "bursts", "backlog", "10,000 videos"])
@pytest.mark.parametrize("every_play", [False, True])
def test_the_schedule_is_never_below_the_bound_and_leaves_nothing_out(trace, every_play):
    plays = make_trace(trace, 1_600)
    mode = Mode(
        deadline=60_000 * MS, realtime_linger=100 * MS, overdue_linger=1000 * MS, every_play=every_play
    )
    sent = replay(plays, mode)
    totals = {play.video: play.total for play in plays}
    published = {entry.video.hex(): entry.plays for one in sent for entry in one.batch.entries}
    assert published == {str(video).replace("-", ""): total for video, total in totals.items()}
    bound = publishes_min(demands(plays, mode), 20)
    assert bound <= len(sent)
    if not every_play:
        assert len(sent) <= 1.1 * bound


@needs_scipy
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_where_all_is_hot_the_bound_is_the_minimum_and_only_the_schedule_is_apart(seed):
    plays = all_hot(videos=10, seconds=100, seed=seed)
    mode = Mode(deadline=60_000 * MS, batch_size_max=2)
    wanted = demands(plays, mode)
    minimum = exact_minimum(wanted, 2)
    assert publishes_min(wanted, 2) == minimum
    assert minimum <= rule_publishes(plays, mode) <= minimum + 2


@pytest.mark.parametrize("trace", ["10 min", "bursts", "old backlog"])
def test_the_rule_alone_makes_no_more_than_with_a_margin_and_no_fewer_than_the_bound(trace):
    plays = make_trace(trace, 2_000)
    mode = Mode(deadline=60_000 * MS, realtime_linger=10 * MS, overdue_linger=1000 * MS)
    bound = publishes_min(demands(plays, mode), 20)
    assert bound <= rule_publishes(plays, mode) <= len(replay(plays, mode)) + 1


def test_with_a_client_that_takes_time_the_plays_wait_for_one_another():
    plays = make_trace("10 min", 1_000)
    mode = Mode(deadline=60_000 * MS)
    quick, slow = replay(plays, mode), replay(plays, mode, client_ms=50)
    assert len(slow) < len(quick)
    longer = Mode(deadline=60_000 * MS, realtime_linger=50 * MS)
    assert publishes_min(demands(plays, longer), 20) <= len(slow)


def test_a_plain_timer_is_counted_by_windows_in_twenties():
    second = 1_000_000_000
    plays = [Play(video, at * second, at * second, 1) for at, video in [(0, 1), (1, 1), (2, 2), (61, 1)]]
    mode = Mode(deadline=60 * second, batch_size_max=1)
    assert timer_publishes(plays, mode) == 3
