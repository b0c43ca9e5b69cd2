"""The names of the consumers, and their shares of what may be in flight."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumers import consumers_of, is_consumer, share_of


def test_a_lone_consumer_has_no_number_and_several_have():
    assert consumers_of(1) == ["consumer"]
    assert consumers_of(3) == ["consumer-0", "consumer-1", "consumer-2"]


@pytest.mark.parametrize("number", [1, 2, 16])
def test_a_consumer_is_known_by_its_name(number):
    assert all(map(is_consumer, consumers_of(number)))
    assert not any(map(is_consumer, ["counter-0", "counters", "dispatcher", "client", "nsqd", "consumers"]))


@given(st.integers(1, 16), st.integers(0, 10_000))
def test_the_shares_are_all_that_may_be_in_flight_and_each_has_one(number, more):
    shares = [share_of(one, number, number + more) for one in consumers_of(number)]
    assert sum(shares) == number + more
    assert max(shares) - 1 <= min(shares) >= 1
