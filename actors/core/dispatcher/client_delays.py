"""When each batch would have left if the client had answered all batches at once.

Pure; times are milliseconds on a clock that is never set. If such a client would have had a video in time,
the video is late by the client. The client causes all failures, pauses and waits for the rate limit. It also
causes the backlog that they leave: while the backlog is published, batches wait for one another.

Batch number i was due at `due[i]`. When it was due and the client was free, it still took `ours[i]` on our
side: timers, questions to the counters, a full disk. With a client that answers at once, the batch would have
left at

    offered[i] = max(due[i], offered[i - 1]) + ours[i]

(Lindley's recursion for a queue with one server). So one number holds the whole past, and the number is exact
however long the client was away.
"""


class ClientDelays:
    """The past of all batches that the client accepted."""

    def __init__(self) -> None:
        self._offered_ms = 0
        self._free_ms = 0

    def offered_ms(self, due_ms: int, now_ms: int) -> int:
        """When a batch that leaves now and was due at `due_ms` would have left; never later than now."""
        ours_ms = max(0, now_ms - max(due_ms, self._free_ms))
        return min(now_ms, max(due_ms, self._offered_ms) + ours_ms)

    def answered(self, next_ms: int) -> None:
        """Note that an attempt was answered or failed. The client allows the next attempt at `next_ms`."""
        self._free_ms = max(self._free_ms, next_ms)

    def free_sooner(self, next_ms: int) -> None:
        """Note that the limit of the rate was raised: the client allows the next attempt at `next_ms`."""
        self._free_ms = min(self._free_ms, next_ms)

    def accepted(self, offered_ms: int) -> None:
        """Note that the client accepted the batch that would have left at `offered_ms`."""
        self._offered_ms = max(self._offered_ms, offered_ms)
