"""Plays of a backlog are held for a moment, and then go to each counter in one message."""

import pytest

from actors.core.columns import ID_BYTES, count, unpack_ids
from actors.core.consumer.effects import Finish
from actors.core.consumer.frames import BadStream, Parsed
from actors.core.consumer.held import FULL_TENTHS, HOLD_MS_MAX, LATE_MS, UNIT_MIN
from actors.core.consumer.ready_count import ReadyCounts
from actors.core.consumer.rules import ConsumerRules
from actors.core.consumer.terms import Terms
from actors.core.effects import Send
from actors.core.shards import shard_of

NOW_MS = 1_000_000
READY_COUNT = 1000
FULL = READY_COUNT * FULL_TENTHS // 10
VIDEOS = [  # one of each of two shards
    next(one for one in (bytes([number]) * 16 for number in range(256)) if shard_of(one, 2) == shard)
    for shard in range(2)
]


def rules(ready_count=READY_COUNT, connections=(1,)):
    """Rules whose RDY is always `ready_count`."""

    class Always(ReadyCounts):
        def asked(self, connection):
            return ready_count

    one = ConsumerRules(2, 2500, Always)
    for connection in connections:
        one.connected(connection, f"nsqd-{connection}/plays", Terms(), NOW_MS)
    return one


def receive(one, start, end, age_ms=LATE_MS, connection=1, now_ms=NOW_MS):
    """Read plays with these ids, of both shards in turn. Returns what is sent."""
    parsed, wall_ns = Parsed(), 10**18
    for number in range(start, end):
        parsed.plays.ids += b"%016x" % number
        parsed.plays.videos += VIDEOS[number % 2]
        parsed.plays.arrived_ns.append(wall_ns - round(age_ms * 1e6))
    effects = one.received(connection, parsed, now_ms, wall_ns)
    return [effect for effect in effects if isinstance(effect, Send)]


def ids_in(sends):
    return [list(unpack_ids(send.message.ids)) for send in sends]


def test_plays_of_a_backlog_are_held_until_most_of_the_ready_count_is_there_and_go_together():
    one = rules()
    assert receive(one, 0, 200) == []
    assert receive(one, 200, FULL - 1, now_ms=NOW_MS + 1) == []
    assert (one.outstanding, one.in_flight(1), one.unanswered(0)) == (FULL - 1, FULL - 1, 0)
    sends = receive(one, FULL - 1, FULL, now_ms=NOW_MS + 2)
    assert ids_in(sends) == [list(range(0, FULL, 2)), list(range(1, FULL, 2))]
    assert {send.message.received_ms for send in sends} == {NOW_MS}
    assert one.held_until_ms is None
    for shard, send in enumerate(sends):
        messages = count(send.message.ids, ID_BYTES)
        (finish,) = [
            effect for effect in one.counted(shard, [send.message.number], NOW_MS) if type(effect) is Finish
        ]
        assert len(finish.ids) == 16 * messages
    assert (one.outstanding, one.in_flight(1)) == (0, 0)


@pytest.mark.parametrize(
    ("ready_count", "age_ms"),
    [(UNIT_MIN - 1, 10_000.0), (READY_COUNT, LATE_MS - 1)],
    ids=["small RDY", "young"],
)
def test_a_play_that_may_be_alone_goes_at_once(ready_count, age_ms):
    assert ids_in(receive(rules(ready_count), 7, 8, age_ms)) == [[7]]


def test_plays_are_held_no_longer_than_the_bound():
    one = rules()
    assert receive(one, 0, 2) == []
    assert receive(one, 2, 4, now_ms=NOW_MS + 3) == []
    assert one.held_until_ms == NOW_MS + HOLD_MS_MAX
    assert ids_in(one.send_held()) == [[0, 2], [1, 3]]
    assert (one.held_until_ms, one.send_held()) == (None, [])


def test_a_read_after_the_bound_takes_the_held_plays_along():
    one = rules()
    receive(one, 0, 2)
    assert ids_in(receive(one, 2, 4, now_ms=NOW_MS + HOLD_MS_MAX)) == [[0, 2], [1, 3]]


def test_each_message_has_plays_of_one_nsqd():
    one = rules(connections=(1, 2))
    receive(one, 0, 2)
    receive(one, 10, 12, connection=2)
    sends = one.send_held()
    assert ids_in(sends) == [[0], [1], [10], [11]]
    names = [send.message.source.split(maxsplit=1)[0].partition("/")[0] for send in sends]
    assert names == 2 * ["nsqd-1"] + 2 * ["nsqd-2"]


def test_held_plays_of_a_lost_connection_are_dropped_as_nsqd_gives_them_again():
    one = rules(connections=(1, 2))
    receive(one, 0, 4)
    receive(one, 10, 12, connection=2)
    one.disconnected(1)
    assert one.outstanding == 2
    assert ids_in(one.send_held()) == [[10], [11]]


def test_a_drain_sends_what_is_held():
    one = rules()
    receive(one, 0, 2)
    assert ids_in(effect for effect in one.drain() if isinstance(effect, Send)) == [[0], [1]]


def test_an_id_that_none_has_is_refused_at_once_and_what_is_held_stays():
    one, parsed = rules(), Parsed()
    receive(one, 0, 2)
    parsed.plays.ids += b"not hexadecimal!"
    parsed.plays.videos += VIDEOS[0]
    parsed.plays.arrived_ns.append(1)
    with pytest.raises(BadStream):
        one.received(1, parsed, NOW_MS, 10**18)
    assert one.outstanding == 2
    assert ids_in(one.send_held()) == [[0], [1]]
