"""Decides whether a figure grows while a load stays the same. Pure.

The first third of a run is its warm-up. What is left has six equal parts. Compared are the medians of three
windows: the first part, the two in the middle, and the last part. So neither a single sample nor a saw-tooth
that is shorter than a part decides anything. A figure grows if the last median is above the first one by more
than 2 %, and by more than what its kind may vary by (`ALLOWED`).
"""

import statistics
from collections.abc import Sequence

from msgspec import Struct

SHARE = 0.02
# By unit. MB: what the allocators of Python and SQLite keep or return. MB on disk: a WAL, which is written
# from its beginning again. The others: something that comes and goes, such as a connection.
ALLOWED = {"MB": 1.0, "MB on disk": 1.0, "descriptors": 1.0, "threads": 1.0, "files": 1.0, "videos": 1.0}
PARTS = 9  # of the whole run: three are the warm-up
_FIRST, _MIDDLE, _LAST = (3, 4), (5, 7), (8, 9)
HOUR_S = 3600.0


class Sample(Struct, frozen=True):
    """What was there at one moment, in seconds since the run began: values by (of what, unit)."""

    at_s: float
    values: dict[tuple[str, str], float]


class Trend(Struct, frozen=True):
    """How one figure went: the medians of the three windows, and the growth from the first to the last."""

    what: str
    unit: str
    first: float
    middle: float
    last: float
    percent_an_hour: float
    grows: bool


def trends(samples: Sequence[Sample]) -> list[Trend]:
    """The trend of each figure, in the order in which they came up.

    A figure that a sample does not have is 0 there. Raises `ValueError` for fewer than `PARTS` samples.
    """
    if len(samples) < PARTS:
        raise ValueError(f"{len(samples)} samples, expected {PARTS} or more")
    first, middle, last = (
        samples[len(samples) * begin // PARTS : len(samples) * end // PARTS]
        for begin, end in (_FIRST, _MIDDLE, _LAST)
    )
    between_s = statistics.median(one.at_s for one in last) - statistics.median(one.at_s for one in first)
    found = []
    for what, unit in dict.fromkeys(name for one in samples for name in one.values):
        before, between, after = (
            statistics.median(one.values.get((what, unit), 0.0) for one in window)
            for window in (first, middle, last)
        )
        grown = after - before
        percent = 100 * grown / before / between_s * HOUR_S if before else 0.0
        grows = grown > max(SHARE * before, ALLOWED[unit])
        found.append(Trend(what, unit, before, between, after, percent, grows))
    return found
