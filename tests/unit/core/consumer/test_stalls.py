"""When a connection is replaced: a refused FIN that no timeout explains, or messages that wait in vain."""

import time

import pytest

from actors.core.consumer.effects import Look, Reconnect
from actors.core.consumer.stalls import (
    HALTED_MS,
    LATE_KEPT_MS,
    LOOK_MS,
    QUIET_LOOK_MS,
    RECONNECT_MS,
    SILENT_MS,
    Stalls,
)

MSG_TIMEOUT_MS = 5000
OLD_MS = RECONNECT_MS  # when a connection that was made at 0 may be replaced


def message_id(number):
    return b"%016x" % number


def refusal(number, verb="FIN"):
    return b"E_%s_FAILED %s %s failed ID not in flight" % (verb.encode(), verb.encode(), message_id(number))


@pytest.fixture
def stalls():
    one = Stalls()
    one.connected(1, MSG_TIMEOUT_MS, 0)
    return one


def ticks(stalls, from_ms, to_ms, room=1):
    """The effects of a tick every half second, with their times."""
    return [
        (now_ms, effect)
        for now_ms in range(from_ms, to_ms + 1, 500)
        for effect in stalls.tick(now_ms, {1: room})
    ]


@pytest.mark.parametrize("verb", ["FIN", "REQ", "TOUCH"])
def test_a_refusal_that_nothing_explains_replaces_the_connection_once(stalls, verb):
    since_ms = stalls.received(1, OLD_MS)
    stalls.finished(1, message_id(7), since_ms, OLD_MS + 10)
    assert stalls.refused(1, refusal(7, verb), OLD_MS + 12) == [Reconnect(1)]
    assert stalls.refused(1, refusal(7, verb), OLD_MS + 13) == []
    assert ticks(stalls, OLD_MS + 500, OLD_MS + 60_000) == []
    assert (stalls.failed_finishes, stalls.reconnects) == (2, 1)


def test_a_young_connection_is_replaced_when_it_is_old_enough(stalls):
    assert stalls.refused(1, refusal(7), 100) == []
    assert ticks(stalls, 500, OLD_MS) == [(OLD_MS, Reconnect(1))]


@pytest.mark.parametrize("held_ms", [MSG_TIMEOUT_MS // 2, MSG_TIMEOUT_MS, 100_000])
def test_a_message_that_was_held_for_long_explains_its_refusal(stalls, held_ms):
    since_ms = stalls.received(1, OLD_MS)
    stalls.finished(1, message_id(6) + message_id(7), since_ms, since_ms + held_ms)
    assert stalls.refused(1, refusal(7), since_ms + held_ms + 1) == []
    assert stalls.reconnects == 0


def test_a_message_that_was_held_for_long_does_not_explain_the_refusal_of_another(stalls):
    since_ms = stalls.received(1, OLD_MS)
    stalls.finished(1, message_id(7), since_ms, since_ms + MSG_TIMEOUT_MS)
    now_ms = since_ms + MSG_TIMEOUT_MS + 1
    assert stalls.refused(1, refusal(8), now_ms) == [Reconnect(1)]


def test_an_id_is_not_found_across_two_others(stalls):
    ids = b"0123456789abcdef" + b"0123456789abcdef"
    stalls.finished(1, ids, 0, MSG_TIMEOUT_MS)
    error = b"E_FIN_FAILED FIN 456789abcdef0123 failed ID not in flight"
    assert stalls.refused(1, error, OLD_MS) == [Reconnect(1)]


def test_what_was_held_for_long_is_forgotten_in_the_end(stalls):
    stalls.finished(1, message_id(7), 0, MSG_TIMEOUT_MS)
    assert ticks(stalls, 6000, 6000 + LATE_KEPT_MS, room=0) == []
    assert stalls.refused(1, refusal(7), 7000 + LATE_KEPT_MS) == [Reconnect(1)]


def test_an_error_that_names_no_message_is_not_explained(stalls):
    assert stalls.refused(1, b"E_FIN_FAILED", OLD_MS) == [Reconnect(1)]


def test_messages_that_came_during_a_halt_may_be_as_old_as_the_halt(stalls):
    ticks(stalls, 0, OLD_MS)
    resumed_ms = OLD_MS + 6000
    assert stalls.received(1, resumed_ms) == OLD_MS
    assert ticks(stalls, resumed_ms, resumed_ms, room=0) == []
    assert stalls.received(1, resumed_ms + 100) == OLD_MS  # it takes some reads to read all of it
    ticks(stalls, resumed_ms + 500, resumed_ms + HALTED_MS, room=0)
    assert stalls.received(1, resumed_ms + HALTED_MS) == OLD_MS
    assert stalls.received(1, resumed_ms + HALTED_MS + 1) == resumed_ms + HALTED_MS + 1


def looks(effects):
    return [now_ms for now_ms, effect in effects if effect == Look(1)]


def test_nothing_is_asked_before_it_is_silent_and_then_now_and_again(stalls):
    stalls.received(1, 1000)
    assert ticks(stalls, 1500, 1000 + SILENT_MS - 500) == []
    assert looks(ticks(stalls, 1000 + SILENT_MS, 8000)) == [1000 + SILENT_MS]  # not twice at a time
    assert stalls.looked(1, 0, 8001) == []
    assert looks(ticks(stalls, 8500, 13_500)) == [13_500]
    assert QUIET_LOOK_MS <= 13_500 - 8001


def test_a_connection_on_which_nsqd_has_refused_something_is_looked_at_more_often(stalls):
    stalls.finished(1, message_id(7), 0, OLD_MS)
    assert stalls.refused(1, refusal(7), OLD_MS + 12) == []
    assert looks(ticks(stalls, OLD_MS + 500, OLD_MS + 500)) == [OLD_MS + 500]
    assert stalls.looked(1, 0, OLD_MS + 501) == []
    assert looks(ticks(stalls, OLD_MS + 1000, OLD_MS + 3000)) == [OLD_MS + 3000]
    assert LOOK_MS <= 3000 - 501


def test_it_is_known_to_be_empty_from_a_look_that_finds_nothing_until_a_message_comes(stalls):
    stalls.connected(2, MSG_TIMEOUT_MS, 0)
    assert not stalls.are_empty
    for connection in (1, 2):
        stalls.looked(connection, 0, 100)
    assert (stalls.are_empty, stalls.is_empty(1)) == (True, True)
    stalls.received(1, 200)
    assert (stalls.are_empty, stalls.is_empty(1), stalls.is_empty(2)) == (False, False, True)
    for waiting in (0, 3, 0, None):
        stalls.looked(1, waiting, 300)
        assert stalls.is_empty(1) == stalls.are_empty == (waiting == 0)


def test_messages_that_wait_at_two_looks_in_a_row_replace_the_connection(stalls):
    ticks(stalls, 500, 6000)
    assert stalls.looked(1, 3, 6003) == []
    assert looks(ticks(stalls, 6500, 7500)) == [7500]
    assert stalls.looked(1, 2, 7503) == [Reconnect(1)]
    assert stalls.reconnects == 1
    assert ticks(stalls, 8000, 30_000) == []


def test_a_message_between_two_looks_shows_that_nsqd_sends(stalls):
    ticks(stalls, 500, 6000)
    assert stalls.looked(1, 3, 6003) == []
    stalls.received(1, 6100)
    assert looks(ticks(stalls, 6500, 11_500)) == [11_500]
    assert stalls.looked(1, 2, 11_503) == []


def test_while_nsqd_may_send_nothing_nothing_is_asked(stalls):
    assert ticks(stalls, 0, 60_000, room=0) == []


def test_without_an_answer_a_silent_connection_is_replaced_only_after_a_refusal(stalls):
    ticks(stalls, 500, 6000)
    assert stalls.looked(1, None, 6003) == []
    stalls.finished(1, message_id(7), 0, 6100)
    assert stalls.refused(1, refusal(7), 6200) == []
    ticks(stalls, 6500, 9000)
    assert stalls.looked(1, None, 9003) == [Reconnect(1)]


def test_an_answer_for_a_connection_that_is_gone_does_nothing(stalls):
    stalls.disconnected(1)
    assert stalls.looked(1, 5, 100_000) == []


def test_a_consumer_that_drains_keeps_its_connections(stalls):
    stalls.stop()
    assert stalls.refused(1, refusal(7), OLD_MS) == []
    assert ticks(stalls, OLD_MS, 60_000, room=0) == []
    assert stalls.failed_finishes == 1


def test_a_flood_of_refusals_of_late_messages_holds_up_nothing(stalls):
    since_ms = stalls.received(1, OLD_MS)
    ids = b"".join(map(message_id, range(120_000)))
    now_ms = OLD_MS + MSG_TIMEOUT_MS
    for at in range(0, len(ids), 1600):
        stalls.finished(1, ids[at : at + 1600], since_ms, now_ms)
    began = time.process_time()
    for number in range(119_999, 40_000, -1):
        assert stalls.refused(1, refusal(number), now_ms) == []
    assert time.process_time() - began < 20
    assert stalls.refused(1, refusal(1), now_ms) == [Reconnect(1)]  # no more than a bound are remembered


def test_late_messages_are_forgotten_in_the_order_in_which_they_were_finished(stalls):
    since_ms = stalls.received(1, OLD_MS)
    for number, late_ms in ((1, 0), (2, 1000), (1, 2000)):
        stalls.finished(1, message_id(number), since_ms, OLD_MS + MSG_TIMEOUT_MS + late_ms)
    now_ms = OLD_MS + MSG_TIMEOUT_MS + LATE_KEPT_MS + 1500
    stalls.received(1, now_ms)
    assert stalls.tick(now_ms, {1: 1}) == []
    assert stalls.refused(1, refusal(1), now_ms) == []
    assert stalls.refused(1, refusal(2), now_ms) == [Reconnect(1)]
