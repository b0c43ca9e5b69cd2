"""How many messages one client of a channel may be given, and which messages the client has. Pure."""

import struct

from . import limits
from .segment import Segment


class Progress:
    """Which messages of one segment one channel has finished.

    `finished`: one byte per message, 1 if it is finished. `remaining`: how many messages are not finished.
    `attempts`: how often each message came back unfinished, by its index; None if no message came back.
    """

    __slots__ = ("attempts", "finished", "remaining", "segment")

    def __init__(
        self, segment: Segment, finished: bytes | None = None, attempts: bytes | None = None
    ) -> None:
        """`finished` and `attempts`: the bytes from the journal.

        None means that no message is finished, or that none came back.
        """
        self.segment = segment
        self.finished = bytearray(segment.count) if finished is None else bytearray(finished)
        self.remaining = self.finished.count(0)
        self.attempts: dict[int, int] | None = None
        if attempts is not None:
            counts = struct.unpack(f">{segment.count}H", attempts)
            self.attempts = {index: count for index, count in enumerate(counts) if count}

    def count_attempt(self, index: int) -> None:
        """Record that a message came back unfinished: its next delivery has a higher number of attempts."""
        if self.attempts is None:
            self.attempts = {}
        self.attempts[index] = min(self.attempts.get(index, 0) + 1, limits.ATTEMPTS_MAX)

    def attempts_bytes(self) -> bytes | None:
        """`attempts` for the journal: two bytes per message. None if no message came back."""
        if self.attempts is None:
            return None
        counts = (self.attempts.get(index, 0) for index in range(self.segment.count))
        return struct.pack(f">{self.segment.count}H", *counts)

    def unfinished_spans(self) -> list[tuple[int, int]]:
        """The indices of the unfinished messages, as (start, stop) pairs in order."""
        spans = []
        start = self.finished.find(0)
        while start >= 0:
            stop = self.finished.find(1, start)
            stop = len(self.finished) if stop < 0 else stop
            spans.append((start, stop))
            start = self.finished.find(0, stop)
        return spans


class Lease:
    """Consecutive messages of one segment that one subscriber was given at once. They share one timeout.

    Their indices go from `start` to before `stop`. `given_ms`: when the messages were delivered (monotonic).
    `outstanding`: how many of the messages are still in flight.
    """

    __slots__ = ("given_ms", "outstanding", "progress", "start", "stop", "subscriber")

    def __init__(
        self, progress: Progress, subscriber: "Subscriber", start: int, stop: int, given_ms: int
    ) -> None:
        self.progress = progress
        self.subscriber = subscriber
        self.start = start
        self.stop = stop
        self.given_ms = given_ms
        self.outstanding = stop - start

    def take_back(self) -> list[tuple[int, int]]:
        """Take the messages that are still in flight from the subscriber, and count an attempt for each.

        Returns the indices of these messages as (start, stop) pairs. Consecutive indices are in one pair.
        """
        in_flight = self.subscriber.in_flight
        spans = []
        begun = -1
        for index, id in enumerate(self.progress.segment.ids(self.start, self.stop), self.start):
            entry = in_flight.get(id)
            if entry is not None and entry[0] is self:
                del in_flight[id]
                self.progress.count_attempt(index)
                begun = index if begun < 0 else begun
            elif begun >= 0:
                spans.append((begun, index))
                begun = -1
        if begun >= 0:
            spans.append((begun, self.stop))
        self.outstanding = 0
        return spans


class Subscriber:
    """A client as its channel sees it. Two subscribers are equal only if they are one object.

    `in_flight`: the messages that the client has and may finish, as a dict from a message's id to its lease
    and its index in the segment. `is_writable`: whether messages may be sent to the client. It is False until
    the answer to SUB is sent, while the client's socket is full, and while the connection closes. The
    connection sets it. `ready_count`: the client's last RDY. `message_timeout_ms` and `sample_rate` (in %, 0
    means all messages): what the client asked for in IDENTIFY.
    """

    __slots__ = (
        "finish_count",
        "in_flight",
        "is_writable",
        "message_count",
        "message_timeout_ms",
        "ready_count",
        "requeue_count",
        "sample_rate",
    )

    def __init__(self, message_timeout_ms: int, sample_rate: int = 0) -> None:
        self.ready_count = 0
        self.message_timeout_ms = message_timeout_ms
        self.sample_rate = sample_rate
        self.is_writable = True
        self.in_flight: dict[bytes, tuple[Lease, int]] = {}
        self.message_count = 0
        self.finish_count = 0
        self.requeue_count = 0

    def room(self) -> int:
        """How many messages the client may be given now. 0 or less means no message."""
        return self.ready_count - len(self.in_flight) if self.is_writable else 0
