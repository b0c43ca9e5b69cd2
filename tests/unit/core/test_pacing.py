"""RDY: small for a lone message, large for a backlog, never beyond what is allowed."""

from hypothesis import given
from hypothesis import strategies as st

from actors.core.pacing import FALL_AFTER_MS, Pace


def test_it_starts_at_one_so_that_a_lone_message_is_flushed_at_once():
    assert Pace(2500).ready_count == 1


def test_it_doubles_while_it_is_the_limit_up_to_its_share():
    pace = Pace(100)
    asked = []
    for now_ms in range(9):
        asked.append(pace.after_read(pace.ready_count, now_ms))
    assert asked == [2, 4, 8, 16, 32, 64, 100, 100, 100]


def test_it_falls_to_what_was_in_flight_when_for_a_while_it_was_not_the_limit():
    pace = Pace(100, ready_count=64)
    assert pace.after_read(5, FALL_AFTER_MS - 1) == 64
    assert pace.after_read(3, FALL_AFTER_MS) == 5
    assert pace.after_read(1, 2 * FALL_AFTER_MS) == 1


def test_it_falls_to_one_at_the_least():
    assert Pace(100, ready_count=64).after_read(0, FALL_AFTER_MS) == 1


def test_it_does_not_fall_just_after_it_was_the_limit():
    pace = Pace(100, ready_count=8)
    assert pace.after_read(8, 1000) == 16
    assert pace.after_read(1, 1000 + FALL_AFTER_MS - 1) == 16


def test_less_is_asked_for_as_soon_as_less_is_allowed():
    pace = Pace(100, ready_count=64)
    assert pace.limit(10) == 10
    assert pace.limit(0) == 1
    assert pace.limit(50) == 1
    assert pace.after_read(1, 0) == 2


reads = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 200)), max_size=60)


@given(st.integers(1, 2500), reads)
def test_it_is_always_between_one_and_what_is_allowed(ready_count_max, steps):
    pace, now_ms = Pace(ready_count_max), 0
    for in_flight, pause_ms in steps:
        now_ms += pause_ms
        assert 1 <= pace.after_read(in_flight, now_ms) <= ready_count_max


@given(st.integers(1, 2500))
def test_a_backlog_reaches_the_share_within_twelve_reads_and_a_trickle_comes_back(ready_count_max):
    pace = Pace(ready_count_max)
    for now_ms in range(12):
        pace.after_read(pace.ready_count, now_ms)
    assert pace.ready_count == ready_count_max
    for step in range(1, 4):
        pace.after_read(0, 12 + step * FALL_AFTER_MS)
    assert pace.ready_count == 1
