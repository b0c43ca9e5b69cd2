"""The largest age of the last minute, compared with a plain maximum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.ages import SECONDS, OldestOfAMinute
from actors.core.consumer.frames import ALIKE_MIN, BadMessage, Parsed


@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(-5, 5)), max_size=60))
def test_the_oldest_is_that_of_the_last_minute_in_whole_seconds(added):
    oldest, now_ms, all_of_them = OldestOfAMinute(), 12_345, []
    for gap_ms, age_ms in added:
        now_ms += gap_ms
        oldest.add(age_ms, now_ms)
        all_of_them.append((now_ms // 1000, max(0, age_ms)))
        recent = [age for second, age in all_of_them if second > now_ms // 1000 - SECONDS]
        assert oldest.at(now_ms) == max(recent)


def test_after_a_minute_without_a_play_nothing_is_old():
    oldest = OldestOfAMinute()
    oldest.add(5000, 1000)
    assert [oldest.at(at_ms) for at_ms in (1000, 60_999, 61_000)] == [5000, 5000, 0]


def test_it_holds_one_age_a_second():
    oldest = OldestOfAMinute()
    for now_ms in range(1_000_000):
        oldest.add(1_000_000 - now_ms, now_ms)
    assert len(oldest._ages) == SECONDS


@pytest.mark.parametrize("plays", [1, ALIKE_MIN - 1, ALIKE_MIN, 5000])
def test_the_oldest_play_of_a_read_may_be_any_of_it(plays):
    for place in {0, plays // 2, plays - 1}:
        stamps_ns = np.full(plays, 9_000_000_000, np.int64)
        stamps_ns[place] = 2_000_000_000
        parsed = Parsed()
        parsed.plays.arrived_ns.frombytes(stamps_ns.tobytes())
        assert parsed.oldest_age_ms(9_500_000_000) == 7500


def test_a_read_without_a_play_has_no_old_one():
    assert Parsed().oldest_age_ms(1) == 0


def test_the_age_of_a_read_is_that_of_its_last_play():
    parsed = Parsed()
    parsed.plays.arrived_ns.extend([2_000_000, 5_000_000, 8_500_000])
    assert parsed.newest_age_ms(9_000_000) == 0.5


def test_the_age_of_a_read_without_plays_is_that_of_its_last_message():
    bad = [BadMessage(b"", arrived_ns, b"", "not JSON") for arrived_ns in (1_000_000, 7_000_000)]
    assert Parsed(bad=bad).newest_age_ms(9_000_000) == 2.0
