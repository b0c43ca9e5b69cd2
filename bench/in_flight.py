"""What publishes at once cost in publishes, and what they gain in time: in virtual time.

    python -m bench.in_flight [--client-ms MS …] [--in-flight N …] [--picture docs/in_flight.svg]

Two loads, each for three minutes. quiet: plays of quiet videos at random moments, 20 a second, each of
another video. hot: 5,000 videos with a deadline of a minute, each played three times in it. The client takes
`--client-ms`, give or take a fifth. waited: the longest time from a play's arrival to the client's answer;
for hot videos a minute is in time.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from uuid import UUID

from msgspec import Struct

from actors.core.client.bound import Mode, Play

from . import panels
from .command import add_json, parser, show, write_json
from .publishes import BATCH_SIZE_MAX, DEADLINE_MS, OVERDUE_LINGER_MS, replay
from .traces import MS, START_MS

CLIENTS_MS = (10, 100, 1000)
IN_FLIGHT = (1, 2, 4, 8, 16)
SECONDS = 180
QUIET_PER_S = 20
HOT_VIDEOS = 5000
HOT_PLAYS_A_MINUTE = 3
STEP_MS = 50  # hot plays come in reads
VARY = 0.2
LOADS = ("quiet", "hot")


class Found(Struct, frozen=True):
    """One replay. `waited_ms`: the longest time from a play's arrival to the client's answer."""

    load: str
    client_ms: int
    in_flight: int
    publishes_a_minute: float
    waited_ms: int


def main() -> None:
    """Measure, print the table, and draw the picture."""
    arguments = parser(__doc__)
    arguments.add_argument("--client-ms", nargs="+", type=int, default=CLIENTS_MS, metavar="MS")
    arguments.add_argument("--in-flight", nargs="+", type=int, default=IN_FLIGHT, metavar="N")
    arguments.add_argument("--picture", metavar="FILE", help="draw it as SVG")
    add_json(arguments)
    options = arguments.parse_args()
    asked = [
        (load, client_ms, in_flight)
        for load in LOADS
        for client_ms in options.client_ms
        for in_flight in options.in_flight
    ]
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_measured, asked))
    rows = [
        (
            one.load,
            f"{one.client_ms} ms",
            f"{one.in_flight}",
            f"{one.publishes_a_minute:,.0f}",
            f"{one.waited_ms / 1000:.3g} s",
        )
        for one in found
    ]
    show(("load", "client", "in flight", "publishes/min", "waited"), rows)
    if options.picture:
        Path(options.picture).write_text(draw(found), encoding="utf-8")
    write_json(options.json, found)


def _measured(asked: tuple[str, int, int]) -> Found:
    return measure(*asked)


def measure(load: str, client_ms: int, in_flight: int) -> Found:
    """Replay a load."""
    trace = list(_quiet() if load == "quiet" else _hot())
    mode = Mode(
        deadline=DEADLINE_MS * MS,
        realtime_linger=0,
        overdue_linger=OVERDUE_LINGER_MS * MS,
        batch_size_max=BATCH_SIZE_MAX,
    )
    told = replay(trace, mode, client_ms, VARY, in_flight)
    seconds = (told[-1].received_ms - told[0].left_ms) / 1000
    waited_ms = max(one.received_ms - entry.arrived_ns // MS for one in told for entry in one.batch.entries)
    return Found(load, client_ms, in_flight, len(told) / seconds * 60, waited_ms)


def _quiet() -> Iterator[Play]:
    chance = Random(1)
    moments = sorted(chance.randrange(SECONDS * 1000) for _ in range(QUIET_PER_S * SECONDS))
    for number, moment_ms in enumerate(moments, 1):
        at_ns = (START_MS + moment_ms) * MS
        yield Play(UUID(int=number), at_ns, at_ns, 1)


def _hot() -> Iterator[Play]:
    chance = Random(1)
    plays = HOT_VIDEOS * HOT_PLAYS_A_MINUTE * SECONDS // 60
    moments = sorted(STEP_MS * chance.randrange(SECONDS * 1000 // STEP_MS) for _ in range(plays))
    totals: dict[int, int] = {}
    for moment_ms in moments:
        video = 1 + chance.randrange(HOT_VIDEOS)
        totals[video] = totals.get(video, 1000) + 1
        at_ns = (START_MS + moment_ms) * MS
        yield Play(UUID(int=video), at_ns, at_ns, totals[video])


def draw(found: list[Found]) -> str:
    """The picture: publishes and the longest wait of both loads, by how many may be on their way."""
    parts = []
    for load in LOADS:
        ones = [one for one in found if one.load == load]
        publishes: dict[str, list[tuple[float, float]]] = {}
        waits: dict[str, list[tuple[float, float]]] = {}
        for one in ones:
            name = f"client of {one.client_ms:,} ms"
            publishes.setdefault(name, []).append((one.in_flight, one.publishes_a_minute))
            waits.setdefault(name, []).append((one.in_flight, one.waited_ms / 1000))
        parts.append(panels.Panel(f"{load} videos: publishes a minute", publishes))
        parts.append(panels.Panel(f"{load} videos: longest wait, s", waits))
    return panels.draw(
        "What publishes at once cost and gain, by publish.in_flight_max", parts, across=len(LOADS)
    )


if __name__ == "__main__":
    main()
