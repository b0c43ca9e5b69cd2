"""How many messages to ask nsqd for: RDY, from how full the reads are and how old their messages.

Pure. nsqd flushes its output buffer at once when a client has as many messages in flight as its RDY,
and else only after `output_buffer_timeout` (nsqd/protocol_v2.go, messagePump). So a small RDY is what
makes a lone message fast, and a large one what makes a backlog fast; this finds which is wanted. RDY
doubles when it was the limit and even the newest message had waited, twice in a row, as one may be a
busy machine's doing; while that does not wait it is just right; and RDY falls to what was really in
flight when it was not the limit for a while, or at once when messages lay in the buffer. Where even the
newest message is older than the buffer can have made it, there is a backlog, and nothing makes RDY fall:
reads of a backlog come in the pieces in which nsqd writes, and what FIN makes room for is on its way.

Whether messages waited is told by their age, nsqd's stamp against our clock. The clocks may differ, so
the least age of late counts as none, up to `CLOCKS_DIFFER_MS_MAX`: what is older has waited for certain.
"""

from msgspec import Struct

FALL_AFTER_MS = 50
WAITED_MS = 1.0
WAITS_IN_A_ROW = 2
BACKLOG_MS = 50.0  # twice the longest that our output_buffer_timeout lets a message wait
BACKLOG_MESSAGES = 16  # fewer in flight, in many reads, may be lone ones of an nsqd whose clock is wrong
BUFFERED_MS = 10.0  # less than the least output_buffer_timeout of nsqd, 25 ms, and more than we take
CLOCKS_DIFFER_MS_MAX = 1000.0
LEAST_AGE_RISES_MS = 0.01  # with each read, so that a clock that was set is followed


class Pace(Struct):
    """The RDY of one connection. `ready_count_max`: its share of max_in_flight, and nsqd's limit."""

    ready_count_max: int
    ready_count: int = 1
    peak: int = 0
    limited_ms: int = 0
    waits: int = 0
    least_age_ms: float = CLOCKS_DIFFER_MS_MAX

    def after_read(self, in_flight: int, now_ms: int, newest_age_ms: float, oldest_age_ms: float) -> int:
        """The RDY to have after a read that left so many messages in flight, of those ages."""
        least_ms = min(newest_age_ms, self.least_age_ms + LEAST_AGE_RISES_MS, CLOCKS_DIFFER_MS_MAX)
        self.least_age_ms = least_ms
        self.peak = max(self.peak, in_flight)
        if in_flight >= self.ready_count:
            self.peak, self.limited_ms = in_flight, now_ms
            self.waits = self.waits + 1 if newest_age_ms - least_ms >= WAITED_MS else 0
            if self.waits >= WAITS_IN_A_ROW:
                self.ready_count *= 2
        elif newest_age_ms - least_ms >= BACKLOG_MS and self.peak >= BACKLOG_MESSAGES:
            if now_ms - self.limited_ms >= FALL_AFTER_MS:
                self.peak, self.limited_ms = max(in_flight, self.peak // 2), now_ms
        elif now_ms - self.limited_ms >= FALL_AFTER_MS:
            self.ready_count, self.peak, self.limited_ms = max(1, self.peak), 0, now_ms
        elif oldest_age_ms - least_ms >= BUFFERED_MS:
            self.ready_count = max(1, self.peak)  # which goes on: what follows may be a piece of a full read
        return self.limit(self.ready_count_max)

    def limit(self, ready_count_max: int) -> int:
        """The RDY to have now that so many are allowed."""
        self.ready_count_max = max(1, ready_count_max)
        self.ready_count = min(self.ready_count, self.ready_count_max)
        return self.ready_count
