"""What an ephemeral channel keeps, and what it drops; with a real journal."""

import pytest

from actors.embedded_nsqd import limits
from actors.embedded_nsqd.channel import Channel
from actors.embedded_nsqd.queue import Queue

from .test_queue import TIMES, bodies_of, channel_of, journal, publish, queue_on, read, rows

__all__ = ["journal"]  # the fixture
MOST = 10


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(limits, "EPHEMERAL_MESSAGES_MAX", MOST)


def numbers(start: int, stop: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, stop)]


def filled(queue: Queue, count: int) -> Channel:
    channel = channel_of(queue, "t", "c#ephemeral")
    publish(queue, "t", *numbers(0, count))
    return channel


def test_an_ephemeral_channel_keeps_the_first_messages_and_the_journal_forgets_the_rest(journal):
    queue = queue_on(journal)
    channel = filled(queue, 8)
    publish(queue, "t", *numbers(8, 15))
    publish(queue, "t", *numbers(15, 20))
    assert (channel.depth, channel.message_count) == (MOST, 20)
    queue.flush()
    assert rows(journal, "segments") == 2, "a segment that nobody needs is kept"
    subscriber, messages = read(queue, queue.topics["t"], channel)
    assert [message.body for message in messages] == numbers(0, MOST)
    channel.finish(subscriber, [message.id for message in messages])
    queue.flush()
    assert rows(journal, "segments") == 0


def test_another_channel_gets_what_an_ephemeral_one_drops(journal):
    queue = queue_on(journal)
    channel_of(queue, "t", "kept")
    filled(queue, 15)
    queue.flush()
    assert bodies_of(queue, "t", "kept") == numbers(0, 15)


def test_what_comes_back_to_a_full_ephemeral_channel_is_dropped(journal):
    queue = queue_on(journal)
    channel = filled(queue, MOST)
    subscriber, (message, *_) = read(queue, queue.topics["t"], channel, count=3)
    publish(queue, "t", *numbers(MOST, MOST + 2))
    channel.requeue(subscriber, message.id, 0, 0)
    assert channel.depth == MOST
    channel.remove_subscriber(subscriber)
    assert channel.depth == MOST


def test_what_is_dropped_behind_a_backlog_on_disk_is_not_read_from_there(journal, monkeypatch):
    monkeypatch.setattr(limits, "MEMORY_BYTES_MAX", 0)  # all of it is left on disk
    queue = queue_on(journal)
    channel = filled(queue, MOST)
    assert (channel.depth, channel.unread) == (MOST, MOST)
    publish(queue, "t", b"dropped")
    assert channel.unread == MOST
    monkeypatch.undo()
    assert bodies_of(queue, "t", "c#ephemeral") == numbers(0, MOST)
    assert channel.unread == 0
    channel.empty(queue.topics["t"].distributed_sequence)
    publish(queue, "t", b"after")
    assert bodies_of(queue, "t", "c#ephemeral") == [b"after"]


def test_an_ephemeral_topic_without_a_channel_keeps_the_first_messages(journal):
    queue = queue_on(journal)
    publish(queue, "t#ephemeral", *numbers(0, 8))
    publish(queue, "t#ephemeral", *numbers(8, 15))
    publish(queue, "t#ephemeral", *numbers(15, 20))
    topic = queue.topics["t#ephemeral"]
    assert (topic.waiting_count, topic.message_count) == (MOST, 20)
    queue.channel(topic, "c", **TIMES)
    assert bodies_of(queue, "t#ephemeral", "c") == numbers(0, MOST)
