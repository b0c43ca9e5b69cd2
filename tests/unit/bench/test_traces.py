"""The traces are as their names say, the same on every machine, and readable from their lines."""

import itertools
import json
from collections import Counter

import pytest

from bench.traces import MS, TRACES, lines, make_trace


@pytest.mark.parametrize("name", TRACES)
def test_a_trace_is_in_the_order_of_receipt_and_counts_each_video_up(name):
    trace = make_trace(name, 3_000)
    assert len(trace) == 3_000
    assert all(before.received <= after.received for before, after in itertools.pairwise(trace))
    assert all(play.arrived <= play.received for play in trace)
    assert all(play.arrived % MS == play.received % MS == 0 for play in trace)
    counted = {play.video: play.total - 1 for play in reversed(trace)}
    for play in trace:
        counted[play.video] += 1
        assert play.total == counted[play.video]


def test_a_seed_makes_the_same_trace_and_another_seed_another():
    assert make_trace("1 h", 500) == make_trace("1 h", 500)
    assert make_trace("1 h", 500) != make_trace("1 h", 500, seed=2)


@pytest.mark.parametrize(("name", "minutes"), [("10 min", 10), ("1 h", 60), ("6 h", 360), ("24 h", 1440)])
def test_a_trace_is_as_long_as_its_name_says(name, minutes):
    trace = make_trace(name, 3_000)
    assert 0.99 * minutes < (trace[-1].received - trace[0].received) / (60_000 * MS) <= minutes


def test_quiet_videos_stay_below_100_and_hot_ones_begin_above():
    assert all(play.total < 100 for play in make_trace("all quiet"))
    assert all(play.total > 100 for play in make_trace("all hot", 3_000))


def test_a_viral_video_has_most_of_the_plays():
    most = Counter(play.video for play in make_trace("viral")).most_common(1)[0][1]
    assert most > 80_000


def test_a_burst_is_200_moments():
    moments = {play.received // (100 * MS) for play in make_trace("bursts", 20_000)}
    assert 150 < len(moments) <= 400


def test_a_backlog_had_arrived_before_the_first_of_it_is_received():
    for name, overdue in (("backlog", False), ("old backlog", True)):
        trace = make_trace(name, 20_000)
        assert max(play.arrived for play in trace) <= trace[0].received
        assert (trace[0].received - trace[0].arrived > 60_000 * MS) is overdue


def test_the_lines_of_a_trace_say_only_what_is_not_plain():
    plain = lines(make_trace("1 h", 500))
    assert all(json.loads(line).keys() == {"video_id", "arrived_at_ns"} for line in plain)
    assert all("total" in json.loads(line) for line in lines(make_trace("all hot", 500)))
    assert all("received_at_ns" in json.loads(line) for line in lines(make_trace("backlog", 500)))
