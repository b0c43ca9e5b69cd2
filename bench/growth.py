"""What many videos cost: CPU per play, memory and start-up, with 100, 10,000 and 1,000,000 videos.

    PATH="$(make -s nsqd):$PATH" python -m bench.growth [--plays 1000000] [--videos 100 10000 1000000]

For each number of videos a real nsqd holds plays of videos drawn at random, all with the same chance. With a
million videos nearly every play is of another video: the worst case. `dispatch.realtime_below` is 1 and the
deadline is an hour. So nothing is published while the backlog is drained, every played video is pending, and
the videos take the most memory that they can. CPU is the time of consumer, counters and dispatcher until the
last message is finished. It is measured twice, with equally many plays: while the videos are new to the
ledgers, and when they are known. Memory is the growth of the proportional share (PSS) of all processes of
the service, from no video to all of them. Then the service is killed and started again, for the time until
it is ready, and for its memory.
"""

import random
import time
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from actors.cli.launch import Service
from tests.support.queues import open_queue
from tests.support.services import ANY_PORTS, reading

from .backlog import Queue, body
from .command import add_json, folder, need_nsqd, parser, show, write_json
from .drain import Drained, drain
from .processes import memory_mb_of, pids_of

VIDEOS = (100, 10_000, 1_000_000)
COUNTING = ("consumer", "counter-", "dispatcher")
HELD_BACK = ["dispatch.realtime_below=1", "dispatch.deadline_s=3600", "publish.stdout=false"]
COLUMNS = (
    "videos",
    "plays/s",
    "CPU a play, µs",
    "x the fewest",
    "first play, µs",
    "MB",
    "MB a million",
    "start, s",
)


class Grown(Struct, frozen=True):
    """The figures for this number of videos. Memory: growth by process; `memory_again_mb` after a restart."""

    videos: int
    new: Drained
    known: Drained
    memory_mb: dict[str, float]
    memory_again_mb: dict[str, float]
    start_s: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--plays", type=int, default=1_000_000)
    arguments.add_argument("--videos", type=int, nargs="+", default=VIDEOS)
    arguments.add_argument("--set", action="append", default=[], help="a setting, as for supervisor.py")
    add_json(arguments)
    options = arguments.parse_args()
    need_nsqd()
    results = []
    for videos in options.videos:
        with folder() as path:
            results.append(measure(path, videos, options.plays, options.set))
    _show(results)
    write_json(options.json, results)


def measure(path: Path, videos: int, plays: int, overrides: list[str]) -> Grown:
    """The figures for this number of videos."""
    with open_queue("nsqd", path, f"--mem-queue-size={2 * plays}") as process:
        queue = Queue.of(process)
        settings = [*ANY_PORTS, *HELD_BACK, reading(queue.tcp_address), *overrides]
        service = Service(path / "state", settings)
        chance = random.Random(1)
        known = [body(str(UUID(bytes=chance.randbytes(16)))) for _ in range(videos)]
        with service:
            pids = pids_of(service)
            empty_mb = memory_mb_of(pids)
            drawn = [chance.choices(known, k=plays) for _ in range(2)]
            new, known_already = (_drain(queue, pids, one) for one in drawn)
            memory_mb = memory_mb_of(pids)
            status = service.status()
            assert status["plays"]["counted"] == 2 * plays, status["plays"]
            service.kill()
        started_s = time.monotonic()
        with service:
            start_s = time.monotonic() - started_s
            again_mb = memory_mb_of(pids_of(service))
            service.kill()
    return Grown(
        len({play for one in drawn for play in one}),
        new,
        known_already,
        {name: memory_mb[name] - empty_mb[name] for name in memory_mb},
        {name: again_mb[name] - empty_mb[name] for name in again_mb},
        start_s,
    )


def _drain(queue: Queue, pids: dict[str, int], plays: list[bytes]) -> Drained:
    """Put plays on the queue, and let the service count them."""
    queue.pause()
    queue.put(plays)
    counting = {name: pid for name, pid in pids.items() if name.startswith(COUNTING)}
    return drain(queue, counting, len(plays))


def _show(results: list[Grown]) -> None:
    fewest_us = sum(results[0].known.cpu_us_a_play.values())
    rows = []
    for one in results:
        us, mb = sum(one.known.cpu_us_a_play.values()), sum(one.memory_mb.values())
        rows.append(
            (
                f"{one.videos:,}",
                f"{one.known.plays_per_s:,.0f}",
                f"{us:.2f}",
                f"{us / fewest_us:.2f}",
                f"{sum(one.new.cpu_us_a_play.values()):.2f}",
                f"{mb:.0f}",
                f"{mb / one.videos * 1e6:,.0f}" if one.videos > 100_000 else "",
                f"{one.start_s:.2f}",
            )
        )
    show(COLUMNS, rows, "many videos", texts=0)
    for one in results:
        for figures, unit in (
            (one.known.cpu_us_a_play, "µs"),
            (one.memory_mb, "MB"),
            (one.memory_again_mb, "MB, again"),
        ):
            by_process = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
            print(f"{one.videos:,} videos, {unit}: {by_process}")


if __name__ == "__main__":
    main()
