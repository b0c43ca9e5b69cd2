"""How long the client has held publishing up, so that lateness by it is told from our own.

Pure: times in milliseconds on the wall clock. A hold-up is from when a batch leaves to when the client
has accepted it, with all failures and pauses in between, or the wait that its rate limit asks for. What
would have been in time without them is late by the client.
"""

from collections import deque

# Of a lateness that is older than so many publishes the rest counts as our own.
KEPT_MAX = 256


class HoldUps:
    """The last hold-ups, apart from one another and in order."""

    def __init__(self) -> None:
        self._past: deque[tuple[int, int]] = deque(maxlen=KEPT_MAX)
        self._began_ms: int | None = None

    def begin(self, now_ms: int) -> None:
        """It begins; nothing new while one goes on."""
        if self._began_ms is None:
            self._began_ms = now_ms

    def end(self, now_ms: int) -> None:
        """It is over."""
        if self._began_ms is not None:
            self.add(self._began_ms, now_ms)
            self._began_ms = None

    def add(self, began_ms: int, ended_ms: int) -> None:
        """One that is over; what earlier ones cover of it counts once."""
        if self._past:
            began_ms = max(began_ms, self._past[-1][1])
        if began_ms < ended_ms:
            self._past.append((began_ms, ended_ms))

    def since(self, from_ms: int) -> int:
        """How much of the time since then they took, those that are over."""
        total_ms = 0
        for began_ms, ended_ms in reversed(self._past):
            if ended_ms <= from_ms:
                break
            total_ms += ended_ms - max(began_ms, from_ms)
        return total_ms
