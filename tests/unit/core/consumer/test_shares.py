"""Shares of max_in_flight follow the load, fill it, and never exceed it."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.shares import Loads, shares_by_load

loads_of = st.lists(st.floats(0, 1e7), min_size=1, max_size=40)


@given(loads_of, st.integers(0, 5000), st.lists(st.integers(1, 5000), min_size=40, max_size=40))
def test_each_gets_one_at_least_its_limit_or_half_at_most_and_together_they_get_what_there_is(
    loads, more, limits
):
    max_in_flight = len(loads) + more
    of_each = dict(zip(range(len(loads)), limits, strict=False))
    shares = shares_by_load(max_in_flight, dict(enumerate(loads)), of_each)
    assert set(shares) == set(of_each)
    assert all(1 <= shares[one] <= of_each[one] for one in shares)
    assert sum(shares.values()) <= max_in_flight
    half = max_in_flight if len(loads) == 1 else max_in_flight // 2
    assert max(shares.values()) <= half
    if max(shares.values()) < half and sum(of_each.values()) >= max_in_flight:
        assert sum(shares.values()) > max_in_flight - len(loads), "only parts of one are left"
    elif max(shares.values()) < half:
        assert shares == of_each


@given(st.integers(1, 30), st.integers(0, 5000), st.integers(1, 1_000_000))
def test_ten_times_the_load_of_every_other_gets_at_least_five_times_their_shares(others, more, load):
    max_in_flight = 10 + others + more
    loads = {0: 10 * load} | dict.fromkeys(range(1, others + 1), load)
    shares = shares_by_load(max_in_flight, loads, dict.fromkeys(loads, 10_000))
    assert all(shares[0] >= 5 * shares[one] for one in range(1, others + 1))


def test_without_any_load_all_get_the_same():
    assert shares_by_load(100, {1: 0, 2: 0, 3: 0}, dict.fromkeys((1, 2, 3), 2500)) == {1: 33, 2: 33, 3: 33}


def test_what_one_may_not_have_goes_to_the_others():
    assert shares_by_load(1000, {1: 9, 2: 1, 3: 1}, {1: 100, 2: 2500, 3: 2500}) == {1: 100, 2: 450, 3: 450}


@given(st.floats(0, 1e7), st.integers(1, 100_000))
def test_one_nsqd_alone_gets_all(load, max_in_flight):
    assert shares_by_load(max_in_flight, {1: load}, {1: 1_000_000}) == {1: max_in_flight}


def test_no_nsqd_of_several_gets_more_than_half():
    assert shares_by_load(1000, {1: 100}, {1: 2500}) == {1: 1000}
    assert shares_by_load(1000, {1: 100, 2: 0}, {1: 2500, 2: 2500})[1] == 500


def test_what_came_counts_for_about_a_second():
    loads = Loads()
    loads.connected(1)
    for _ in range(20):
        loads.received(1, 500)  # in half a second
        loads.half_a_second_later()
    assert round(loads.of_all([])[1]) == 500
    for _ in range(20):
        loads.half_a_second_later()
    assert loads.of_all([])[1] < 1


def test_an_nsqd_that_uses_all_of_its_share_counts_as_the_busiest_one_once_anything_came_from_it():
    loads = Loads()
    for connection in (1, 2, 3):
        loads.connected(connection)
    loads.received(1, 800)
    loads.received(2, 1)
    assert loads.of_all([2, 3]) == {1: 800, 2: 800, 3: 0}
