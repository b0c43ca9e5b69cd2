"""All topics and their journal.

Owns the order of journal and memory: a change is committed first and made in memory after, so
that a failed commit changes nothing. Callers pass the time. Knows no socket and no loop.
"""

import logging
import random

from . import limits
from .channel import Channel
from .ids import IdFactory
from .journal import QueueJournal
from .names import is_ephemeral
from .segment import Publication, build_segments
from .subscriber import Progress
from .topic import Topic

log = logging.getLogger(__name__)

_NO_ROW = 0  # the row of topics and channels that are kept in memory only


class Queue:
    """The topics by name. A method that raises `JournalError` or `StoreFailure` has changed nothing.

    `now_ms` is monotonic, `now_wall_ms` and `now_wall_ns` count since 1970. `staged_bytes`: the bytes of the
    message bodies that wait for `commit`.
    """

    def __init__(self, journal: QueueJournal, node_id: int, sampler: random.Random) -> None:
        self._journal = journal
        self._sampler = sampler
        self._ids = IdFactory(node_id, journal.last_tick())
        self._staged: dict[tuple[Topic, int], list[Publication]] = {}
        self.staged_bytes = 0
        self.topics = {topic.name: topic for topic in journal.topics(sampler)}

    # Topics and channels.

    def topic(self, name: str) -> Topic:
        """The topic with this name, which is made if it is missing."""
        topic = self.topics.get(name)
        if topic is None:
            row = _NO_ROW if is_ephemeral(name) else self._journal.add_topic(name)
            topic = self.topics[name] = Topic(name, row, self._sampler)
            log.info("topic %s: created", name)
        return topic

    def channel(self, topic: Topic, name: str, now_ms: int, now_wall_ms: int) -> Channel:
        """The channel, which is made if it is missing. A topic's first channel gets all waiting messages."""
        channel = topic.channels.get(name)
        if channel is None:
            row = _NO_ROW
            if not topic.is_ephemeral:
                row = self._journal.add_channel(topic.row, name, topic.distributed_sequence)
            channel = topic.add_channel(name, row)
            topic.release(now_ms, now_wall_ms)
            log.info("topic %s: channel %s created", topic.name, name)
        return channel

    def delete_topic(self, topic: Topic) -> None:
        """Delete a topic with its channels, its messages, and those staged for it."""
        if not topic.is_ephemeral:
            self._journal.delete_topic(topic.row)
        del self.topics[topic.name]
        for key in [key for key in self._staged if key[0] is topic]:
            del self._staged[key]
        log.info("topic %s: deleted", topic.name)

    def delete_channel(self, topic: Topic, channel: Channel) -> None:
        """Delete a channel. An ephemeral topic is deleted with its last channel."""
        if not topic.is_ephemeral:
            self._journal.delete_channel(topic.row, channel.row, topic.distributed_sequence)
        del topic.channels[channel.name]
        log.info("topic %s: channel %s deleted", topic.name, channel.name)
        if topic.is_ephemeral and not topic.channels:
            self.delete_topic(topic)

    def empty_topic(self, topic: Topic) -> None:
        """Delete the messages that wait for a first channel or the end of a pause."""
        if not topic.is_ephemeral:
            self._journal.empty_topic(topic.row, topic.distributed_sequence)
        topic.empty()

    def empty_channel(self, topic: Topic, channel: Channel) -> None:
        """Delete all messages of a channel, including those in flight."""
        through = topic.distributed_sequence
        if not topic.is_ephemeral:
            self._journal.empty_channel(topic.row, channel.row, through)
        channel.empty(through)

    def pause_topic(self, topic: Topic, is_paused: bool, now_ms: int, now_wall_ms: int) -> None:
        """Stop or resume the flow from a topic to its channels."""
        if not topic.is_ephemeral:
            self._journal.pause_topic(topic.row, is_paused, topic.distributed_sequence)
        topic.is_paused = is_paused
        topic.release(now_ms, now_wall_ms)

    def pause_channel(self, topic: Topic, channel: Channel, is_paused: bool) -> None:
        """Stop or resume deliveries from a channel."""
        if not topic.is_ephemeral:
            self._journal.pause_channel(channel.row, is_paused)
        channel.is_paused = is_paused

    # Messages.

    def stage(self, topic: Topic, bodies: list[bytes], stamp_ns: int, delay_ms: int = 0) -> None:
        """Keep messages for the next `commit`. Until then they are only in memory.

        `stamp_ns`: their arrival, in ns since 1970. They become ready `delay_ms` after it.
        """
        due_wall_ms = stamp_ns // 1_000_000 + delay_ms if delay_ms else 0
        publications = self._staged.setdefault((topic, due_wall_ms), [])
        publications.append(Publication(stamp_ns, bodies))
        self.staged_bytes += sum(map(len, bodies)) + limits.STAGED_MESSAGE_BYTES * len(bodies)

    def commit(self, now_ms: int, now_wall_ns: int) -> list[Topic]:
        """Publish all staged messages in one transaction. Returns the topics that got messages.

        If it raises, the staged messages are dropped and none of them is published.
        """
        staged, self._staged, self.staged_bytes = self._staged, {}, 0
        segments = [
            (topic, segment)
            for (topic, due_wall_ms), publications in staged.items()
            for segment in build_segments(publications, self._ids, now_wall_ns, due_wall_ms)
        ]
        durable = [(topic.row, segment) for topic, segment in segments if not topic.is_ephemeral]
        if durable:
            self._journal.append(durable)
        now_wall_ms = now_wall_ns // 1_000_000
        for topic, segment in segments:
            topic.publish(segment, now_ms, segment.due_wall_ms - now_wall_ms)
        return list(dict.fromkeys(topic for topic, _ in segments))

    def has_changes(self) -> bool:
        """Whether messages were finished since the last `flush`."""
        return any(topic.has_changes() for topic in self.topics.values())

    def flush(self) -> None:
        """Write down which messages were finished since the last call."""
        changed = [topic for topic in self.topics.values() if topic.has_changes()]
        durable = [topic.changes() for topic in changed if not topic.is_ephemeral]
        if durable:
            self._journal.record(durable)
        for topic in changed:
            topic.changes_written()

    def refill(self, topic: Topic, channel: Channel, now_ms: int, now_wall_ms: int) -> None:
        """Read a channel's backlog into memory until REFILL_MESSAGES or REFILL_BYTES are reached."""
        loaded_messages = loaded_bytes = 0
        through = topic.distributed_sequence
        read = self._journal.read(topic.row, channel.row, channel.cursor, through)
        for stored, finished, attempts in read:
            segment = topic.resident.setdefault(stored.sequence, stored)
            delay_ms = segment.due_wall_ms - now_wall_ms
            channel.load(Progress(segment, finished, attempts), now_ms, delay_ms)
            loaded_messages += segment.count
            loaded_bytes += len(segment.payload)
            if loaded_messages >= limits.REFILL_MESSAGES or loaded_bytes >= limits.REFILL_BYTES:
                break
        else:
            channel.skip_to(through)
