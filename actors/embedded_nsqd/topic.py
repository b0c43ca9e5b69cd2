"""One topic: its channels, and the messages that wait for a first channel or the end of a pause. Pure.

Owns which segments belong to which channel, by the rules of nsqd/topic.go: every channel gets each segment
that is published while it exists and the topic is not paused. While the topic has no channel or is paused,
segments wait here (in the journal, if the topic has one). Then all channels that exist get them.
"""

import random
from collections import deque
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from . import limits
from .channel import Channel
from .ephemeral import EphemeralChannel
from .names import is_ephemeral
from .segment import Segment
from .subscriber import Subscriber


class TopicProgress(msgspec.Struct, frozen=True):
    """What the channels of one topic have finished and the journal does not know yet.

    `deleted`: sequence numbers of segments that no channel needs. `progress`: per segment and channel, the
    sequence number, the channel's row, how many messages are finished, and one byte per message, 1 if it is
    finished, or None if all are; then two bytes per message, how often it came back, or None if none did.
    """

    deleted: list[int]
    progress: list[tuple[int, int, int, bytes | None, bytes | None]]


class Topic:
    """The channels of one topic by name, and its sequence numbers.

    `last_sequence`: of the last segment published; `distributed_sequence`: of the last one that the channels
    have. `waiting_count`: messages between the two. `message_count` and `message_bytes` only grow, as in
    GET /stats. `resident`: segments that some channel has in memory.
    """

    def __init__(self, name: str, row: int, sampler: random.Random) -> None:
        """`row`: its id in the journal. `sampler`: draws the messages of clients with a sample rate."""
        self.name = name
        self.row = row
        self.is_ephemeral = is_ephemeral(name)
        self.is_paused = False
        self.channels: dict[str, Channel] = {}
        self.last_sequence = 0
        self.distributed_sequence = 0
        self.waiting_count = 0
        self.message_count = 0
        self.message_bytes = 0
        self.resident: WeakValueDictionary[int, Segment] = WeakValueDictionary()
        self._waiting: deque[Segment] = deque()  # of an ephemeral topic only
        self._sampler = sampler

    def add_channel(self, name: str, row: int, cursor: int | None = None) -> Channel:
        """A new channel. It gets the segments after `cursor`; by default, those not distributed yet."""
        cursor = self.distributed_sequence if cursor is None else cursor
        kind = EphemeralChannel if is_ephemeral(name) else Channel
        channel = kind(name, row, cursor, self._sampler, is_durable=not self.is_ephemeral)
        self.channels[name] = channel
        return channel

    def publish(self, segment: Segment, now_ms: int, delay_ms: int) -> None:
        """Take in a segment that is committed. Its messages are ready after `delay_ms`."""
        self.last_sequence = segment.sequence
        self.message_count += segment.count
        self.message_bytes += segment.body_bytes
        if self.channels and not self.is_paused:
            self.resident[segment.sequence] = segment
            self.distributed_sequence = segment.sequence
            for channel in self.channels.values():
                channel.offer(segment, now_ms, delay_ms)
        elif not self.is_ephemeral:
            self.waiting_count += segment.count
        elif kept := min(segment.count, limits.EPHEMERAL_MESSAGES_MAX - self.waiting_count):
            self.waiting_count += kept
            self._waiting.append(segment.head(kept))

    def release(self, now_ms: int, now_wall_ms: int) -> None:
        """Give the waiting messages to the channels, if there is a channel and no pause."""
        if not self.channels or self.is_paused:
            return
        for channel in self.channels.values():
            if self.is_ephemeral:
                for segment in self._waiting:
                    channel.offer(segment, now_ms, segment.due_wall_ms - now_wall_ms)
            else:
                channel.message_count += self.waiting_count
                channel.unread += self.waiting_count
        self._waiting.clear()
        self.waiting_count = 0
        self.distributed_sequence = self.last_sequence

    def empty(self) -> None:
        """Forget the waiting messages. The channels keep theirs."""
        self._waiting.clear()
        self.waiting_count = 0

    def changes(self) -> TopicProgress:
        """The messages that were finished, or came back, since the last `changes_written`."""
        deleted: list[int] = []
        progress: list[tuple[int, int, int, bytes | None, bytes | None]] = []
        for channel in self.channels.values():
            for change in channel.changed:
                sequence = change.segment.sequence
                finished = change.segment.count - change.remaining
                if change.remaining:
                    attempts = change.attempts_bytes()
                    progress.append((sequence, channel.row, finished, bytes(change.finished), attempts))
                elif self._is_needed(sequence):
                    progress.append((sequence, channel.row, finished, None, None))
                else:
                    deleted.append(sequence)
        return TopicProgress(deleted, progress)

    def changes_written(self) -> None:
        """Record that the journal has what `changes` returned."""
        for channel in self.channels.values():
            channel.changed.clear()

    def has_changes(self) -> bool:
        """Whether anything was finished, or came back, since the last `changes_written`."""
        return any(channel.changed for channel in self.channels.values())

    def _is_needed(self, sequence: int) -> bool:
        return not all(channel.has_finished(sequence) for channel in self.channels.values())


class Subscription(NamedTuple):
    """One client's place in one channel of one topic."""

    topic: Topic
    channel: Channel
    subscriber: Subscriber
