"""One topic: its channels, and what waits for the first of them or for the end of a pause. Pure.

Owns which segments belong to which channel: every channel gets a copy of each segment published
while it exists and the topic is not paused; while there is no channel, or a pause, segments wait
here (in the journal, where the topic has one) for all channels that exist when they move on.
"""

import random
from collections import deque
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec

from . import limits
from .channel import Channel
from .names import is_ephemeral
from .segment import Segment
from .subscriber import Subscriber


class Changes(msgspec.Struct, frozen=True):
    """What channels have finished since it was last written down.

    `deleted`: segments that no channel needs. `progress`: (segment, channel row, messages
    finished, one byte a message or None when all are finished).
    """

    deleted: list[int]
    progress: list[tuple[int, int, int, bytes | None]]


class Topic:
    def __init__(self, name: str, row: int, sampler: random.Random) -> None:
        self.name = name
        self.row = row
        self.is_ephemeral = is_ephemeral(name)
        self.is_paused = False
        self.channels: dict[str, Channel] = {}
        self.last_sequence = 0
        self.distributed_sequence = 0  # up to here, segments are the channels' alone
        self.waiting_count = 0
        self.message_count = 0
        self.message_bytes = 0
        self.resident: WeakValueDictionary[int, Segment] = WeakValueDictionary()
        self._waiting: deque[Segment] = deque()  # of an ephemeral topic only
        self._sampler = sampler

    def add_channel(self, name: str, row: int, cursor: int | None = None) -> Channel:
        """`cursor`: the last segment that is not this channel's; by default all distributed."""
        cursor = self.distributed_sequence if cursor is None else cursor
        channel = Channel(name, row, cursor, self._sampler, is_durable=not self.is_ephemeral)
        self.channels[name] = channel
        return channel

    def remove_channel(self, name: str) -> Channel:
        return self.channels.pop(name)

    def publish(self, segment: Segment, now_ms: int, delay_ms: int) -> None:
        """A segment that is committed."""
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
        elif self.waiting_count < limits.MEMORY_MESSAGES_MAX:
            self.waiting_count += segment.count
            self._waiting.append(segment)

    def release(self, now_ms: int, now_wall_ms: int) -> None:
        """Moves what waits on to the channels, where there are any and no pause."""
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
        """Forgets what waits here. The channels keep theirs."""
        self._waiting.clear()
        self.waiting_count = 0

    def changes(self) -> Changes:
        deleted: list[int] = []
        progress: list[tuple[int, int, int, bytes | None]] = []
        for channel in self.channels.values():
            for change in channel.changed:
                sequence = change.segment.sequence
                finished = change.segment.count - change.remaining
                if change.remaining:
                    progress.append((sequence, channel.row, finished, bytes(change.finished)))
                elif self._is_needed(sequence):
                    progress.append((sequence, channel.row, finished, None))
                else:
                    deleted.append(sequence)
        return Changes(deleted, progress)

    def changes_written(self) -> None:
        """What changes() said is in the journal now."""
        for channel in self.channels.values():
            channel.changed.clear()

    def has_changes(self) -> bool:
        return any(channel.changed for channel in self.channels.values())

    def _is_needed(self, sequence: int) -> bool:
        return not all(channel.has_finished(sequence) for channel in self.channels.values())


class Subscription(NamedTuple):
    """A client in one channel of one topic."""

    topic: Topic
    channel: Channel
    subscriber: Subscriber
