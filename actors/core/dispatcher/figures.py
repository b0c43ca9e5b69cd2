"""What a dispatcher tells of its publishes besides totals: durations, answers, failures.

Pure. These figures begin with the service: a dispatcher goes on from what the one before told last. They are
memory only, and bounded: `ANSWERS_MAX` kinds of answers, `FAILURES_MAX` reasons.
"""

from collections.abc import Iterable

from msgspec import structs

from ..histogram import LATENCY_BOUNDS_S, PUBLISH_BOUNDS_S, SLACK_BOUNDS_S, WIDTH_BOUNDS, Histogram
from ..stats import FailureStats, PublishStats
from ..triggers import Trigger
from .outbox import Batch

ANSWERS_MAX = 30
FAILURES_MAX = 20  # the one that happened longest ago gives way to a new one
REASON_CHARACTERS_MAX = 200
OTHER = "other"


class PublishFigures:
    """The figures of all attempts to publish. Times are wall clock, in ns since 1970."""

    def __init__(self, deadline_ms: int, before: PublishStats = PublishStats()):
        """`before`: what an earlier dispatcher of this service told last."""
        self._deadline_ns = deadline_ms * 1_000_000
        self._durations = Histogram(PUBLISH_BOUNDS_S, before.duration_s)
        self._latencies = Histogram(LATENCY_BOUNDS_S, before.realtime_latency_s)
        self._slacks = Histogram(SLACK_BOUNDS_S, before.deadline_slack_s)
        self._widths = Histogram(WIDTH_BOUNDS, before.width)
        self._answers = dict(before.answers)
        self._failures = {one.reason: one for one in before.failures}

    def accepted(self, batch: Batch, answer: str, took_s: float, wall_ns: int) -> None:
        """The client has taken a batch. `answer`: "200", say. `took_s`: from when the attempt left."""
        self._durations.observe(took_s)
        self._count(answer)
        self._widths.observe(len(batch.entries))
        if batch.trigger is Trigger.REALTIME:
            for entry in batch.entries:
                if entry.arrived_ns:
                    self._latencies.observe((wall_ns - entry.arrived_ns) / 1e9)
        elif batch.trigger is Trigger.DEADLINE or batch.trigger is Trigger.OVERDUE:
            due_in_ns = self._deadline_ns - wall_ns
            for entry in batch.entries:
                if entry.arrived_ns:
                    self._slacks.observe((entry.arrived_ns + due_in_ns) / 1e9)

    def failed(self, why: str, answer: str, took_s: float, wall_ns: int) -> None:
        """An attempt failed. `why`: for people. `answer`: what the client answered, or that it did not."""
        self._durations.observe(took_s)
        self._count(answer)
        reason, now_ms = why[:REASON_CHARACTERS_MAX], wall_ns // 1_000_000
        before = self._failures.pop(reason, None) or FailureStats(reason, 0, now_ms, now_ms)
        if len(self._failures) >= FAILURES_MAX:
            del self._failures[next(iter(self._failures))]
        # At the end again: they are in the order in which each happened last.
        self._failures[reason] = structs.replace(before, count=before.count + 1, last_ms=now_ms)

    def stats(self, pending: Iterable[int] = ()) -> PublishStats:
        """The figures so far. `pending`: see `PublishStats`."""
        return PublishStats(
            self._durations.stats(),
            self._latencies.stats(),
            self._slacks.stats(),
            self._widths.stats(),
            dict(self._answers),
            list(self._failures.values()),
            list(pending),
        )

    def _count(self, answer: str) -> None:
        if answer not in self._answers and len(self._answers) >= ANSWERS_MAX:
            answer = OTHER
        self._answers[answer] = self._answers.get(answer, 0) + 1
