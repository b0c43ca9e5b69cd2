"""The embedded nsqd's channel, held against a model that keeps one record a message."""

import itertools
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.channel import NOT_IN_FLIGHT, NOT_OWNED, Channel
from actors.embedded_nsqd.ids import IdFactory
from actors.embedded_nsqd.segment import Publication, Segment, build_segments
from actors.embedded_nsqd.subscriber import Progress, Subscriber
from tests.support.queues import Message

NOW_NS = 1_795_502_904_123_456_789
TIMEOUT_MS = 1_000
_ticks = itertools.count(1)


def segment_of(*bodies: bytes) -> Segment:
    """One segment, in a tick of its own."""
    ids = IdFactory(1, last_tick=next(_ticks))
    (segment,) = build_segments([Publication(NOW_NS, list(bodies))], ids, now_ns=0)
    return segment


def channel_of(*segments: Segment) -> Channel:
    channel = Channel("c", 1, 0, random.Random(1))
    for segment in segments:
        channel.offer(segment, now_ms=0)
    return channel


def subscribed(channel: Channel, ready_count: int, sample_rate: int = 0) -> Subscriber:
    subscriber = Subscriber(TIMEOUT_MS, sample_rate)
    subscriber.ready_count = ready_count
    channel.add_subscriber(subscriber)
    return subscriber


def delivered(channel: Channel, now_ms: int) -> list[tuple[Subscriber, Message]]:
    """All that it gives now, message by message."""
    given = []
    while gifts := channel.deliver(now_ms):
        for subscriber, frames in gifts:
            data = b"".join(frames)
            while data:
                size = 4 + int.from_bytes(data[:4], "big")
                given.append((subscriber, Message(data[8:size])))
                data = data[size:]
    return given


class Record:
    """One message as the model knows it."""

    def __init__(self) -> None:
        self.attempts = 0
        self.state = "ready"
        self.owner: Subscriber | None = None
        self.given_ms = 0
        self.due_ms = 0

    def make_ready(self) -> None:
        self.state, self.owner = "ready", None


class ChannelMachine(RuleBasedStateMachine):
    subscribers = Bundle("subscribers")

    def __init__(self) -> None:
        super().__init__()
        self.channel = channel_of()
        self.now_ms = 0
        self.model: dict[bytes, Record] = {}
        self.written: set[int] = set()

    @rule(count=st.integers(1, 12), delay_ms=st.sampled_from([0, 0, 300]))
    def publish(self, count: int, delay_ms: int) -> None:
        segment = segment_of(*(b"%d" % number for number in range(count)))
        self.channel.offer(segment, self.now_ms, delay_ms)
        for id in segment.ids(0, count):
            record = self.model[id] = Record()
            if delay_ms:
                record.state, record.due_ms = "deferred", self.now_ms + delay_ms

    @rule(target=subscribers, ready_count=st.integers(0, 9))
    def subscribe(self, ready_count: int) -> Subscriber:
        return subscribed(self.channel, ready_count)

    @rule(subscriber=consumes(subscribers))
    def leave(self, subscriber: Subscriber) -> None:
        self.channel.remove_subscriber(subscriber)
        for record in self.owned_by(subscriber).values():
            record.make_ready()

    @rule(subscriber=subscribers, ready_count=st.integers(0, 9))
    def change_ready_count(self, subscriber: Subscriber, ready_count: int) -> None:
        subscriber.ready_count = ready_count

    @rule(subscriber=subscribers, is_writable=st.booleans())
    def change_writable(self, subscriber: Subscriber, is_writable: bool) -> None:
        subscriber.is_writable = is_writable

    @rule()
    def deliver(self) -> None:
        rooms = {each: each.room() for each in self.channel.subscribers}
        for subscriber, message in delivered(self.channel, self.now_ms):
            record = self.model[message.id]
            assert record.state == "ready", "given though it was not ready"
            record.attempts += 1
            assert message.attempts == record.attempts
            record.state, record.owner, record.given_ms = "in flight", subscriber, self.now_ms
            record.due_ms = self.now_ms + TIMEOUT_MS
            rooms[subscriber] -= 1
            assert rooms[subscriber] >= 0, "given more than it was ready for"
        if any(record.state == "ready" for record in self.model.values()):
            assert not any(room > 0 for room in rooms.values()), "kept from who is ready"

    @rule(subscriber=subscribers, data=st.data())
    def finish(self, subscriber: Subscriber, data: st.DataObject) -> None:
        owned = sorted(self.owned_by(subscriber))
        ids = data.draw(st.lists(st.sampled_from(owned), unique=True)) if owned else []
        assert self.channel.finish(subscriber, ids) == []
        for id in ids:
            self.model[id].state = "finished"

    @rule(subscriber=subscribers, data=st.data())
    def finish_what_is_not_its_own(self, subscriber: Subscriber, data: st.DataObject) -> None:
        others = sorted(set(self.model) - set(self.owned_by(subscriber)))
        if others:
            id = data.draw(st.sampled_from(others))
            in_flight = self.model[id].state == "in flight"
            reason = NOT_OWNED if in_flight else NOT_IN_FLIGHT
            assert self.channel.finish(subscriber, [id]) == [(id, reason)]

    @rule(subscriber=subscribers, data=st.data(), delay_ms=st.sampled_from([0, 500]))
    def requeue(self, subscriber: Subscriber, data: st.DataObject, delay_ms: int) -> None:
        if owned := sorted(self.owned_by(subscriber)):
            id = data.draw(st.sampled_from(owned))
            assert self.channel.requeue(subscriber, id, delay_ms, self.now_ms) is None
            self.model[id].make_ready()
            if delay_ms:
                self.model[id].state, self.model[id].due_ms = "deferred", self.now_ms + delay_ms

    @rule(subscriber=subscribers, data=st.data())
    def touch(self, subscriber: Subscriber, data: st.DataObject) -> None:
        if owned := sorted(self.owned_by(subscriber)):
            id = data.draw(st.sampled_from(owned))
            assert self.channel.touch(subscriber, id, self.now_ms) is None
            record = self.model[id]
            latest_ms = record.given_ms + limits.MESSAGE_TIMEOUT_MAX_MS
            record.due_ms = min(self.now_ms + TIMEOUT_MS, latest_ms)

    @rule(passed_ms=st.integers(1, 700))
    def let_time_pass(self, passed_ms: int) -> None:
        self.now_ms += passed_ms
        self.channel.expire(self.now_ms)
        for record in self.model.values():
            if record.state in ("in flight", "deferred") and record.due_ms <= self.now_ms:
                record.make_ready()

    @rule()
    def empty(self) -> None:
        self.channel.empty(max((int(id, 16) for id in self.model), default=0))
        for record in self.model.values():
            record.state = "finished"

    @invariant()
    def counts_agree(self) -> None:
        states = [record.state for record in self.model.values()]
        assert self.channel.depth == states.count("ready")
        assert self.channel.in_flight_count == states.count("in flight")
        assert self.channel.deferred_count == states.count("deferred")

    @invariant()
    def settled_leases_do_not_pile_up(self) -> None:
        outstanding = self.channel.in_flight_count
        assert len(self.channel._leases._heap) <= 2 * outstanding + 64 + len(self.channel.subscribers)

    def owned_by(self, subscriber: Subscriber) -> dict[bytes, Record]:
        return {
            id: record
            for id, record in self.model.items()
            if record.owner is subscriber and record.state == "in flight"
        }


ChannelMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestChannelAgainstItsModel = ChannelMachine.TestCase


def test_ready_clients_get_equal_shares():
    channel = channel_of(segment_of(*[b"x"] * 100))
    clients = [subscribed(channel, 1000) for _ in range(4)]
    given = delivered(channel, 0)
    assert [sum(each is client for each, _ in given) for client in clients] == [25] * 4


def test_lone_messages_go_to_the_clients_in_turn():
    channel = channel_of()
    clients = [subscribed(channel, 1000) for _ in range(3)]
    takers = []
    for _ in range(6):
        channel.offer(segment_of(b"x"), 0)
        takers += [clients.index(client) for client, _ in delivered(channel, 0)]
    assert takers == [0, 1, 2, 0, 1, 2]


def test_client_whose_socket_is_full_is_passed_over():
    channel = channel_of(segment_of(*[b"x"] * 10))
    stuck, other = subscribed(channel, 100), subscribed(channel, 4)
    stuck.is_writable = False
    assert [client for client, _ in delivered(channel, 0)] == [other] * 4


def test_one_gift_is_bounded_in_bytes_but_has_at_least_one_message():
    large = limits.MESSAGE_SIZE_MAX
    channel = channel_of(segment_of(b"x" * large), segment_of(*[b"x" * 100_000] * 5))
    subscribed(channel, 100)
    sizes = []
    while gifts := channel.deliver(0):
        ((_, frames),) = gifts
        sizes.append(sum(map(len, frames)) // 100_000)
    assert sizes == [large // 100_000, 2, 2, 1]


def test_touch_cannot_extend_a_delivery_beyond_the_highest_timeout():
    channel = channel_of(segment_of(b"x"))
    client = subscribed(channel, 1)
    ((_, message),) = delivered(channel, 0)
    now_ms = 0
    while client.in_flight:
        now_ms += TIMEOUT_MS // 2
        assert now_ms <= limits.MESSAGE_TIMEOUT_MAX_MS
        channel.touch(client, message.id, now_ms)
        channel.expire(now_ms)
    assert now_ms == limits.MESSAGE_TIMEOUT_MAX_MS


def test_touched_message_does_not_time_out_with_those_it_was_given_with():
    channel = channel_of(segment_of(b"touched", b"not"))
    client = subscribed(channel, 2)
    touched, other = (message.id for _, message in delivered(channel, 0))
    channel.touch(client, touched, TIMEOUT_MS // 2)
    channel.expire(TIMEOUT_MS)
    assert list(client.in_flight) == [touched]
    assert [message.id for _, message in delivered(channel, TIMEOUT_MS)] == [other]


def test_what_a_sampling_client_is_not_sent_counts_as_finished():
    channel = channel_of(segment_of(*[b"x"] * 1000))
    subscribed(channel, 2500, sample_rate=20)
    given = delivered(channel, 0)
    assert 100 < len(given) < 350
    (progress,) = channel.changed
    assert progress.remaining == len(given)


def test_backlog_beyond_memory_is_left_unread_and_in_order(monkeypatch):
    monkeypatch.setattr(limits, "MEMORY_MESSAGES_MAX", 10)
    segments = [segment_of(*[b"%d" % n] * 6) for n in range(4)]
    channel = channel_of(*segments)
    assert (channel.ready_count, channel.unread, channel.depth) == (12, 12, 24)
    assert channel.cursor == segments[1].sequence
    assert not channel.has_finished(segments[3].sequence)
    client = subscribed(channel, 2500)
    given = delivered(channel, 0)
    assert channel.wants_more()
    channel.load(Progress(segments[2]), 0)
    # Though there is room again, what is published now waits behind what is unread.
    late = segment_of(b"late")
    channel.offer(late, 0)
    channel.load(Progress(segments[3], b"\1\1\0\1\1\1"), 0)
    assert channel.unread == 6, "the five finished ones were counted as unfinished"
    channel.load(Progress(late), 0)
    channel.skip_to(late.sequence)
    given += delivered(channel, 0)
    bodies = [message.body for _, message in given]
    assert bodies == [b"0"] * 6 + [b"1"] * 6 + [b"2"] * 6 + [b"3", b"late"]
    assert channel.finish(client, [message.id for _, message in given]) == []
    assert all(channel.has_finished(segment.sequence) for segment in [*segments, late])


def test_backlog_of_an_ephemeral_topic_beyond_memory_is_dropped(monkeypatch):
    monkeypatch.setattr(limits, "MEMORY_MESSAGES_MAX", 10)
    channel = Channel("c", 0, 0, random.Random(1), is_durable=False)
    for _ in range(5):
        channel.offer(segment_of(*[b"x"] * 6), 0)
    assert (channel.depth, channel.unread, channel.message_count) == (12, 0, 30)
