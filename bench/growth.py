"""What many videos cost: CPU per play, memory and start-up, with 100, 10,000 and 1,000,000 videos.

    PATH="$(make -s nsqd):$PATH" python -m bench.growth [--plays 1000000] [--videos 100 10000 1000000]

For each number of videos a real nsqd holds plays of videos drawn at random, all with the same chance. With a
million videos nearly every play is of another video: the worst case. `dispatch.realtime_below` is 1 and the
deadline is an hour. So nothing is published while a backlog is drained, and the videos take the most memory
that they can. CPU is the time of consumer, counters and dispatcher until the last message is finished, in
four rounds:

new         every video is played for the first time (with fewer videos than plays: drawn at random)
pending     plays of videos drawn at random, all of them pending
published   after a restart, and after all were published: videos drawn at random, each one once, so every
            play is the first since its video was published (not if there are few videos, and not if there
            are so many that publishing them takes minutes)
again       the same plays again: all of their videos are pending

Memory is the growth of the proportional share (PSS) of all processes of the service, from no video to all of
them, all pending. "counting" is that of counters and dispatcher alone. Then the service is killed and started
again, for the time until it is ready, and for its memory. Publishes go to stdout, and that to /dev/null.

The floor of a look-up in memory is measured too: two gathers of numpy, of a slot and of a row, from arrays
of the size that the videos need, per look-up.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from msgspec import Struct

from actors.cli.launch import Service, wait_for
from actors.core.columns import guids_of, video_words
from actors.core.table import slots_for
from tests.support.queues import QueueProcess, open_queue
from tests.support.services import ANY_PORTS, reading

from .backlog import Queue, body
from .command import add_json, folder, need_nsqd, parser, show, write_json
from .drain import TIMEOUT_S, Drained, drain
from .processes import memory_mb_of, pids_of

VIDEOS = (100, 10_000, 1_000_000)
MANY = 100_000  # with fewer videos, too few plays can be the first since their video was published
PUBLISHED_MAX = 2_000_000
NSQD = "nsqd"
COUNTING = ("consumer", "counter-", "dispatcher")
KEEPING = ("counter-", "dispatcher")  # who has something of each video
SETTINGS = ["dispatch.realtime_below=1", 'publish.url=""', "client.enabled=false"]
HELD_BACK = "dispatch.deadline_s=3600"
AT_ONCE = "dispatch.deadline_s=1"
GATHERED = 4096  # rows at a time, for the floor
GATHERS = 256
COLUMNS = (
    "videos",
    "plays/s",
    "pending, µs",
    "x the fewest",
    "new, µs",
    "published, µs",
    "again, µs",
    "MB",
    "MB a million",
    "counting",
    "start, s",
    "floor, ns",
)


class Grown(Struct, frozen=True):
    """The figures for this number of videos. Memory: growth by process; `memory_again_mb` after a restart.

    `floor_ns`: of one look-up in memory.
    """

    videos: int
    new: Drained
    pending: Drained
    published: Drained | None
    again: Drained | None
    memory_mb: dict[str, float]
    memory_again_mb: dict[str, float]
    start_s: float
    floor_ns: float


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
    room = 4 * max(plays, videos)
    with open_queue(NSQD, path, f"--mem-queue-size={room}") as process:
        measured = _Measured(process, path / "state", videos, plays, overrides)
        with measured.running(HELD_BACK) as service:
            empty_mb = memory_mb_of(pids_of(service))
            new = measured.drain(service, measured.all_videos())
            pending = measured.drain(service, measured.drawn())
            memory_mb = memory_mb_of(pids_of(service))
            assert service.status()["plays"]["counted"] == measured.put, service.status()["plays"]
        started_s = time.monotonic()
        with measured.running(HELD_BACK) as service:
            start_s = time.monotonic() - started_s
            again_mb = memory_mb_of(pids_of(service))
        is_measured = MANY <= videos <= PUBLISHED_MAX
        published, again = measured.published_first() if is_measured else (None, None)
    return Grown(
        videos,
        new,
        pending,
        published,
        again,
        {name: memory_mb[name] - empty_mb[name] for name in memory_mb},
        {name: again_mb[name] - empty_mb[name] for name in again_mb},
        start_s,
        floor_ns(videos),
    )


class _Measured:
    """A service, started several times, and the plays that it gets."""

    def __init__(self, nsqd: QueueProcess, state: Path, videos: int, plays: int, overrides: list[str]):
        self._queue = Queue.of(nsqd)
        self._nsqd_pid = nsqd.pid
        self._state = state
        self._settings = [*ANY_PORTS, *SETTINGS, reading(self._queue.tcp_address), *overrides]
        self._chance = random.Random(1)
        words = video_words(self._chance.randbytes(16 * videos))
        self._bodies = [body(guid) for guid in guids_of(words)]
        self._plays = plays
        self.put = 0

    @contextmanager
    def running(self, deadline: str) -> Iterator[Service]:
        """The service with this deadline. It is killed at the end."""
        service = Service(self._state, [*self._settings, deadline])
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            service.start(stdout=nowhere)
            yield service
            service.kill()
        finally:
            os.close(nowhere)
            service.end()

    def all_videos(self) -> list[bytes]:
        """A play of each video, or plays of videos drawn at random if that is more."""
        if len(self._bodies) < self._plays:
            drawn = self._chance.choices(self._bodies, k=self._plays - len(self._bodies))
            return [*self._bodies, *drawn]
        return self._bodies

    def drawn(self) -> list[bytes]:
        """Plays of videos drawn at random."""
        return self._chance.choices(self._bodies, k=self._plays)

    def drain(self, service: Service, plays: list[bytes]) -> Drained:
        """Put plays on the queue, and let the service count them."""
        self._queue.pause()
        self._queue.put(plays)
        self.put += len(plays)
        counting = {name: pid for name, pid in pids_of(service).items() if name.startswith(COUNTING)}
        return drain(self._queue, counting | {NSQD: self._nsqd_pid}, len(plays))

    def published_first(self) -> tuple[Drained, Drained]:
        """Publish all, then play some of them twice: the figures of the first plays, and of the second."""
        with self.running(AT_ONCE) as service:
            wait_for(lambda: service.status()["caught_up"], "all published", TIMEOUT_S, service.log)
        plays = self._chance.sample(self._bodies, k=min(self._plays, len(self._bodies)))
        with self.running(HELD_BACK) as service:
            first = self.drain(service, plays)
            self._chance.shuffle(plays)
            return first, self.drain(service, plays)


def floor_ns(videos: int) -> float:
    """The CPU time (ns) of a look-up that finds a slot and a row, by numpy's gathers alone."""
    chance = np.random.default_rng(1)
    slots = chance.integers(0, videos, slots_for(videos), dtype=np.int32)
    cells = chance.integers(0, 1 << 62, (videos, 5))
    took_ns = 0
    for _ in range(GATHERS):
        at = chance.integers(0, len(slots), GATHERED)
        began_ns = time.process_time_ns()
        cells.take(slots.take(at), axis=0)
        took_ns += time.process_time_ns() - began_ns
    return took_ns / GATHERS / GATHERED


def _show(results: list[Grown]) -> None:
    fewest_us = _ours_us(results[0].pending)
    rows = []
    for one in results:
        mb, keeping_mb = sum(one.memory_mb.values()), _of(one.memory_mb, KEEPING)
        rows.append(
            (
                f"{one.videos:,}",
                f"{one.pending.plays_per_s:,.0f}",
                f"{_ours_us(one.pending):.2f}",
                f"{_ours_us(one.pending) / fewest_us:.2f}",
                f"{_ours_us(one.new):.2f}",
                *(f"{_ours_us(some):.2f}" if some else "" for some in (one.published, one.again)),
                f"{mb:.0f}",
                *(
                    f"{some / one.videos * 1e6:,.0f}" if one.videos >= MANY else ""
                    for some in (mb, keeping_mb)
                ),
                f"{one.start_s:.2f}",
                f"{one.floor_ns:.0f}",
            )
        )
    show(COLUMNS, rows, "many videos", texts=0)
    for one in results:
        _show_processes(one, results[0])


def _show_processes(one: Grown, fewest: Grown) -> None:
    def tell(figures: dict[str, float], what: str) -> None:
        by_process = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
        print(f"{one.videos:,} videos, {what}: {by_process}")

    for what, round in (
        ("pending", one.pending),
        ("new", one.new),
        ("published", one.published),
        ("again", one.again),
    ):
        if round:
            tell(round.cpu_us_a_play, f"{what}, µs")
    tell(_ratios(one.pending, fewest.pending), f"pending, x {fewest.videos:,} videos")
    if one.published and one.again:
        tell(_ratios(one.published, one.again), "published, x again")
        for what, round in (("published", one.published), ("again", one.again)):
            nsqd_us = round.cpu_us_a_play[NSQD]
            print(f"{one.videos:,} videos, {what}, x nsqd's CPU: {_ours_us(round) / nsqd_us:.2f}")
    tell(one.memory_mb, "MB")
    tell(one.memory_again_mb, "MB, again")


def _ratios(one: Drained, other: Drained) -> dict[str, float]:
    return {name: us / other.cpu_us_a_play[name] for name, us in one.cpu_us_a_play.items()}


def _ours_us(one: Drained) -> float:
    return _of(one.cpu_us_a_play, COUNTING)


def _of(figures: dict[str, float], processes: tuple[str, ...]) -> float:
    return sum(value for name, value in figures.items() if name.startswith(processes))


if __name__ == "__main__":
    main()
