"""The consumer's outstanding messages: finished once they are counted, sent again until they are answered."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.core.columns import unpack_ids, unpack_numbers, unpack_videos
from actors.core.consumer.effects import DeadLetter, Finish, Look, Reconnect, SetReadyCount
from actors.core.consumer.frames import BadMessage, BadStream, Parsed
from actors.core.consumer.ready_count import TICK_MS, ReadyCounts
from actors.core.consumer.rules import (
    LOOK_EVERY_MS,
    OVERSENT,
    OVERSENT_LEAST,
    QUIET_TICK_MS,
    REJECTS_SHARD,
    ConsumerRules,
)
from actors.core.consumer.stalls import QUIET_LOOK_MS, SILENT_MS
from actors.core.consumer.terms import Terms
from actors.core.effects import Send
from actors.core.messages import Plays, Rejected
from actors.core.shards import counter_of, shard_of

SHARDS = 2
SOURCE = "127.0.0.1:4150/plays"
VIDEOS = [  # one of each shard
    next(one for one in (bytes([number]) * 16 for number in range(256)) if shard_of(one, SHARDS) == shard)
    for shard in range(SHARDS)
]


def message_id(number):
    return b"%016x" % number


def read(*numbers, shard=0, bad=()):
    """The content of one read: plays of one shard, and bad messages, with these numbers as ids."""
    parsed = Parsed()
    for number in numbers:
        parsed.plays.ids += message_id(number)
        parsed.plays.videos += VIDEOS[shard]
        parsed.plays.arrived_ns.append(number * 10)
    parsed.bad = [BadMessage(message_id(number), number * 10, b"?", "the body is not JSON") for number in bad]
    return parsed


class AsksForNothing(ReadyCounts):
    """Never sets RDY. test_ready_count.py tests RDY."""

    def _wanted(self, connection):
        return 0


class Held(ConsumerRules):
    """The rules, with the time fixed and RDY never set."""

    def __init__(self):
        super().__init__(SHARDS, 2500, AsksForNothing)

    def connected(self, connection):
        return super().connected(connection, SOURCE, Terms(), 0)

    def received(self, connection, parsed):
        return super().received(connection, parsed, 0, 0)

    def counted(self, shard, numbers):
        return super().counted(shard, numbers, 0)


def deliveries(*connections):
    one = Held()
    for connection in connections:
        one.connected(connection)
    return one


def test_what_a_read_held_goes_to_its_counters_in_columns():
    one = deliveries(1)
    (send,) = one.received(1, read(258, 3, shard=1))
    assert send.peer == counter_of(1)
    assert send.message.source == "127.0.0.1:4150 #0/plays"  # 0 is the node id in these ids
    assert list(unpack_ids(send.message.ids)) == [258, 3]
    assert unpack_videos(send.message.videos) == [VIDEOS[1], VIDEOS[1]]
    assert list(unpack_numbers(send.message.arrived_ns)) == [2580, 30]
    assert (one.outstanding, one.in_flight(1), one.unanswered(1)) == (2, 2, 2)


@pytest.mark.parametrize("identity", [b"not hexadecimal!", b"01234567  89abcd", b"\xff" * 16])
@pytest.mark.parametrize("bad", [False, True])
def test_an_id_that_none_has_is_refused_with_nothing_taken_in(identity, bad):
    one, parsed = deliveries(1), read(1, 2, bad=(3,))
    if bad:
        parsed.bad = [BadMessage(identity, 1, b"?", "the body is not JSON")]
    else:
        parsed.plays.ids[16:] = identity
    with pytest.raises(BadStream, match="16 hexadecimal digits"):
        one.received(1, parsed)
    assert (one.outstanding, one.in_flight(1), one.unanswered(0)) == (0, 0, 0)


def test_messages_are_finished_on_their_connection_once_they_are_counted():
    one = deliveries(1)
    (send,) = one.received(1, read(1, 2))
    assert one.counted(0, [send.message.number]) == [Finish(1, message_id(1) + message_id(2), 0)]
    assert (one.outstanding, one.in_flight(1), one.unanswered(0)) == (0, 0, 0)


def test_an_answer_that_comes_twice_or_for_nothing_finishes_nothing():
    one = deliveries(1)
    (send,) = one.received(1, read(1))
    one.counted(0, [send.message.number])
    assert one.counted(0, [send.message.number, 999]) == []
    assert one.outstanding == 0


def test_a_counter_does_not_answer_for_another():
    one = deliveries(1)
    (send,) = one.received(1, read(1, shard=0))
    assert one.counted(1, [send.message.number]) == []
    assert one.outstanding == 1


def test_what_a_counter_has_not_answered_is_sent_again_in_order_as_it_was():
    one = deliveries(1, 2)
    sends = [
        *one.received(1, read(1)),
        *one.received(2, read(2)),
        *one.received(1, read(3)),
    ]
    one.counted(0, [sends[1].message.number])
    assert one.linked(0) == [sends[0], sends[2]]
    assert one.linked(0) == [sends[0], sends[2]]
    assert one.linked(1) == []


def test_nothing_is_finished_on_a_connection_that_is_gone():
    one = deliveries(1)
    (send,) = one.received(1, read(1))
    one.disconnected(1)
    assert one.outstanding == 1, "the message stays outstanding, because the counter may still count it"
    assert one.counted(0, [send.message.number]) == []
    assert one.outstanding == 0
    assert one.in_flight(1) == 0


def test_a_message_given_again_on_a_new_connection_is_finished_there():
    one = deliveries(1)
    (first,) = one.received(1, read(7))
    one.disconnected(1)
    one.connected(2)
    (second,) = one.received(2, read(7))
    finishes = one.counted(0, [first.message.number, second.message.number])
    assert finishes == [Finish(2, message_id(7), 0)]


def test_what_is_no_play_goes_to_the_dead_letters_first_then_to_the_ledger_then_is_finished():
    one = deliveries(1)
    (letter,) = one.received(1, read(bad=(5, 6)))
    assert isinstance(letter, DeadLetter)
    assert letter.reasons == {"the body is not JSON": 2}
    assert [json.loads(each)["id"] for each in letter.letters] == [
        "0000000000000005",
        "0000000000000006",
    ]
    (send,) = one.dead_lettered(letter.number)
    assert send.peer == counter_of(REJECTS_SHARD)
    assert list(unpack_ids(send.message.ids)) == [5, 6]
    assert isinstance(send.message, Rejected)
    assert one.outstanding == 2
    assert one.counted(REJECTS_SHARD, [send.message.number]) == [Finish(1, message_id(5) + message_id(6), 0)]
    assert one.outstanding == 0


def test_dead_letters_that_nsqd_has_not_acknowledged_go_with_their_connection():
    one = deliveries(1)
    (letter,) = one.received(1, read(bad=(5,)))
    one.disconnected(1)
    assert one.outstanding == 0
    assert one.dead_lettered(letter.number) == []


def test_an_acknowledgement_that_comes_twice_counts_once():
    one = deliveries(1)
    (letter,) = one.received(1, read(bad=(5,)))
    assert len(one.dead_lettered(letter.number)) == 1
    assert one.dead_lettered(letter.number) == []


def test_the_figures_are_what_is_held():
    one = deliveries(1, 2)
    one.received(1, read(1, 2, bad=(3,)))
    figures = one.stats(9, [], 0)
    assert (figures.outstanding, figures.connections, figures.ready_count) == (3, 2, 9)


steps = st.one_of(
    st.tuples(st.just("connect"), st.none()),
    st.tuples(st.just("disconnect"), st.integers(0, 5)),
    st.tuples(st.just("read"), st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(0, 3))),
    st.tuples(st.just("bad"), st.tuples(st.integers(0, 5), st.integers(1, 2))),
    st.tuples(st.just("letter"), st.integers(0, 9)),
    st.tuples(st.just("counted"), st.tuples(st.integers(0, 1), st.integers(0, 9))),
    st.tuples(st.just("linked"), st.integers(0, 1)),
)


@settings(deadline=None)
@given(st.lists(steps, max_size=50))
def test_it_holds_what_a_plain_list_of_messages_holds(happenings):
    one = Held()
    connections, made, numbers = [], 0, 0
    # letters: number -> (connection, ids). parcels: (connection, shard, the `Send`, ids).
    letters, parcels = {}, []
    for happening, facts in happenings:
        match happening:
            case "connect":
                made += 1
                connections.append(made)
                one.connected(made)
            case "disconnect" if connections:
                gone = connections.pop(facts % len(connections))
                one.disconnected(gone)
                letters = {n: row for n, row in letters.items() if row[0] != gone}
            case "read" if connections:
                connection, shard, count = connections[facts[0] % len(connections)], *facts[1:]
                ids = list(range(numbers, numbers + max(1, count)))
                numbers += len(ids)
                for send in one.received(connection, read(*ids, shard=shard)):
                    assert isinstance(send.message, Plays)
                    parcels.append((connection, shard, send, [message_id(n) for n in ids]))
            case "bad" if connections:
                connection = connections[facts[0] % len(connections)]
                ids = list(range(numbers, numbers + facts[1]))
                numbers += facts[1]
                (letter,) = one.received(connection, read(bad=ids))
                letters[letter.number] = (connection, [message_id(n) for n in ids])
            case "letter" if letters:
                number = sorted(letters)[facts % len(letters)]
                connection, ids = letters.pop(number)
                (send,) = one.dead_lettered(number)
                parcels.append((connection, REJECTS_SHARD, send, ids))
            case "counted":
                shard, which = facts
                own = [row for row in parcels if row[1] == shard]
                if not own:
                    continue
                row = own[which % len(own)]
                parcels.remove(row)
                finishes = one.counted(shard, [row[2].message.number])
                expected = [Finish(row[0], b"".join(row[3]), 0)] if row[0] in connections else []
                assert finishes == expected
            case "linked":
                assert one.linked(facts) == [row[2] for row in parcels if row[1] == facts]
        held = [*((row[0], row[3]) for row in parcels), *letters.values()]
        assert one.outstanding == sum(len(ids) for _, ids in held)
        for connection in connections:
            own = sum(len(ids) for at, ids in held if at == connection)
            assert one.in_flight(connection) == own
        for shard in range(SHARDS):
            own = sum(len(row[3]) for row in parcels if row[1] == shard)
            assert one.unanswered(shard) == own
    assert all(isinstance(row[2], Send) for row in parcels)


def test_dead_letters_that_go_with_their_connection_end_a_pause():
    one = ConsumerRules(SHARDS, 1)
    one.connected(1, SOURCE, Terms(), 0)
    effects = one.received(1, read(bad=(5, 6)), 0, 0)
    assert SetReadyCount(1, 0) in effects, "two messages are outstanding, and only one is allowed"
    one.disconnected(1)
    assert one.connected(2, SOURCE, Terms(), 0) == [SetReadyCount(2, 1)]


def test_plays_that_come_after_a_new_name_is_known_carry_it():
    one = deliveries(1)
    one.renamed(1, "127.0.0.1:4150 localhost:4150/plays")
    (send,) = one.received(1, read(1))
    assert send.message.source == "127.0.0.1:4150 localhost:4150 #0/plays"


def test_a_connection_on_which_nsqd_counts_too_many_is_replaced():
    one = deliveries(1)
    assert one.refused(1, b"E_FIN_FAILED FIN %b failed" % message_id(1), 10_000) == [Reconnect(1)]
    assert one.refused(2, b"E_FIN_FAILED", 10_000) == [], "that connection is gone"
    figures = one.stats(0, [], 0)
    assert (figures.failed_finishes, figures.reconnects) == (1, 1)


def test_the_oldest_play_of_a_minute_is_told_and_other_messages_are_none():
    one = ConsumerRules(SHARDS, 2500)
    one.connected(1, SOURCE, Terms(), 0)
    second_ns = 1_000_000_000
    for number, second in ((200, 1), (100, 2)):  # put 2 and 1 microseconds after nsqd's clock began
        one.received(1, read(number), wall_ns=second * second_ns + 10 * number, now_ms=1000 * second)
    one.received(1, read(bad=[1]), wall_ns=9 * second_ns, now_ms=3000)
    assert [one.stats(0, [], now_ms).oldest_age_ms for now_ms in (3000, 61_000, 62_000)] == [2000, 2000, 0]


def test_each_nsqd_is_asked_what_waits_once_a_second_and_one_that_is_silent_not_twice():
    one = ConsumerRules(SHARDS, 2500)
    one.connected(1, SOURCE, Terms(), 0)
    looks = []
    for now_ms in range(0, 10_000, 250):
        if now_ms == 750:
            one.connected(2, SOURCE, Terms(), 600)
        looks += [(now_ms, effect.connection) for effect in one.tick(now_ms) if isinstance(effect, Look)]
    assert [at_ms for at_ms, connection in looks if connection == 1] == list(range(0, 10_000, 1000))
    assert [at_ms for at_ms, connection in looks if connection == 2] == list(range(750, 10_000, 1000))


def test_an_nsqd_where_nothing_waits_is_looked_at_each_second_again_once_a_message_comes():
    one = ConsumerRules(SHARDS, 2500)
    one.connected(1, SOURCE, Terms(), 0)
    looks, ticks_ms = [], []
    now_ms = came_ms = 0
    while now_ms < 40_000:
        if now_ms >= 30_100 and not came_ms:
            came_ms = now_ms
            effects = one.received(1, read(1), now_ms, 0)
            (send,) = [effect for effect in effects if isinstance(effect, Send)]
            assert one.tick_ms == TICK_MS
            one.counted(0, [send.message.number], now_ms)
        ticks_ms.append(now_ms)
        if Look(1) in one.tick(now_ms):
            looks.append(now_ms)
            one.looked(1, 0, now_ms)
        now_ms += round(one.tick_ms)
    quiet = [at_ms for at_ms in looks if 0 < at_ms < came_ms]
    assert quiet == list(range(SILENT_MS, came_ms, QUIET_LOOK_MS))
    assert {after - before for before, after in pairwise(ticks_ms) if after < came_ms} == {QUIET_TICK_MS}
    assert next(at_ms for at_ms in looks if at_ms >= came_ms) - came_ms <= LOOK_EVERY_MS


@pytest.mark.parametrize("why", ["nothing may come", "nobody says what waits", "a message waits"])
def test_an_nsqd_is_looked_at_each_second_unless_it_is_sure_that_nothing_waits_and_all_may_come(why):
    one = ConsumerRules(SHARDS, 2500)
    one.connected(1, SOURCE, Terms(), 0)
    if why == "nothing may come":
        one.drain()
    waiting = {"nothing may come": 0, "nobody says what waits": None, "a message waits": 1}[why]
    for now_ms in range(0, 4_000, 1000):
        assert Look(1) in one.tick(now_ms)
        one.looked(1, waiting, now_ms)
        assert why == "nothing may come" or one.tick_ms == TICK_MS


def test_an_nsqd_in_which_messages_wait_is_stalled_only_if_it_may_send_more():
    one = ConsumerRules(SHARDS, 1)
    one.connected(1, SOURCE, Terms(), 0)
    (send,) = [effect for effect in one.received(1, read(1), 0, 0) if isinstance(effect, Send)]
    for now_ms in range(10_000, 20_000, 500):
        assert Reconnect(1) not in one.tick(now_ms)
        assert one.looked(1, 5, now_ms) == [], "one message is in flight, and RDY is 1"
    one.counted(0, [send.message.number], 20_000)
    replaced = []
    for now_ms in range(20_000, 24_000, 500):
        replaced += one.tick(now_ms) + one.looked(1, 5, now_ms)
    assert replaced.count(Reconnect(1)) == 1


def test_the_age_of_the_newest_message_of_the_last_read_is_known():
    one = ConsumerRules(SHARDS, 2500)
    one.connected(1, SOURCE, Terms(), 0)
    assert one.last_age_ms(1) is None
    one.received(1, read(1), 0, 10 + 1_500_000_000)
    assert one.last_age_ms(1) == 1500
    one.disconnected(1)
    assert one.last_age_ms(1) is None


def test_a_connection_that_sends_far_more_than_it_was_asked_for_is_a_bad_stream():
    held = Held()
    held.connected(1)
    held.connected(2)
    most = 2500 * OVERSENT + OVERSENT_LEAST
    held.received(1, read(bad=range(most)))
    held.received(2, read(7))
    with pytest.raises(BadStream, match="11,001 messages in flight, far more"):
        held.received(1, read(9))
    assert held.outstanding == most + 1, "the state is unchanged"
    held.disconnected(1)
    assert held.outstanding == 1
