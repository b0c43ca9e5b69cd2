"""Why the schedule makes more publishes than the bound: the bound is too low, or knowing the future helps.

    python -m bench.exact            cut-down traces, for which the exact minimum can be found (needs scipy)
    python -m bench.exact --rates    the trace "all hot" at several rates: the rule beside the bound

exact: the fewest publishes, by an integer programme that knows all plays beforehand. Where bound and exact
agree, the rule makes more publishes only because it does not know the future.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from random import Random
from typing import NamedTuple

import numpy as np

from actors.core.client.bound import Demand, Mode, Play, demands, publishes_min

from .command import parser, show
from .publishes import BATCH_SIZE_MAX, DEADLINE_MS, rule_publishes
from .traces import BURST_MS, MS, make_trace

SEEDS = 8
SECONDS = (600, 1200, 1800, 3600, 7200, 21_600)


def burst(videos: int, seed: int) -> list[Play]:
    """A burst of the trace "bursts": five plays per video on average, within 50 ms."""
    random, plays = Random(seed), []
    counted: Counter[int] = Counter()
    for at_ms in sorted(int(random.random() * BURST_MS) for _ in range(5 * videos)):
        video = int(random.random() * videos)
        counted[video] += 1
        plays.append(Play(video, at_ms * MS, at_ms * MS, counted[video]))
    return plays


def all_hot(videos: int, seconds: float, seed: int) -> list[Play]:
    """Plays at the rates of the trace "all hot". Some videos rest for a third of a deadline between plays."""
    random = Random(seed)
    found: list[tuple[int, int]] = []
    for video in range(1, videos + 1):
        at = 0.0
        while (at := at + random.expovariate(1 / (18.7 / videos * video))) <= seconds:
            found.append((int(at * 1000), video))
    return [Play(video, at * MS, at * MS, 1000 + number) for number, (at, video) in enumerate(sorted(found))]


def exact_minimum(wanted: Sequence[Demand], batch_size_max: int) -> int:
    """The fewest publishes, by an integer programme. Shares no code with the bound.

    A publish can wait until the earliest `last` of the demands that it serves, so no other times matter. The
    variables, for each of these times: the number of publishes, and the videos that they carry. A play that
    has to go alone counts as a separate video, which shares its video's place with no other play.
    """
    from scipy import optimize, sparse  # a library of the tests: no other benchmark needs it

    times = sorted({one.last for one in wanted})
    columns: dict[_Carried, int] = {}  # numbered after the columns of the times: their publishes
    rows: list[dict[int, int]] = []
    for number, one in enumerate(wanted):
        alone = number if one.alone else None
        carried = [_Carried(time, one.video, alone) for time in times if one.first <= time <= one.last]
        rows.append({columns.setdefault(each, len(times) + len(columns)): 1 for each in carried})
    for publishes, time in enumerate(times):
        places: dict[object, list[int]] = {}
        for each, column in columns.items():
            if each.time == time:
                places.setdefault(each.video, []).append(column)
        rows.append({publishes: batch_size_max} | dict.fromkeys(chain.from_iterable(places.values()), -1))
        # A publish carries a video at most once.
        rows += ({publishes: 1} | dict.fromkeys(of_video, -1) for of_video in places.values())
    at_least = [1] * len(wanted) + [0] * (len(rows) - len(wanted))
    matrix = sparse.dok_array((len(rows), len(times) + len(columns)))
    for number, row in enumerate(rows):
        for at, value in row.items():
            matrix[number, at] = value
    cost = np.array([1.0] * len(times) + [0.0] * len(columns))
    found = optimize.milp(
        cost,
        integrality=np.ones(len(cost), int),
        bounds=optimize.Bounds(0, len(wanted)),
        constraints=optimize.LinearConstraint(matrix.tocsr(), at_least, np.inf),
    )
    assert found.status == 0, found.message
    return round(found.fun)


class _Carried(NamedTuple):
    """A publish at this time carries the video, for all its pending plays or for one that goes `alone`."""

    time: int
    video: object
    alone: int | None


def main() -> None:
    """Measure and print one of the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--rates", action="store_true", help='how "all hot" depends on the rate of plays')
    if arguments.parse_args().rates:
        show(("all hot", "rule", "bound", "ratio"), _rates())
    else:
        show(("cut down", "batch size", "linger", "rule", "exact", "bound"), _cut_down())


def _rates() -> Iterator[tuple[str, ...]]:
    hour, mode = make_trace("all hot"), Mode(deadline=DEADLINE_MS * MS)
    begin = hour[0].arrived
    for seconds in SECONDS:
        trace = []
        for play in hour:
            at = (begin + (play.arrived - begin) * seconds // 3600) // MS * MS
            trace.append(play._replace(arrived=at, received=at))
        rule, bound = rule_publishes(trace, mode), publishes_min(demands(trace, mode), BATCH_SIZE_MAX)
        yield f"{seconds // 60} min", f"{rule:,}", f"{bound:,}", f"{rule / bound:.4f}"


def _cut_down() -> Iterator[tuple[str, ...]]:
    for videos, size, linger_ms in ((10, 2, 0), (10, 2, 10), (20, 4, 10)):
        mode = Mode(deadline=DEADLINE_MS * MS, realtime_linger=linger_ms * MS, batch_size_max=size)
        bursts = [burst(videos, seed) for seed in range(SEEDS)]
        yield f"burst of {videos} videos", f"{size}", f"{linger_ms} ms", *_found(bursts, mode)
    mode = Mode(deadline=DEADLINE_MS * MS, batch_size_max=2)
    hot = [all_hot(videos=10, seconds=200, seed=seed) for seed in (1, 2)]
    yield "10 hot videos", "2", "0 ms", *_found(hot, mode)


def _found(traces: list[list[Play]], mode: Mode) -> tuple[str, str, str]:
    rule = exact = bound = 0
    for plays in traces:
        wanted = demands(plays, mode)
        rule += rule_publishes(plays, mode)
        exact += exact_minimum(wanted, mode.batch_size_max)
        bound += publishes_min(wanted, mode.batch_size_max)
    return f"{rule:,}", f"{exact:,}", f"{bound:,}"


if __name__ == "__main__":
    main()
