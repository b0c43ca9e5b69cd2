"""One client of one channel: how much it may be given, and what it was given. Pure."""

from .segment import Segment


class Progress:
    """Which messages of one segment one channel has finished.

    `finished`: one byte per message, 1 if it is finished. `remaining`: how many messages are not finished.
    `attempts`: how often a message came back unfinished, by its index; None if none came back.
    """

    __slots__ = ("attempts", "finished", "remaining", "segment")

    def __init__(self, segment: Segment, finished: bytes | None = None) -> None:
        """`finished` is what the journal has; None means that nothing is finished."""
        self.segment = segment
        self.finished = bytearray(segment.count) if finished is None else bytearray(finished)
        self.remaining = self.finished.count(0)
        self.attempts: dict[int, int] | None = None

    def count_attempt(self, index: int) -> None:
        """Record that a message came back unfinished. Its next delivery says one attempt more."""
        if self.attempts is None:
            self.attempts = {}
        self.attempts[index] = self.attempts.get(index, 0) + 1

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
    """Consecutive messages of one segment that one subscriber got at once: they share one timeout.

    It covers the indices from `start` to before `stop`. `given_ms`: when they were delivered (monotonic).
    `outstanding`: how many of its messages are still in flight.
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
        """Take the messages still in flight from the subscriber. Returns the fewest (start, stop) pairs."""
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

    `in_flight` maps the id of a message to its lease and its index in the segment. Only the subscriber that
    has a message in it can finish the message. `is_writable`: whether the client keeps up with its socket;
    its connection sets it. `ready_count` is the client's last RDY. `message_timeout_ms` and `sample_rate` (in
    %, 0 means all messages) are what it asked for in IDENTIFY.
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
        """How many messages it may be given now. 0 or less means that it may be given no message."""
        return self.ready_count - len(self.in_flight) if self.is_writable else 0
