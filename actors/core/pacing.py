"""How many messages to ask nsqd for: RDY, from how full the reads are.

Pure. nsqd flushes its output buffer at once when a client has as many messages in flight as its RDY,
and else only after `output_buffer_timeout` (nsqd/protocol_v2.go, messagePump). So a small RDY is what
makes a lone message fast, and a large one what makes a backlog fast; this finds which is wanted. RDY
doubles whenever it was the limit, and falls to what was really in flight when for a while it was not.
"""

from msgspec import Struct

FALL_AFTER_MS = 50


class Pace(Struct):
    """The RDY of one connection. `ready_count_max`: its share of max_in_flight, and nsqd's limit."""

    ready_count_max: int
    ready_count: int = 1
    peak: int = 0
    limited_ms: int = 0

    def after_read(self, in_flight: int, now_ms: int) -> int:
        """The RDY to have after a read that left so many messages in flight."""
        self.peak = max(self.peak, in_flight)
        if in_flight >= self.ready_count:
            self.ready_count, self.peak, self.limited_ms = self.ready_count * 2, 0, now_ms
        elif now_ms - self.limited_ms >= FALL_AFTER_MS:
            self.ready_count, self.peak, self.limited_ms = max(1, self.peak), 0, now_ms
        return self.limit(self.ready_count_max)

    def limit(self, ready_count_max: int) -> int:
        """The RDY to have now that so many are allowed."""
        self.ready_count_max = max(1, ready_count_max)
        self.ready_count = min(self.ready_count, self.ready_count_max)
        return self.ready_count
