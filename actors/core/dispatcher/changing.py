"""What somebody may change of a dispatcher while it runs: its limits, its lingers, and whether it publishes.

Pure. While publishing is paused no attempt leaves: no new batch, no half, no batch in doubt, no try of a
refused video, no republish. What is on its way ends as usual, and so does a batch for which the counters are
asked for totals when the pause begins. What is pending stays in the schedule, with its due times. So what is
due after the pause leaves at once, and a deadline that the pause made late is not the client's.

A drain in a pause publishes nothing. It is over when nothing is on its way any more.
"""

from msgspec import Struct, structs

from .batches import ON_ITS_WAY, BatchState, Phase
from .collecting import Collecting
from .shortage import Shortage


class Controls(Struct, frozen=True):
    """What may change. See `Attempts` and `Rule`. `paused`: whether publishing is."""

    rate_max_per_s: float
    in_flight_max: int
    realtime_linger_ms: int
    overdue_linger_ms: int
    paused: bool = False


class Changing(Collecting):
    """The rules that hold until somebody changes them."""

    def use_controls(self, controls: Controls, now_ms: int) -> None:
        """Hold to these from now on. Call `wake` after this."""
        if self.attempts.paused:
            self._full_ms = now_ms  # the pause was no work of ours
        self.attempts.paused = controls.paused
        self.attempts.use_limits(controls.rate_max_per_s, controls.in_flight_max, now_ms)
        self._lead_time.use_limits(self.attempts.interval_ms, controls.in_flight_max)
        rule = structs.replace(
            self._schedule.rule,
            realtime_linger_ms=controls.realtime_linger_ms,
            overdue_linger_ms=controls.overdue_linger_ms,
        )
        self._schedule.use_rule(rule)

    def shortage(self, now_ms: int) -> Shortage | None:
        """By how much too few publishes can be made for the pending deadlines; None if they are enough."""
        return None if self.attempts.paused else self._schedule.shortage(now_ms)

    @property
    def drained(self) -> bool:
        """Whether all plays of the linked counters are published, and recorded in their ledgers, but those of
        videos that the client refuses. In a pause: whether nothing is on its way, or still to be recorded.
        """
        is_settled = not self.batches.accepted and self.accepted.due_ms is None
        if self.attempts.paused:
            return is_settled and not self.batches.within(BatchState.ASKED, *ON_ITS_WAY)
        is_told = len(self._schedule) == len(self.refused)  # those wait apart
        everything_heard = not self._barrier_due and not self._silent
        return self.phase is Phase.IDLE and is_told and is_settled and everything_heard
