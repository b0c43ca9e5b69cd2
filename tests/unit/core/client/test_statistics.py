"""Quantiles of durations: within one percent, in bounded memory."""

import math

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from actors.core.client.promises import Promise
from actors.core.client.statistics import Durations, Statistics
from actors.core.triggers import Trigger

durations = st.one_of(st.integers(1_000, 10**6), st.integers(1_000, 2**63 - 1))


@given(st.lists(durations, min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values, share):
    measured = Durations()
    for value in values:
        measured.add(value)
    exact_ms = sorted(values)[math.ceil(share * len(values)) - 1] / 1e6
    # One percent, plus half a unit of the last digit that is reported.
    assert abs(measured.quantile_ms(share) - exact_ms) <= 0.01 * exact_ms + 0.0005
    assert measured.max_ms() == round(max(values) / 1e6, 3)


def test_the_memory_of_quantiles_is_bounded_whatever_is_measured():
    measured = Durations()
    for exponent in range(631):
        measured.add(int(2 ** (exponent / 10)))
    assert max(measured.buckets) == 1856
    assert min(measured.buckets) == 0
    measured.add(-5)
    assert measured.quantile_ms(0) == 0.001


def test_statistics_that_lack_a_trigger_and_a_promise_of_today_count_them_from_zero():
    stored = msgspec.msgpack.encode({"publishes": {"deadline": 3}, "broken": {"deadline": 1}})
    statistics = msgspec.msgpack.decode(stored, type=Statistics)
    assert statistics.publishes == dict.fromkeys(Trigger, 0) | {Trigger.DEADLINE: 3}
    assert statistics.broken == dict.fromkeys(Promise, 0) | {Promise.DEADLINE: 1}
