"""How long the client has delayed publishing. This separates lateness by the client from our own.

Pure; times are milliseconds on the wall clock. A delay lasts from when a batch leaves until the client has
accepted it; failures and pauses in between count too. A wait for the client's rate limit is also a delay. A
video that would have been in time without the delays is late by the client.
"""

from collections import deque

# Delays kept. Lateness from before them counts as our own.
KEPT_MAX = 256


class ClientDelays:
    """The last delays, in order. They do not overlap."""

    def __init__(self) -> None:
        self._past: deque[tuple[int, int]] = deque(maxlen=KEPT_MAX)
        self._began_ms: int | None = None

    def begin(self, now_ms: int) -> None:
        """Start a delay; ignored if one is already running."""
        if self._began_ms is None:
            self._began_ms = now_ms

    def end(self, now_ms: int) -> None:
        """End the running delay; ignored if no delay is running."""
        if self._began_ms is not None:
            self.add(self._began_ms, now_ms)
            self._began_ms = None

    def add(self, began_ms: int, ended_ms: int) -> None:
        """Add a delay that is over. The part that an earlier delay covers is left out."""
        if self._past:
            began_ms = max(began_ms, self._past[-1][1])
        if began_ms < ended_ms:
            self._past.append((began_ms, ended_ms))

    def since(self, from_ms: int) -> int:
        """How many milliseconds since `from_ms` belong to delays that are over."""
        total_ms = 0
        for began_ms, ended_ms in reversed(self._past):
            if ended_ms <= from_ms:
                break
            total_ms += ended_ms - max(began_ms, from_ms)
        return total_ms
