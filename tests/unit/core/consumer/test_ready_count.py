"""RDY is small for a lone message, large for a backlog, and never above its limit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.ready_count import (
    CLOCKS_DIFFER_MS_MAX,
    FALL_AFTER_MS,
    WAITED_MS,
    ReadyCount,
    ReadyCounts,
)

OLD_MS = 60_000.0  # the age of a message that has certainly waited


def test_it_starts_at_one_so_that_a_lone_message_is_flushed_at_once():
    assert ReadyCount(2500).ready_count == 1


def test_it_doubles_while_it_is_the_limit_up_to_its_share():
    rdy = ReadyCount(100)
    asked = [rdy.after_read(rdy.ready_count, now_ms, OLD_MS, OLD_MS) for now_ms in range(9)]
    assert asked == [1, 2, 4, 8, 16, 32, 64, 100, 100]


def test_it_falls_to_what_was_in_flight_when_for_a_while_it_was_not_the_limit():
    rdy = ReadyCount(100, ready_count=64)
    assert rdy.after_read(5, FALL_AFTER_MS - 1, 0.1, 0.1) == 64
    assert rdy.after_read(3, FALL_AFTER_MS, OLD_MS, OLD_MS) == 5
    assert rdy.after_read(1, 2 * FALL_AFTER_MS, OLD_MS, OLD_MS) == 1


def test_it_falls_to_one_at_the_least():
    assert ReadyCount(100, ready_count=64).after_read(0, FALL_AFTER_MS, OLD_MS, OLD_MS) == 1


def test_it_does_not_fall_just_after_it_was_the_limit():
    rdy = ReadyCount(100, ready_count=8, waits=1)
    assert rdy.after_read(8, 1000, OLD_MS, OLD_MS) == 16
    assert rdy.after_read(1, 1000 + FALL_AFTER_MS - 1, 0.1, 0.1) == 16


def test_less_is_asked_for_as_soon_as_less_is_allowed():
    rdy = ReadyCount(100, ready_count=64)
    assert rdy.limit(10) == 10
    assert rdy.limit(0) == 1
    assert rdy.limit(50) == 1
    assert [rdy.after_read(1, 0, OLD_MS, OLD_MS) for _ in range(2)] == [1, 2]


def test_messages_that_did_not_wait_ask_for_no_more():
    rdy = ReadyCount(100)
    assert [rdy.after_read(1, now_ms, 0.2, 0.2) for now_ms in range(0, 5000, 5)] == [1] * 1000


def test_messages_that_waited_for_room_ask_for_more_whatever_the_clocks_differ():
    for difference_ms in (-5000.0, 0.0, CLOCKS_DIFFER_MS_MAX / 2):
        rdy = ReadyCount(100)
        for now_ms in range(0, 100, 5):
            assert rdy.after_read(1, now_ms, *[difference_ms + 0.2] * 2) == 1
        waited_ms = difference_ms + 0.3 + WAITED_MS
        assert [rdy.after_read(1, 100, waited_ms, waited_ms) for _ in range(2)] == [1, 2]


def test_one_message_that_waited_may_be_the_machines_doing():
    rdy = ReadyCount(100)
    for now_ms in range(0, 1000, 10):
        assert rdy.after_read(1, now_ms, 0.2, 0.2) == 1
        assert rdy.after_read(1, now_ms + 5, 5.0, 5.0) == 1


def test_messages_that_lay_in_nsqds_buffer_bring_it_down_at_once():
    rdy = ReadyCount(100, ready_count=4, least_age_ms=0.1, limited_ms=1000)
    assert rdy.after_read(1, 1001, 0.2, 25.2) == 1


def test_a_read_that_filled_up_by_and_by_is_just_right():
    rdy = ReadyCount(100, ready_count=16, least_age_ms=0.1)
    assert [rdy.after_read(16, now_ms, 0.1, 9.0) for now_ms in range(100)] == [16] * 100


def test_a_backlog_of_messages_all_of_one_age_asks_for_more():
    rdy = ReadyCount(100)
    for now_ms in range(9):
        rdy.after_read(rdy.ready_count, now_ms, 10_000.0, 10_000.0)
    assert rdy.ready_count == 100


def test_reads_of_a_backlog_come_in_pieces_and_bring_nothing_down():
    rdy = ReadyCount(1250, ready_count=1250)
    for now_ms in range(0, 2000, 10):
        assert rdy.after_read(1250 if now_ms % 300 == 0 else now_ms % 70, now_ms, OLD_MS, OLD_MS) == 1250
    for step in range(1, 4):
        rdy.after_read(4, 2000 + step * FALL_AFTER_MS, 0.2, 0.2)
    assert rdy.ready_count == 4, "the backlog is over"


def test_pieces_of_a_backlog_that_clocks_that_differ_could_explain_bring_nothing_down():
    rdy = ReadyCount(1250, ready_count=1250, least_age_ms=CLOCKS_DIFFER_MS_MAX)
    for now_ms in range(0, 2000, 20):
        rdy.after_read(1250, now_ms, 1040.0, 1050.0)
        for after_ms, in_flight in ((2, 762), (3, 4), (5, 488), (8, 1)):
            assert rdy.after_read(in_flight, now_ms + after_ms, 1040.0, 1050.0) == 1250


def test_the_pieces_of_a_backlog_are_judged_by_the_largest_of_late_however_many_they_are():
    rdy = ReadyCount(1250, ready_count=1250)
    for now_ms in range(2000):
        in_flight = 600 if now_ms % 100 == 0 else 3
        assert rdy.after_read(in_flight, now_ms, OLD_MS, OLD_MS) == 1250


def test_lone_messages_of_an_nsqd_whose_clock_is_wrong_are_no_backlog():
    rdy = ReadyCount(2500, ready_count=1250)
    rdy.after_read(1250, 0, OLD_MS, OLD_MS)
    for now_ms in range(0, 1000, 20):
        rdy.after_read(1, now_ms, OLD_MS, OLD_MS)
    assert rdy.ready_count < 8


reads = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 200)), max_size=60)


@given(st.integers(1, 2500), reads)
def test_it_is_always_between_one_and_what_is_allowed(ready_count_max, steps):
    rdy, now_ms = ReadyCount(ready_count_max), 0
    for in_flight, pause_ms in steps:
        now_ms += pause_ms
        assert 1 <= rdy.after_read(in_flight, now_ms, OLD_MS, OLD_MS) <= ready_count_max


@given(st.integers(1, 2500))
def test_a_backlog_reaches_the_share_within_thirteen_reads_and_a_trickle_comes_back(ready_count_max):
    rdy = ReadyCount(ready_count_max)
    for now_ms in range(13):
        rdy.after_read(rdy.ready_count, now_ms, OLD_MS, OLD_MS)
    assert rdy.ready_count == ready_count_max
    for step in range(1, 4):
        rdy.after_read(0, 13 + step * FALL_AFTER_MS, 0.2, 0.2)
    assert rdy.ready_count == 1


# All connections


def asked(effects):
    return {effect.connection: effect.ready_count for effect in effects}


class Held(dict):
    """What each connection holds; nothing, where a test does not say."""

    def __missing__(self, connection):
        return 0


def connected(max_in_flight, *connections, limit=2500):
    one = ReadyCounts(max_in_flight)
    for connection in connections:
        one.connected(connection, limit, Held())
    return one


def read(one, connection, outstanding, in_flight, now_ms=0):
    return asked(one.after_read(connection, outstanding, in_flight, now_ms, (OLD_MS, OLD_MS)))


def filled(one, connection):
    """The RDY of a connection after many reads in which it was the limit."""
    for now_ms in range(20):
        read(one, connection, 0, 2500, now_ms)
    return one.asked(connection)


def test_a_new_connection_is_asked_for_one_message():
    assert asked(ReadyCounts(100).connected(1, 2500, Held())) == {1: 1}


def test_the_connections_share_what_may_be_in_flight_and_take_over_what_one_leaves():
    one = connected(100, 1)
    assert filled(one, 1) == 100
    assert asked(one.connected(2, 2500, Held())) == {1: 50, 2: 1}
    assert filled(one, 2) == 1, "the first one may still send what it was asked for"
    assert one.tick(250, Held()) == []
    assert filled(one, 2) == 50
    one.disconnected(1, Held())
    assert filled(one, 2) == 100


def test_no_more_is_asked_for_than_is_free_while_a_connection_holds_more_than_its_share():
    one = connected(100, 1)
    assert filled(one, 1) == 100
    one.connected(2, 2500, Held({1: 100}))
    for held, free in ((100, 1), (90, 10), (60, 40), (50, 50)):
        one.tick(250, Held({1: held}))
        assert filled(one, 2) == free


def loaded(one, *waiting):
    """The RDYs after a second in which all use their shares, and /stats says what waits at each."""
    for now_ms in range(0, 1001, 250):
        for connection, messages in enumerate(waiting, 1):
            one.looked(connection, messages)
        one.tick(now_ms, Held())
        for connection, _ in enumerate(waiting, 1):
            filled(one, connection)
    return [one.asked(connection) for connection, _ in enumerate(waiting, 1)]


def test_an_nsqd_with_ten_times_the_load_gets_at_least_five_times_the_ready_count_of_the_others():
    one = connected(2500, 1, 2, 3)
    assert loaded(one, 100, 100, 100) == [833, 833, 833]
    first, *others = loaded(one, 100_000, 10_000, 10_000)
    assert first >= 5 * max(others) > 5 * 100
    assert sum([first, *others]) <= 2500
    assert loaded(one, 10_000, 100_000, 10_000)[1] == first, "the load has moved"


def test_where_nobody_says_what_waits_one_that_uses_all_of_its_share_counts_like_the_greatest():
    one = connected(1000, 1, 2, 3)
    for now_ms in range(0, 2000, 250):
        for connection, messages in ((1, 500), (2, 100), (3, 1)):
            one.received(connection, messages)
        one.looked(1, 5000)
        one.looked(2, None)
        one.looked(3, 0)
        one.tick(now_ms, Held())
        filled(one, 1), filled(one, 2)
    assert one.asked(1) == one.asked(2) > 400
    assert one.asked(3) == 1


def test_a_quiet_nsqd_has_a_fifth_of_the_busiest_ones_rdy_at_most_and_loses_it_with_that_one():
    one = connected(2500, 1, 2)
    one.received(1, 1000)
    one.received(2, 100)
    one.tick(250, Held())
    assert filled(one, 1) == 1250
    assert filled(one, 2) <= 250
    for now_ms in (1000, 1100, 1200):  # nothing waits any more
        told = asked(one.after_read(1, 0, 40, now_ms, (0, 0)))
    assert (one.asked(1), one.asked(2)) == (40, 8), told
    for now_ms in (1300, 1400):
        one.after_read(1, 0, 3, now_ms, (0, 0))
    assert one.asked(1) == 3
    assert filled(one, 2) > 8, "a fifth of 3 is nothing"


def test_an_nsqd_whose_load_grows_is_not_held_down_by_the_busiest_one():
    one = connected(2500, 1, 2)
    one.received(1, 1000)
    for received in (100, 300, 400):
        one.received(2, received)
        one.tick(250, Held())
        filled(one, 1)
        ready_count = filled(one, 2)
    assert ready_count > one.asked(1) / 2


def test_no_connection_has_more_than_nsqd_allows_it():
    assert filled(connected(100, 1, limit=7), 1) == 7


def turns_taken(one, connections, for_ms, holds_ms=0):
    """The times at which each connection was asked for a message. Each holds one for `holds_ms` then."""
    held, began = Held(), {connection: [] for connection in connections}
    ends_ms = {}
    now_ms = 0.0
    while now_ms < for_ms:
        for connection in [connection for connection, end_ms in ends_ms.items() if end_ms <= now_ms]:
            del ends_ms[connection], held[connection]
        for effect in one.tick(round(now_ms), held):
            if effect.ready_count:
                began[effect.connection].append(now_ms)
                if holds_ms:
                    held[effect.connection], ends_ms[effect.connection] = 1, now_ms + holds_ms
        may_send = {c for c in connections if one.asked(c)} | {c for c in connections if held[c]}
        assert len(may_send) <= one._max_in_flight
        now_ms += one.tick_ms
    return began


@pytest.mark.parametrize("holds_ms", [0, 20])
@pytest.mark.parametrize(("max_in_flight", "connections"), [(1, 2), (2, 3), (1, 20), (7, 50)])
def test_more_connections_than_messages_allowed_take_turns_and_none_waits_a_second(
    max_in_flight, connections, holds_ms
):
    numbers = range(1, connections + 1)
    one = connected(max_in_flight, *numbers)
    for times in turns_taken(one, numbers, 10_000, holds_ms).values():
        assert times[0] < 1000
        assert max(after - before for before, after in itertools.pairwise([*times, 10_000])) < 1000


def test_a_turn_is_not_handed_on_while_its_message_is_not_finished():
    one = connected(1, 1, 2)
    one.tick(0, Held())
    assert (one.asked(1), one.asked(2)) == (1, 0)
    for now_ms in range(250, 60_000, 250):
        one.tick(now_ms, Held({1: 1}))
    assert (one.asked(1), one.asked(2)) == (0, 0), "nsqd would send another one at the FIN"
    one.tick(60_000, Held())
    assert (one.asked(1), one.asked(2)) == (0, 1)


def test_a_turn_in_which_a_message_came_is_handed_on_as_soon_as_that_is_finished():
    one = connected(1, 1, 2)
    one.tick(0, Held())
    one.tick(250, Held({1: 1}))
    assert (one.asked(1), one.asked(2)) == (0, 0)
    one.tick(251, Held())
    assert (one.asked(1), one.asked(2)) == (0, 1)


def test_when_there_are_as_many_connections_as_messages_again_each_is_asked_for_one():
    one = connected(2, 1, 2, 3)
    one.tick(0, Held())
    assert asked(one.disconnected(1, Held())) == {3: 1}
    assert (one.asked(2), one.asked(3)) == (1, 1)
    assert one.tick_ms == 250


def test_after_a_pause_those_whose_turn_it_is_are_asked():
    one = connected(1, 1, 2)
    one.tick(0, Held())
    assert asked(one.pause()) == {1: 0}
    assert one.tick(50, Held()) == []
    assert asked(one.after_finish(0)) == {1: 1}
    assert asked(one.stop()) == {1: 0}
    assert one.tick(1000, Held()) == []


def test_with_too_much_outstanding_nothing_is_asked_for_until_half_of_it_is_finished():
    one = connected(100, 1, 2)
    assert read(one, 1, outstanding=100, in_flight=1) == {}
    assert read(one, 1, outstanding=101, in_flight=1) == {1: 0, 2: 0}
    assert read(one, 2, outstanding=150, in_flight=1) == {}
    assert one.after_finish(51) == []
    assert asked(one.after_finish(50)) == {1: 1, 2: 1}
    assert one.after_finish(0) == []


def test_a_connection_that_comes_in_a_pause_is_asked_for_nothing_until_it_is_over():
    one = connected(100, 1)
    read(one, 1, outstanding=101, in_flight=1)
    assert one.connected(2, 2500, Held()) == []
    assert asked(one.after_finish(0)) == {1: 1, 2: 1}


def test_what_is_stopped_asks_for_nothing_any_more():
    one = connected(100, 1)
    assert asked(one.stop()) == {1: 0}
    assert one.connected(2, 2500, Held()) == []
    assert read(one, 1, outstanding=1, in_flight=1) == {}
    assert read(one, 1, outstanding=101, in_flight=1) == {}
    assert one.after_finish(0) == []
