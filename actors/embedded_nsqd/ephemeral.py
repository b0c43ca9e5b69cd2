"""An ephemeral channel: it keeps a bounded number of messages, and drops what comes beyond. Pure.

As in nsqd, where its queue has mem-queue-size places and no disk behind them: a reader that was left behind
fills no disk. What it drops counts as finished, so that the journal can delete it.
"""

from . import limits
from .channel import Channel
from .segment import Segment
from .subscriber import Progress


class EphemeralChannel(Channel):
    """A `Channel` with at most EPHEMERAL_MESSAGES_MAX messages that are ready.

    What waited in its topic before it came is kept beyond that: it is in the journal already.
    """

    _dropped: frozenset[int] = frozenset()  # segments after `cursor`; the journal need not know of them yet

    def load(self, progress: Progress, now_ms: int, delay_ms: int = 0) -> None:
        """See `Channel`. What was dropped is not taken in."""
        if progress.segment.sequence in self._dropped:
            progress = Progress(progress.segment, b"\1" * progress.segment.count)
        super().load(progress, now_ms, delay_ms)

    def skip_to(self, sequence: int) -> None:
        """See `Channel`."""
        super().skip_to(sequence)
        self._dropped = frozenset()

    def empty(self, through: int) -> None:
        """See `Channel`."""
        super().empty(through)
        self._dropped = frozenset()

    def _leave_unread(self, segment: Segment) -> None:
        if self.is_durable and self.depth >= limits.EPHEMERAL_MESSAGES_MAX:
            progress = self._unfinished[segment.sequence] = Progress(segment)
            self._pass_over(progress, 0, segment.count)
            if self.unread:
                self._dropped |= {segment.sequence}
        else:
            super()._leave_unread(segment)

    def _make_ready(self, progress: Progress, start: int, stop: int) -> None:
        kept = start + min(stop - start, max(0, limits.EPHEMERAL_MESSAGES_MAX - self.ready_count))
        if kept < stop:
            self._pass_over(progress, kept, stop)
        if start < kept:
            super()._make_ready(progress, start, kept)
