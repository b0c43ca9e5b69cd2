"""The simulated client: it honours keys, and raises at the moment when a promise is broken."""

from collections.abc import Callable

from actors.core.dispatcher.outbox import Batch, Entry

from .checks import Invariant, Violation
from .clock import START_MS, Clock
from .oracle import Counted, Oracle
from .plan import Plan

BATCH_SIZE_MAX = 20


class Client:
    """Takes batches. Knows the total of each video, and the content of each key."""

    def __init__(self, plan: Plan, clock: Clock, oracle: Oracle, is_troubled: Callable[[int], bool]):
        """`is_troubled(since_ms)`: whether anything happened since then that excuses a late publish."""
        self.totals: dict[bytes, int] = {}
        self.plays_judged = 0
        self.realtime_ms = 0  # the longest from commit to client, of a play below the limit without trouble
        self._plan = plan
        self._clock = clock
        self._oracle = oracle
        self._is_troubled = is_troubled
        self._contents: dict[str, list[Entry]] = {}

    def take(self, batch: Batch) -> None:
        """Take a batch, which may be sent again under its key."""
        entries = batch.entries
        if not 1 <= len({entry.video for entry in entries}) == len(entries) <= BATCH_SIZE_MAX:
            raise Violation(Invariant.WIDTH, f"{len(entries)} entries")
        known = self._contents.get(batch.key)
        if known is None:
            self._contents[batch.key] = entries
            for entry in entries:
                self._take_entry(entry)
        elif known != entries:
            raise Violation(Invariant.ONE_CONTENT_A_KEY, f"{batch.key}: {known}, then {entries}")

    def _take_entry(self, entry: Entry) -> None:
        known = self.totals.get(entry.video, 0)
        if entry.plays == known:
            raise Violation(Invariant.ONLY_CHANGED, f"a total of {known} again")
        if entry.plays < known:
            raise Violation(Invariant.NEVER_FALLS, f"{entry.plays} after {known}")
        if self._plan.every_play and known + 1 < self._plan.realtime_below and entry.plays != known + 1:
            raise Violation(Invariant.EVERY_STEP, f"{entry.plays} after {known}")
        plays = self._oracle.told(entry.video, known, entry.plays)
        oldest_ns = min(play.arrived_ns for play in plays)
        if entry.arrived_ns != oldest_ns:
            late_ms = (entry.arrived_ns - oldest_ns) / 1e6
            raise Violation(Invariant.OLDEST_ARRIVAL, f"its stamp is {late_ms} ms later than the oldest")
        untroubled = not self._is_troubled(min(play.produced.at_ms for play in plays))
        on_time = START_MS + self._clock.now_ms < oldest_ns // 1_000_000 + self._plan.deadline_ms
        if entry.overdue and untroubled and on_time:
            raise Violation(Invariant.OLDEST_ARRIVAL, "called overdue, but its deadline is not over")
        for ordinal, play in enumerate(plays, known + 1):
            if ordinal >= self._plan.realtime_below:
                self._judge(play)
            elif untroubled:
                self.realtime_ms = max(self.realtime_ms, self._clock.now_ms - play.received_ms)
        self.totals[entry.video] = entry.plays

    def _judge(self, play: Counted) -> None:
        """Check the deadline of a hot play, if it is promised: see `checks.py`."""
        produced, deadline_ms = play.produced, self._plan.deadline_ms
        latest_ms = produced.at_ms - produced.age_ms + deadline_ms
        if play.received_ms > latest_ms - deadline_ms // 2 or self._is_troubled(produced.at_ms):
            return
        self.plays_judged += 1
        late_ms = self._clock.now_ms - latest_ms
        if late_ms > 0:
            raise Violation(Invariant.DEADLINE, f"published {late_ms} ms late")
