"""The details in the status: histograms, answers, failures, what is pending by due time, stores, restarts.

All of them begin with the service, and go on when a child is restarted. Metrics are made of them too.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..core.histogram import (
    COMMIT_BOUNDS_S,
    LATENCY_BOUNDS_S,
    PUBLISH_BOUNDS_S,
    SLACK_BOUNDS_S,
    WIDTH_BOUNDS,
    HistogramStats,
    shape,
)
from ..core.stats import PENDING_SHARES, CounterStats, DispatcherStats, PublishStats, Stats
from ..supervision.restarts import Restarted
from ..supervision.worker import Worker

_PUBLISHED: dict[str, tuple[tuple[float, ...], Callable[[PublishStats], HistogramStats]]] = {
    "realtime_latency_s": (LATENCY_BOUNDS_S, lambda one: one.realtime_latency_s),
    "deadline_slack_s": (SLACK_BOUNDS_S, lambda one: one.deadline_slack_s),
    "publish_duration_s": (PUBLISH_BOUNDS_S, lambda one: one.duration_s),
    "batch_width": (WIDTH_BOUNDS, lambda one: one.width),
}


def details(
    stats: Iterable[Stats], by_child: Mapping[str, Stats], stored: Mapping[str, int], deadline_s: float
) -> dict[str, Any]:
    """Return these keys of the status. `stats`: of all children. `stored`: the bytes of each one's store."""
    stats = list(stats)
    published = [one.published for one in stats if isinstance(one, DispatcherStats)]
    counters = [one for one in stats if isinstance(one, CounterStats)]
    return {
        "pending_by_deadline": _pending(published, deadline_s),
        "histograms": {
            **{
                name: shape(bounds, _sum(map(part, published))) for name, (bounds, part) in _PUBLISHED.items()
            },
            "commit_duration_s": shape(COMMIT_BOUNDS_S, _sum(one.commit_duration_s for one in counters)),
        },
        "answers": [
            {"status": answer, "count": count} for one in published for answer, count in one.answers.items()
        ],
        "failures": [  # the latest ones last
            {
                "reason": one.reason,
                "count": one.count,
                "first_at": iso(one.first_ms / 1000),
                "last_at": iso(one.last_ms / 1000),
            }
            for each in published
            for one in each.failures
        ],
        "stores": [
            {
                "child": child,
                "bytes": stored.get(child, 0),
                "commits": one.commits,
                "seen_ids": one.seen_ids,
            }
            for child, one in sorted(by_child.items())
            if isinstance(one, CounterStats)
        ],
    }


def restarts(latest: Iterable[Restarted]) -> list[dict[str, Any]]:
    """Return the latest restarts of children, oldest first."""
    return [
        {"at": iso(one.at_s), "child": one.child, "how": one.how, "incarnation": one.incarnation}
        for one in latest
    ]


def last_exit(worker: Worker, wall_s: float) -> dict[str, Any] | None:
    """Return when and how a child ended last without being told to; None if it never did."""
    ago_s = worker.last_exit_ago_s
    if worker.last_exit is None or ago_s is None:
        return None
    return {"at": iso(wall_s - ago_s), "how": str(worker.last_exit), "ago_s": round(ago_s, 1)}


def iso(wall_s: float) -> str:
    """Return a moment as ISO 8601 in UTC, in milliseconds. `wall_s`: seconds since 1970."""
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _pending(published: list[PublishStats], deadline_s: float) -> list[dict[str, Any]]:
    """The videos in no batch by when they are due, each counted once; 0 s: they are due now."""
    pending = next((one.pending for one in published if one.pending), [0] * len(PENDING_SHARES))
    return [
        {"within_s": round(share * deadline_s, 3), "videos": videos}
        for share, videos in zip(PENDING_SHARES, pending, strict=True)
    ]


def _sum(parts: Iterable[HistogramStats]) -> HistogramStats:
    total = HistogramStats()
    for part in parts:
        total = total.plus(part)
    return total
