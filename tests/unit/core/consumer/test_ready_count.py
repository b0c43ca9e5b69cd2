"""RDY has room for one lone message, for more in a backlog, and is never above its limit."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.core.consumer.ready_count import (
    BACKLOG_MS,
    CLOCKS_DIFFER_MS_MAX,
    FLUSH_MS,
    LONE_MS,
    MANY,
    MANY_MS,
    QUIET_MS,
    ReadyCount,
    ReadyCounts,
)

OLD_MS = 60_000.0  # the age of a message that has certainly waited
SOON_MS = 0.2


def rooms(one, *messages, age_ms=OLD_MS, every_ms=1.0):
    """The room after each of these reads. `every_ms`: from one newest message to the next, by the stamps."""
    found = []
    for brings in messages:
        stamp_ms = one.came[-1][1] + every_ms if one.came else 0.0
        one.after_read(brings, 0, stamp_ms + age_ms, age_ms)
        found.append(one.room)
    return found


def test_there_is_room_for_one_more_than_are_in_flight_so_that_a_lone_message_is_flushed_at_once():
    one = ReadyCount(2500)
    assert [one.ready_count(in_flight) for in_flight in (0, 1, 7)] == [1, 2, 8]


def test_there_is_never_room_for_more_than_the_share_allows():
    one = ReadyCount(10, room=4)
    assert [one.ready_count(in_flight) for in_flight in (0, 6, 7, 10, 99)] == [4, 10, 10, 10, 10]


def test_a_backlog_has_all_the_room_there_is_for_as_long_as_it_lasts():
    one = ReadyCount(2500)
    assert rooms(one, 1, 2500, 700, 1) == [2500] * 4
    assert rooms(one, 1, age_ms=SOON_MS, every_ms=50) == [1]


def test_a_message_tells_of_a_backlog_by_its_age():
    assert rooms(ReadyCount(100), 1, age_ms=BACKLOG_MS + 1) == [100]
    assert rooms(ReadyCount(100), 1, age_ms=BACKLOG_MS - 1) == [1]


@pytest.mark.parametrize("every_ms", [20.0, 6.7, 1.0])
def test_lone_messages_get_room_for_one_at_each_rate(every_ms):
    assert rooms(ReadyCount(100), *[1] * 100, age_ms=SOON_MS, every_ms=every_ms) == [1] * 100


def test_a_lone_message_that_is_read_late_is_still_a_lone_one():
    assert rooms(ReadyCount(100), *[1] * 100, age_ms=5.2, every_ms=6) == [1] * 100


def test_after_a_halt_there_is_room_for_a_third_of_what_came_meanwhile_as_far_as_the_rate_tells():
    one = ReadyCount(100)
    assert rooms(one, *[1] * 40, age_ms=SOON_MS) == [1] * 40
    assert rooms(one, 1, age_ms=30.4) == [10]
    assert rooms(one, 10, age_ms=20.4, every_ms=10) == [6]
    assert rooms(one, 6, age_ms=14.4, every_ms=6) == [4]
    assert rooms(one, 4, age_ms=SOON_MS, every_ms=4) == [1]


def test_a_burst_makes_room_more_and_more_and_then_all_there_is():
    one, found, reads = ReadyCount(2500), [1], 0
    while found[-1] < 2500:
        found += rooms(one, found[-1], age_ms=0.1 * reads, every_ms=0.0)
        reads += 1
    assert found == sorted(found)
    assert reads < 20


def test_messages_at_a_high_rate_get_all_the_room_there_is_because_each_read_costs():
    below, above = ReadyCount(2500), ReadyCount(2500)
    assert rooms(below, *[MANY - 1] * 9, age_ms=SOON_MS, every_ms=MANY_MS)[1:] == [1] * 8
    assert rooms(above, *[MANY + 1] * 9, age_ms=SOON_MS, every_ms=MANY_MS) == [2500] * 9
    ticker_ms, a_ms = 25.0, MANY / MANY_MS
    assert rooms(above, int(1.1 * ticker_ms * a_ms), age_ms=SOON_MS, every_ms=ticker_ms) == [2500]
    assert rooms(above, int(0.9 * ticker_ms * a_ms), age_ms=SOON_MS, every_ms=ticker_ms) == [1]


def test_a_backlog_is_told_whatever_the_clocks_differ_once_a_message_has_come_at_once():
    for difference_ms in (-5000.0, 0.0, CLOCKS_DIFFER_MS_MAX / 2):
        one = ReadyCount(100, least_age_ms=difference_ms)
        assert rooms(one, *[1] * 20, age_ms=difference_ms + SOON_MS, every_ms=5) == [1] * 20
        assert rooms(one, 1, age_ms=difference_ms + BACKLOG_MS, every_ms=5) != [100]
        assert rooms(one, 1, age_ms=difference_ms + BACKLOG_MS + 1, every_ms=5) == [100]


def test_a_clock_that_is_late_is_noticed_by_and_by():
    one = ReadyCount(100)
    assert rooms(one, 1, 1, age_ms=60.0, every_ms=10) == [100, 100]
    assert rooms(one, *[1] * 5000, age_ms=60.0, every_ms=10)[-1] == 1


@pytest.mark.parametrize(
    ("messages", "age_ms", "wait_ms"), [(1, OLD_MS, QUIET_MS), (20, SOON_MS, FLUSH_MS), (1, SOON_MS, LONE_MS)]
)
def test_while_nothing_comes_there_is_room_for_one_and_then_for_as_many_as_before(messages, age_ms, wait_ms):
    one = ReadyCount(100)
    for now_ms in (1000, 1001):
        one.after_read(messages, now_ms, 20.0 * now_ms, age_ms)
    room = one.room
    assert not one.flush(1000 + wait_ms), "something has come a millisecond ago"
    assert one.ready_count(3) == min(3 + room, 100)
    assert one.flush(1001 + wait_ms)
    assert [one.ready_count(in_flight) for in_flight in (3, 0)] == [4, 1]
    one.after_read(messages, 2000, 40_000.0, age_ms)
    assert one.ready_count(3) == min(3 + room, 100)


def test_less_is_asked_for_as_soon_as_less_is_allowed():
    one = ReadyCount(100, room=64)
    for limit, ready_count in ((10, 10), (0, 1), (50, 2)):
        one.limit(limit)
        assert one.ready_count(1) == ready_count


reads = st.lists(st.tuples(st.integers(1, 3000), st.floats(0, 200), st.floats(-9, 99)), max_size=60)


@given(st.integers(1, 2500), reads, st.integers(0, 3000))
def test_it_is_always_between_one_and_what_is_allowed(ready_count_max, steps, in_flight):
    one, wall_ms = ReadyCount(ready_count_max), 0.0
    for messages, pause_ms, age_ms in steps:
        wall_ms += pause_ms
        one.after_read(messages, 0, wall_ms, age_ms)
        assert 1 <= one.ready_count(in_flight) <= ready_count_max


# All connections


def asked(effects):
    return {effect.connection: effect.ready_count for effect in effects}


class Asking(ReadyCounts):
    """The RDYs of some connections. `held`: what each connection holds, nothing at first."""

    def __init__(self, max_in_flight, *connections, limit=2500, every_ms=100):
        self.held, self.wall_ms, self.every_ms = {}, 0.0, every_ms
        super().__init__(max_in_flight, self.held)
        for connection in connections:
            self.connects(connection, limit)

    def connects(self, connection, limit=2500):
        self.held.setdefault(connection, 0)
        return asked(self.connected(connection, limit))

    def comes(self, connection, messages, outstanding=0, age_ms=OLD_MS):
        self.held[connection] += messages
        self.wall_ms += self.every_ms
        now_ms = round(self.wall_ms)
        return asked(self.after_read(connection, messages, outstanding, now_ms, self.wall_ms, age_ms))

    def flushes(self, after_ms):
        """The RDYs that are set so long after the last read."""
        return asked(self.flush(round(self.wall_ms) + after_ms))

    def finishes(self, connection):
        self.held[connection] = 0
        return self.after_finish(connection)

    def fill(self, connection):
        """Read old messages. Returns the RDY after that, with nothing in flight."""
        self.comes(connection, self.asked(connection))
        self.finishes(connection)
        return self.asked(connection)


def test_a_new_connection_is_asked_for_one_message():
    assert Asking(100).connects(1) == {1: 1}


def test_each_read_and_each_finish_leaves_room_for_one_message():
    one = Asking(100, 1, every_ms=2)
    for _ in range(9):
        one.comes(1, 1, age_ms=SOON_MS)
    assert one.comes(1, 1, age_ms=SOON_MS) == {1: 11}
    assert one.comes(1, 1, age_ms=SOON_MS) == {1: 12}
    assert one.finishes(1) == 1
    assert (one.reads_by_ticker, one.reads) == (0, 11)


def test_after_a_lone_message_rdy_waits_for_its_fin_but_not_for_long():
    one = Asking(100, 1)
    assert one.comes(1, 1, age_ms=SOON_MS) == {}
    assert one.flush_at_ms == one.wall_ms + LONE_MS
    assert one.finishes(1) == 1
    assert one.flush_at_ms is None
    assert one.comes(1, 1, age_ms=SOON_MS) == {}
    assert (one.flushes(LONE_MS), one.flush_at_ms) == ({1: 2}, None)
    assert one.comes(1, 1, age_ms=SOON_MS) == {}
    assert one.asked(1) == 2, "nsqd has flushed its buffer: as many are in flight"
    assert (one.reads_by_ticker, one.reads) == (0, 3)


def test_rdy_does_not_wait_if_a_lone_message_has_left_room_for_more():
    one = Asking(100, 1)
    one.fill(1)
    assert one.comes(1, 1, age_ms=SOON_MS) == {1: 2}


def test_a_read_that_leaves_fewer_in_flight_than_rdy_came_by_nsqds_ticker():
    one = Asking(100, 1)
    assert one.fill(1) == 100
    assert one.comes(1, 3, age_ms=SOON_MS) == {1: 4}
    assert (one.reads_by_ticker, one.reads) == (1, 2)
    assert one.finishes(1) == 1


def test_nsqd_is_made_to_flush_only_while_there_is_room_for_several():
    one = Asking(100, 1)
    assert one.flush_at_ms is None
    one.fill(1)
    assert one.flush_at_ms == one.wall_ms + QUIET_MS
    assert one.flushes(QUIET_MS - 1) == {}
    assert one.flushes(QUIET_MS) == {1: 1}
    one.comes(1, 1, age_ms=SOON_MS)
    one.finishes(1)
    assert one.flush_at_ms is None


def test_the_flush_of_one_nsqd_is_not_that_of_another():
    one = Asking(100, 1, 2, every_ms=0)
    one.fill(1)
    one.comes(2, 1, age_ms=SOON_MS)
    assert one.flush_at_ms == one.wall_ms + LONE_MS
    assert one.flushes(LONE_MS) == {2: 2}
    assert one.asked(1) == 50
    assert one.flush_at_ms == one.wall_ms + QUIET_MS


def test_the_connections_share_what_may_be_in_flight_and_take_over_what_one_leaves():
    one = Asking(100, 1)
    assert one.fill(1) == 100
    assert one.connects(2) == {1: 50, 2: 1}
    assert one.fill(2) == 1, "the first one may still send what it was asked for"
    one.tick(250)
    assert one.fill(2) == 50
    one.disconnected(1)
    assert one.fill(2) == 100


def test_no_more_is_asked_for_than_is_free_while_a_connection_holds_more_than_its_share():
    one = Asking(100, 1)
    one.fill(1)
    one.held[1] = 100
    one.connects(2)
    for held, free in ((100, 1), (90, 10), (60, 40), (50, 50)):
        one.held[1] = held
        one.tick(250)
        assert one.fill(2) == free


def test_what_is_free_is_given_to_one_connection_only():
    one = Asking(100, 1)
    one.fill(1)
    one.held[1] = 100
    one.connects(2), one.connects(3)
    one.held[1] = 90
    one.looked(2, 10_000), one.looked(3, 10_000)
    one.tick(250)
    assert (one.share(2), one.share(3)) == (9, 1)


def loaded(one, *waiting):
    """The RDYs after a second in which all use their shares, and /stats says what waits at each."""
    for now_ms in range(0, 1001, 250):
        for connection, messages in enumerate(waiting, 1):
            one.looked(connection, messages)
        one.tick(now_ms)
        for connection, _ in enumerate(waiting, 1):
            one.fill(connection)
    return [one.asked(connection) for connection, _ in enumerate(waiting, 1)]


def test_an_nsqd_with_ten_times_the_load_gets_at_least_five_times_the_ready_count_of_the_others():
    one = Asking(2500, 1, 2, 3)
    assert loaded(one, 100_000, 100_000, 100_000) == [833, 833, 833]
    first, *others = loaded(one, 1_000_000, 100_000, 100_000)
    assert first >= 5 * max(others) > 5 * 100
    assert sum([first, *others]) <= 2500
    assert loaded(one, 100_000, 1_000_000, 100_000)[1] == first, "the load has moved"


def test_where_nobody_says_what_waits_one_that_uses_all_of_its_share_counts_like_the_greatest():
    one = Asking(1000, 1, 2, 3)
    for now_ms in range(0, 2000, 250):
        one.looked(1, 50_000)
        one.looked(2, None)
        one.looked(3, 0)
        one.comes(3, 1, age_ms=SOON_MS)
        one.finishes(3)
        one.tick(now_ms)
        one.fill(1), one.fill(2)
    assert one.asked(1) == one.asked(2) > 400
    assert one.asked(3) == 1


def test_where_nobody_says_what_waits_one_that_uses_all_of_its_share_without_a_backlog_gets_no_more():
    one, shares = Asking(1000, 1, 2), []
    for now_ms in range(0, 2000, 250):
        one.looked(1, 50_000), one.looked(2, None)
        one.fill(1)
        one.comes(2, min(one.share(2), MANY - 1), age_ms=SOON_MS)
        one.finishes(2)
        one.tick(now_ms)
        shares.append(one.share(2))
    assert max(shares[4:]) < 100


def test_no_connection_has_more_than_nsqd_allows_it():
    assert Asking(100, 1, limit=7).fill(1) == 7


def turns_taken(one, connections, for_ms, holds_ms=0):
    """The times at which each connection was asked for a message. Each holds one for `holds_ms` then."""
    held, began = one.held, {connection: [] for connection in connections}
    ends_ms = {}
    now_ms = 0.0
    while now_ms < for_ms:
        for connection in [connection for connection, end_ms in ends_ms.items() if end_ms <= now_ms]:
            del ends_ms[connection]
            held[connection] = 0
        for effect in one.tick(round(now_ms)):
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
    one = Asking(max_in_flight, *numbers)
    for times in turns_taken(one, numbers, 10_000, holds_ms).values():
        assert times[0] < 1000
        assert max(after - before for before, after in itertools.pairwise([*times, 10_000])) < 1000


def test_a_turn_is_not_handed_on_while_its_message_is_not_finished():
    one = Asking(1, 1, 2)
    one.tick(0)
    assert (one.asked(1), one.asked(2)) == (1, 0)
    one.held[1] = 1
    for now_ms in range(250, 60_000, 250):
        one.tick(now_ms)
    assert (one.asked(1), one.asked(2)) == (0, 0), "nsqd would send another one at the FIN"
    one.held[1] = 0
    one.tick(60_000)
    assert (one.asked(1), one.asked(2)) == (0, 1)


def test_a_turn_in_which_a_message_came_is_handed_on_as_soon_as_that_is_finished():
    one = Asking(1, 1, 2)
    one.tick(0)
    one.held[1] = 1
    one.tick(250)
    assert (one.asked(1), one.asked(2)) == (0, 0)
    one.held[1] = 0
    one.tick(251)
    assert (one.asked(1), one.asked(2)) == (0, 1)


def test_when_there_are_as_many_connections_as_messages_again_each_is_asked_for_one():
    one = Asking(2, 1, 2, 3)
    one.tick(0)
    assert asked(one.disconnected(1)) == {3: 1}
    assert (one.asked(2), one.asked(3)) == (1, 1)
    assert one.tick_ms == 250


def test_after_a_pause_those_whose_turn_it_is_are_asked():
    one = Asking(1, 1, 2)
    one.tick(0)
    assert asked(one.pause()) == {1: 0}
    assert one.tick(50) == []
    assert asked(one.resume(0)) == {1: 1}
    assert asked(one.stop()) == {1: 0}
    assert one.tick(1000) == []


def test_with_too_much_outstanding_nothing_is_asked_for_until_half_of_it_is_finished():
    one = Asking(100, 1, 2)
    assert one.comes(1, 1, outstanding=100, age_ms=SOON_MS) == {}
    assert one.comes(1, 1, outstanding=101, age_ms=SOON_MS) == {1: 0, 2: 0}
    assert one.comes(2, 1, outstanding=150, age_ms=SOON_MS) == {}
    assert one.finishes(2) == 0
    assert one.flushes(QUIET_MS) == {}
    assert one.resume(51) == []
    assert asked(one.resume(50)) == {1: 3, 2: 1}
    assert one.resume(0) == []


def test_a_connection_that_comes_in_a_pause_is_asked_for_nothing_until_it_is_over():
    one = Asking(100, 1)
    one.comes(1, 1, outstanding=101, age_ms=SOON_MS)
    assert one.connects(2) == {}
    assert asked(one.resume(0)) == {1: 2, 2: 1}


def test_what_is_stopped_asks_for_nothing_any_more():
    one = Asking(100, 1)
    assert asked(one.stop()) == {1: 0}
    assert one.connects(2) == {}
    assert one.comes(1, 1, outstanding=1) == {}
    assert one.comes(1, 1, outstanding=101) == {}
    assert one.resume(0) == []
