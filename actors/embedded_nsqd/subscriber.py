"""One client of one channel: how much it may be given, and what it was given. Pure."""

from .segment import Segment


class Progress:
    """Which messages of one segment one channel has finished.

    `attempts` holds the deliveries so far of those that came back unfinished.
    """

    __slots__ = ("attempts", "finished", "remaining", "segment")

    def __init__(self, segment: Segment, finished: bytes | None = None) -> None:
        """`finished`: one byte a message, 1 where the journal says that it is finished."""
        self.segment = segment
        self.finished = bytearray(segment.count) if finished is None else bytearray(finished)
        self.remaining = self.finished.count(0)
        self.attempts: dict[int, int] | None = None


class Run:
    """Consecutive messages given to one subscriber at once: they share one timeout."""

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


class Subscriber:
    """A client as its channel sees it. Identified by object; the edge keeps its socket.

    `in_flight` maps a message's id to its run and its index there: only its owner can finish a
    message. `is_writable` is the edge's word on whether the client keeps up with its socket.
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
        self.in_flight: dict[bytes, tuple[Run, int]] = {}
        self.message_count = 0
        self.finish_count = 0
        self.requeue_count = 0

    def room(self) -> int:
        """How many messages it may be given now."""
        return self.ready_count - len(self.in_flight) if self.is_writable else 0
