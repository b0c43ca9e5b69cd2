"""Traces of plays: when each play arrived on the queue, and when it was received. Pure, seeded.

    python -m bench.traces [NAME]     list the traces, or print one as JSON lines for `audit --plays`

Every trace has 100,000 plays by default. Times are whole milliseconds, as the dispatcher's times are. So the
plays of one millisecond are received together.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random

from actors.core.client.bound import Play
from producer.workload import Workload, make

from .command import parser

PLAYS = 100_000
START_MS = 1_795_500_000_000
MS = 1_000_000
READ_PLAYS = 2_500  # per read of a backlog, and a read takes 10 ms: 250,000 plays per second
READ_MS = 10
BURST_MS = 50


def make_trace(name: str, plays: int = PLAYS, seed: int = 1) -> list[Play]:
    """The plays of a trace in the order in which they are received; times in ns."""
    return TRACES[name](plays, seed)


def lines(trace: list[Play]) -> Iterator[str]:
    """A trace as JSON lines. `received_at_ns` and `total` are left out where the other fields imply them."""
    counted: Counter[object] = Counter()
    for play in trace:
        counted[play.video] += 1
        fields: dict[str, object] = {"video_id": play.video, "arrived_at_ns": play.arrived}
        if play.received != play.arrived:
            fields["received_at_ns"] = play.received
        if play.total != counted[play.video]:
            fields["total"] = play.total
        yield json.dumps(fields)


def _steady(
    seconds: float, workload: Callable[[int, int], Workload] = make
) -> Callable[[int, int], list[Play]]:
    """Plays at random times, all equally likely. `workload` makes their videos from (seed, plays)."""

    def trace(plays: int, seed: int) -> list[Play]:
        random = Random(seed)
        offsets = sorted(int(random.random() * seconds * 1000) for _ in range(plays))
        return _plays(workload(seed, plays), offsets)

    return trace


def _bursts(plays: int, seed: int) -> list[Play]:
    """200 bursts in an hour. In each, a two-hundredth of all plays comes within 50 ms."""
    random = Random(seed)
    moments = [random.random() * 3_600_000 for _ in range(200)]
    offsets = sorted(int(moments[i % 200] + random.random() * BURST_MS) for i in range(plays))
    return _plays(make(seed, plays), offsets)


def _all_quiet(plays: int, seed: int) -> list[Play]:
    """An hour in which no video reaches 100 plays."""
    videos = -(-plays // 90)
    return _steady(3600, partial(make, videos=videos, quiet_videos=videos))(plays, seed)


def _all_hot(plays: int, seed: int) -> list[Play]:
    """An hour of plays of videos that each had 100 plays before."""
    trace = _steady(3600, partial(make, quiet_videos=0))(plays, seed)
    return [play._replace(total=play.total + 100) for play in trace]


def _backlog(seconds: float) -> Callable[[int, int], list[Play]]:
    """All plays arrived within `seconds` before the service started, which receives them at full speed."""

    def trace(plays: int, seed: int) -> list[Play]:
        random = Random(seed)
        offsets = sorted(int(random.random() * seconds * 1000) for _ in range(plays))
        start_ms = int(seconds * 1000)
        received = [start_ms + at // READ_PLAYS * READ_MS for at in range(plays)]
        return _plays(make(seed, plays), offsets, received)

    return trace


def _plays(workload: Workload, arrived: list[int], received: list[int] | None = None) -> list[Play]:
    counted: Counter[int] = Counter()
    trace = []
    for video, arrived_ms, received_ms in zip(workload.order, arrived, received or arrived, strict=True):
        counted[video] += 1
        stamps = ((START_MS + arrived_ms) * MS, (START_MS + received_ms) * MS)
        trace.append(Play(workload.videos[video], *stamps, counted[video]))
    return trace


TRACES: dict[str, Callable[[int, int], list[Play]]] = {
    "10 min": _steady(600),
    "1 h": _steady(3600),
    "6 h": _steady(6 * 3600),
    "24 h": _steady(24 * 3600),
    "bursts": _bursts,
    "viral": _steady(3600, partial(make, distribution="viral")),
    "all quiet": _all_quiet,
    "all hot": _all_hot,
    "10,000 videos": _steady(3600, partial(make, videos=10_000, quiet_videos=1_500)),
    "backlog": _backlog(30),
    "old backlog": _backlog(3600),
}


def main() -> None:
    """Print the list of traces, or one trace."""
    arguments = parser(__doc__)
    arguments.add_argument("name", nargs="?", choices=TRACES, metavar="NAME", help=", ".join(TRACES))
    arguments.add_argument("--plays", type=int, default=PLAYS)
    arguments.add_argument("--seed", type=int, default=1)
    options = arguments.parse_args()
    if options.name is None:
        print("\n".join(TRACES))
        return
    for line in lines(make_trace(options.name, options.plays, options.seed)):
        print(line)


if __name__ == "__main__":
    main()
