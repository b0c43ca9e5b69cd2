"""Quantiles of durations: within one percent, in bounded memory."""

import math

from hypothesis import given
from hypothesis import strategies as st

from actors.core.client.statistics import Durations

durations = st.one_of(st.integers(1_000, 10**6), st.integers(1_000, 2**63 - 1))


@given(st.lists(durations, min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_a_quantile_is_within_one_percent_of_the_nearest_rank(values, share):
    measured = Durations()
    for value in values:
        measured.add(value)
    exact_ms = sorted(values)[math.ceil(share * len(values)) - 1] / 1e6
    # One percent, and half of the last digit that is reported.
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
