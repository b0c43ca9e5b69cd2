"""What happened in the last hour and in the last day, as figures over time: the operator's page draws them.

A sample is what one look found: counts that only grow, and levels that go up and down. It is kept with a
step of 10 s for the last hour and of 4 min for the last day (there, a level is the highest of its step).
Rates come from the difference of two samples that follow each other. Pure but for the file; callers pass the
time.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..core.triggers import Trigger
from .history_file import HistoryFile, Record, Ring

SPANS = {"hour": Ring(step_s=10, places=360), "day": Ring(step_s=240, places=360)}
GAP_STEPS = 2.5  # two samples that are further apart do not follow each other: the service was down

# Measured times: of each, the sum in seconds and how many there were.
TIMES = ("realtime_latency", "deadline_slack", "publish_duration", "commit_duration")
_TRIGGERS = tuple(map(str, Trigger))
COUNTS = (
    *("received", "counted", "redelivered", "dead_lettered"),
    *_TRIGGERS,
    *("published", "failed", "rejected", "late", "late_by_client"),
    *("restarts", "cpu_s"),
    *(f"{name}_{what}" for name in TIMES for what in ("sum", "count")),
)
LEVELS = (
    *("pending_videos", "queue_depth", "in_flight_messages", "refused_videos", "oldest_age_s"),
    "memory_bytes",
)
SERIES = (*COUNTS, *LEVELS)
Sample = Mapping[str, float]


class History:
    """The samples of one service, kept in its state folder."""

    def __init__(self, folder: Path):
        self._file = HistoryFile(folder, list(SPANS.values()), SERIES)

    def open(self) -> None:
        """Go on from what the file has; logs what is wrong with it."""
        self._file.open()

    def add(self, sample: Sample, now_s: float) -> None:
        """Keep a sample. `now_s`: seconds since 1970. A figure that it lacks was not known."""
        hour, day = SPANS["hour"], SPANS["day"]
        record = Record(now_s, tuple(sample.get(name, math.nan) for name in SERIES))
        self._file.put(hour, record)
        began_s = now_s - now_s % day.step_s
        recent = [one for one in self._file.records(hour, now_s) if one.time_s >= began_s]
        self._file.put(day, Record(now_s, _with_highest(record, recent)))

    def shown(self, span: str, now_s: float) -> dict[str, Any]:
        """What GET /history answers. Raises `KeyError` for a span that is not in `SPANS`."""
        ring = SPANS[span]
        times_s, rows = _without_gaps(self._file.records(ring, now_s), ring.step_s)
        series = {name: [_shown(row.get(name)) for row in rows] for name in series_names()}
        return {"span": span, "step_s": ring.step_s, "times_s": times_s, "series": series}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def series_names() -> list[str]:
    """The names of the series, with their units, that are shown."""
    return list(_rates(dict.fromkeys(COUNTS, 0.0), 1.0)) + list(LEVELS)


def sample_of(status: Mapping[str, Any], known: set[str]) -> dict[str, float]:
    """The sample that a /status holds.

    `known`: which of "consumer", "counters" and "dispatcher" have told their figures since the start. What
    the others would tell is left out, else their sums would fall at each start.
    """
    found: dict[str, float] = {}
    plays, publishes = status["plays"], status["publishes"]
    if "counters" in known:
        found |= {name: plays[name] for name in ("received", "counted", "redelivered", "dead_lettered")}
        found["pending_videos"] = status["pending_videos"]
    if "dispatcher" in known:
        names = (*_TRIGGERS, "failed", "rejected", "late", "late_by_client")
        found |= {name: publishes[name] for name in names}
        found |= {"published": publishes["videos"], "refused_videos": status["refused_videos_total"]}
    if "consumer" in known:
        found["in_flight_messages"] = status["in_flight_messages"]
        found["oldest_age_s"] = plays["oldest_age_ms"] / 1000
    if status["nsq"]["depth"] is not None:
        found["queue_depth"] = status["nsq"]["depth"]
    for name in TIMES:
        if told := status.get("histograms", {}).get(f"{name}_s"):
            found |= {f"{name}_sum": told["sum"], f"{name}_count": told["count"]}
    processes = [status["supervisor"], *status["children"]]
    found["memory_bytes"] = sum(one["memory_bytes"] for one in processes)
    found["cpu_s"] = sum(one["cpu_s"] for one in processes)
    found["restarts"] = sum(one["restarts"] for one in status["children"])
    return {name: float(value) for name, value in found.items()}


def _with_highest(record: Record, recent: Sequence[Record]) -> tuple[float, ...]:
    """The values of a record, each level as the highest of all recent ones. NaN is lower than any."""
    first = len(COUNTS)
    of_levels = zip(*(one.values[first:] for one in (record, *recent)), strict=True)
    levels = (max((one for one in each if not math.isnan(one)), default=math.nan) for each in of_levels)
    return (*record.values[:first], *levels)


def _without_gaps(records: Sequence[Record], step_s: int) -> tuple[list[float], list[Mapping[str, float]]]:
    """The times and what is shown at each. A row without figures stands where the service was down."""
    times_s: list[float] = []
    rows: list[Mapping[str, float]] = []
    first = [Record(-math.inf, ())] if records else []
    for before, record in pairwise([*first, *records]):
        values = dict(zip(SERIES, record.values, strict=True))
        if record.time_s - before.time_s > GAP_STEPS * step_s:
            if before.values:
                times_s.append(round(before.time_s + step_s, 1))
                rows.append({})
            rows.append(values | dict.fromkeys(COUNTS, math.nan))
        else:
            then = dict(zip(SERIES, before.values, strict=True))
            grown = {name: values[name] - then[name] for name in COUNTS}
            rows.append(values | _rates(grown, record.time_s - before.time_s))
        times_s.append(round(record.time_s, 1))
    return times_s, rows


def _rates(grown: Mapping[str, float], seconds: float) -> dict[str, float]:
    """What is shown of counts that have grown by this in so many seconds."""
    a_minute = seconds / 60
    publishes = sum(grown[name] for name in _TRIGGERS)
    per_minute = ("failed", "rejected", "late", "late_by_client", "redelivered", "dead_lettered")
    return {
        "received_per_s": grown["received"] / seconds,
        "counted_per_s": grown["counted"] / seconds,
        **{f"publishes_per_minute_{name}": grown[name] / a_minute for name in _TRIGGERS},
        "videos_per_publish": _mean(grown["published"], publishes),
        **{f"{name}_per_minute": grown[name] / a_minute for name in per_minute},
        **{f"{name}_s": _mean(grown[f"{name}_sum"], grown[f"{name}_count"]) for name in TIMES},
        "restarts": grown["restarts"],
        "cpu_share": grown["cpu_s"] / seconds,
    }


def _mean(total: float, count: float) -> float:
    return total / count if count > 0 else math.nan


def _shown(value: float | None) -> float | None:
    """Return None for what is not known. A count that fell began at 0 again: what it missed is not known."""
    if value is None or not math.isfinite(value) or value < 0:
        return None
    return int(value) if value == int(value) else float(f"{value:.4g}")
