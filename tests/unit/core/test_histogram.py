"""A histogram counts each value once, in the first bucket that holds it, and goes on where another ended."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core import histogram
from actors.core.histogram import Histogram, HistogramStats, shape

BOUNDS = (0.0, 1.0, 2.5)
VALUES = st.lists(st.floats(-10, 10, allow_nan=False), max_size=30)


@pytest.mark.parametrize(
    ("value", "place"), [(-3.0, 0), (0.0, 0), (0.1, 1), (1.0, 1), (1.001, 2), (2.5, 2), (2.6, 3), (1e9, 3)]
)
def test_a_value_is_counted_where_it_is_at_most_the_bound(value, place):
    one = Histogram(BOUNDS)
    one.observe(value)
    assert one.stats().counts == [int(number == place) for number in range(4)]
    assert one.stats().sum == max(0.0, value)


@given(VALUES)
def test_every_value_is_in_one_bucket_and_the_shape_tells_how_many_are_within_each_bound(values):
    one = Histogram(BOUNDS)
    for value in values:
        one.observe(value)
    found = shape(BOUNDS, one.stats())
    assert found["le"] == list(BOUNDS) and len(found["counts"]) == len(BOUNDS) + 1
    for number, bound in enumerate(BOUNDS):
        assert sum(found["counts"][: number + 1]) == sum(value <= bound for value in values)
    assert sum(found["counts"]) == found["count"] == len(values)
    assert found["sum"] == pytest.approx(sum(max(0.0, value) for value in values), abs=1e-6)


@given(VALUES, VALUES)
def test_one_that_goes_on_from_another_has_the_values_of_both_and_so_has_their_sum(first, then):
    one, two = Histogram(BOUNDS), Histogram(BOUNDS)
    for value in first:
        one.observe(value)
    both = Histogram(BOUNDS, one.stats())
    for value in then:
        both.observe(value)
        two.observe(value)
    together = one.stats().plus(two.stats())
    assert both.stats().counts == together.counts
    assert both.stats().sum == pytest.approx(together.sum)


def test_figures_with_other_bounds_are_dropped():
    assert Histogram(BOUNDS, HistogramStats([1, 2], 9.0)).stats() == HistogramStats([0, 0, 0, 0], 0.0)


def test_what_was_told_does_not_change_any_more():
    one = Histogram(BOUNDS)
    told = one.stats()
    one.observe(1.0)
    assert told.count == 0


def test_nothing_has_the_shape_of_a_histogram_too():
    assert shape(BOUNDS, HistogramStats()) == {
        "le": [0.0, 1.0, 2.5],
        "counts": [0] * 4,
        "sum": 0.0,
        "count": 0,
    }
    assert HistogramStats().plus(HistogramStats([1, 2, 3, 4], 5.0)) == HistogramStats([1, 2, 3, 4], 5.0)


@pytest.mark.parametrize("name", [name for name in vars(histogram) if name.isupper()])
def test_bounds_are_sorted_and_each_is_there_once(name):
    bounds = getattr(histogram, name)
    assert list(bounds) == sorted(set(bounds))
