"""A paused consumer asks for nothing and finishes what it has, and no connection is taken for stalled."""

from actors.core.consumer.effects import Finish, Look, Reconnect, SetReadyCount
from actors.core.consumer.frames import Parsed
from actors.core.consumer.ready_count import ReadyCounts
from actors.core.consumer.rules import LOOK_EVERY_MS, ConsumerRules
from actors.core.consumer.stalls import RECONNECT_MS, SILENT_MS
from actors.core.consumer.terms import Terms

VIDEO = bytes(16)


def read(*numbers):
    parsed = Parsed()
    for number in numbers:
        parsed.plays.ids += b"%016x" % number
        parsed.plays.videos += VIDEO
        parsed.plays.arrived_ns.append(number * 10)
    return parsed


def connected(rules, connection, now_ms=0):
    return rules.connected(connection, f"nsqd-{connection}/plays", Terms(), now_ms)


def test_every_rdy_is_0_and_what_is_in_flight_is_finished_with_rdy_0():
    rules = ConsumerRules(1, 100)
    connected(rules, 1)
    connected(rules, 2)
    (plays, *_) = [*rules.received(1, read(1, 2), 0, 0), *rules.send_held()]
    assert rules.suspend(True, 10) == [SetReadyCount(1, 0), SetReadyCount(2, 0)]
    (finish,) = rules.counted(0, [plays.message.number], 20)
    assert finish == Finish(1, b"%016x%016x" % (1, 2), 0)
    assert rules.flush(100_000) == [] and rules.outstanding == 0
    assert rules.tick(100_000)[:2] == [Look(1), Look(2)], "no RDY, and no connection is replaced"


def test_a_new_connection_gets_none_and_all_get_some_at_the_end():
    rules = ConsumerRules(1, 100)
    assert rules.suspend(True, 0) == []
    assert connected(rules, 1) == connected(rules, 2) == []
    assert not [one for one in rules.tick(500) if isinstance(one, SetReadyCount)]
    asked = {one.connection: one.ready_count for one in rules.suspend(False, 1000)}
    assert asked.keys() == {1, 2} and min(asked.values()) >= 1


def test_a_pause_over_too_many_in_flight_ends_without_ending_this_one_and_this_one_not_that():
    counts = ReadyCounts(10, {1: 0})
    counts.connected(1, 100)
    counts.pause()
    counts.suspend(True)
    assert counts.resume(0) == []
    counts.pause()
    assert counts.suspend(False) == []
    assert counts.resume(0) == [SetReadyCount(1, 1)]


def test_more_connections_than_may_be_in_flight_take_no_turns():
    rules = ConsumerRules(1, 2)
    for connection in range(1, 6):
        connected(rules, connection)
    rules.suspend(True, 0)
    asked = [one for now_ms in range(0, 60_000, 250) for one in rules.tick(now_ms)]
    assert not [one for one in asked if isinstance(one, (SetReadyCount, Reconnect))]
    asked = [*rules.suspend(False, 60_000), *rules.tick(60_250)]
    assert sum(one.ready_count for one in asked if isinstance(one, SetReadyCount)) == 2


def looks_and_ticks(rules, from_ms, to_ms, waiting=1000):
    """Tick each quarter of a second, with this many messages waiting. Returns who is to be replaced."""
    found = []
    for now_ms in range(from_ms, to_ms, 250):
        for effect in rules.tick(now_ms):
            if isinstance(effect, Look):
                found += rules.looked(effect.connection, waiting, now_ms + 5)
            elif isinstance(effect, Reconnect):
                found.append(effect)
    return found


def test_messages_that_wait_in_a_pause_and_just_after_it_are_no_stall_and_later_they_are():
    rules = ConsumerRules(1, 100)
    connected(rules, 1)
    assert looks_and_ticks(rules, 0, SILENT_MS - 1000) == []
    rules.suspend(True, SILENT_MS - 1000)
    pause_ends_ms = RECONNECT_MS + 60_000
    assert looks_and_ticks(rules, SILENT_MS - 1000, pause_ends_ms) == []
    rules.suspend(False, pause_ends_ms)
    assert looks_and_ticks(rules, pause_ends_ms, pause_ends_ms + SILENT_MS) == []
    assert looks_and_ticks(rules, pause_ends_ms + SILENT_MS, pause_ends_ms + SILENT_MS + 3000) == [
        Reconnect(1)
    ]


def test_a_look_that_was_under_way_when_the_pause_began_is_no_doubt():
    rules = ConsumerRules(1, 100)
    connected(rules, 1)
    now_ms = RECONNECT_MS + SILENT_MS + LOOK_EVERY_MS
    assert Look(1) in rules.tick(now_ms)
    rules.looked(1, 7, now_ms)
    assert Look(1) in rules.tick(now_ms + 1000)
    rules.suspend(True, now_ms + 1001)
    assert rules.looked(1, 7, now_ms + 1002) == []
