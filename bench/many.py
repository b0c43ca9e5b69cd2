"""What many videos cost, from a hundred on: CPU, memory, disk, start, and every way to look at them.

    PATH="$(make -s nsqd):$PATH" python -m bench.many [--videos 100 10000 1000000 5000000]
    PATH="$(make -s nsqd):$PATH" python -m bench.many --draw docs/many_videos.svg

For each number of videos a state folder is made in which each was played once and published
(`bench/many_state.py`). A service with its reference client is started on it, and reads a real nsqd:

- start: from the command until all children run, with the CPU and the memory (PSS) of all processes then
- `status`: the command, until it has ended; the page: GET / and the first picture of GET /events
- CPU a play: that of consumer, counters and dispatcher, while `--plays` plays of videos drawn at random are
  drained. Nothing is published meanwhile, as in `bench.growth`
- back: a counter is killed; until another one has its ledger and its links
- `totals`: the command, until its first row and until its last, beside the running service
- disk: all of the state folder, after that

nsqd's CPU a play (`bench/unit.py`) is of the same run: compare CPU with it, and on a busy machine believe CPU
more than seconds. Publishes are computed (`bench/scaling.py`), for `PLAYS_A_DAY` plays a day.

`--draw` draws all of it, to 10^8 videos: beyond what was measured by the slope of the last two measured
numbers. With `--json` the figures are kept, and `--from` draws them again.
"""

import argparse
import contextlib
import http.client
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec
from msgspec import Struct

from actors.cli.launch import COMMAND, Service, wait_for
from actors.system.addresses import split_address
from actors.system.installation import environment
from tests.support.queues import open_queue
from tests.support.services import ANY_PORTS, reading

from . import many_picture, many_state
from .backlog import Queue, body
from .command import add_json, folder, need_nsqd, parser, show, write_json
from .drain import drain
from .growth import COUNTING, HELD_BACK
from .processes import MB, cpu_s, memory_mb_of, pids_of, printed
from .scaling import Costs, load_of
from .unit import nsqd_us_a_play

VIDEOS = (100, 10_000, 1_000_000, 5_000_000)
TIMEOUT_S = 300.0
KILLED = "counter-0"
PLAYS_A_DAY = (10**7, 10**9)
COLUMNS = (
    "videos",
    "start, s",
    "CPU, s",
    "MB",
    "status, s",
    "CPU, s",
    "page, s",
    "CPU a play, µs",
    "x nsqd",
    "back, s",
    "totals: first, s",
    "all, s",
    "CPU, s",
    "disk, MB",
)


class Many(Struct, frozen=True):
    """The figures for this number of videos. `start_cpu_s`, `memory_mb`: of all processes of the service."""

    videos: int
    start_s: float
    start_cpu_s: float
    memory_mb: float
    status_s: float
    status_cpu_s: float
    page_s: float
    play_us: float
    nsqd_us: float
    back_s: float
    first_row_s: float
    all_rows_s: float
    totals_cpu_s: float
    disk_mb: float


def main(words: list[str] | None = None) -> None:
    """Measure, print the table, and draw the picture."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, nargs="+", default=VIDEOS, metavar="N")
    arguments.add_argument(
        "--plays", type=int, default=300_000, metavar="N", help="to drain (default: 300000)"
    )
    arguments.add_argument("--draw", metavar="FILE", help="draw the figures as SVG")
    arguments.add_argument("--from", dest="figures", metavar="FILE", help="measure nothing: read this --json")
    add_json(arguments)
    options = arguments.parse_args(words)
    if options.figures:
        found = msgspec.json.decode(Path(options.figures).read_bytes(), type=list[Many])
    else:
        found = _measured(options)
    show(COLUMNS, [_row(one) for one in found], "many videos, published", texts=0)
    if options.draw:
        Path(options.draw).write_text(many_picture.draw(charts(found)), encoding="utf-8")
    write_json(options.json, found)


def _measured(options: argparse.Namespace) -> list[Many]:
    need_nsqd()
    with folder() as path:
        unit_us = nsqd_us_a_play(path)
    found = []
    for videos in options.videos:
        with folder() as path:
            began_s = time.monotonic()
            many_state.make(path / "state", videos)
            print(f"{videos:,} videos: made in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
            found.append(measure(path, videos, options.plays, unit_us))
    return found


def measure(path: Path, videos: int, plays: int, nsqd_us: float) -> Many:
    """The figures for this number of videos, whose state is in `path`/state."""
    with open_queue("nsqd", path, f"--mem-queue-size={2 * plays}") as nsqd:
        queue = Queue.of(nsqd)
        queue.pause()
        service = Service(path / "state", [*ANY_PORTS, HELD_BACK, reading(queue.tcp_address)])
        began_s = time.monotonic()
        with service:
            start_s = time.monotonic() - began_s
            pids = pids_of(service)
            start_cpu_s, memory_mb = sum(map(cpu_s, pids.values())), sum(memory_mb_of(pids).values())
            _, status_s, status_cpu_s, _ = printed([*COMMAND, "status", *service.arguments], environment())
            page_s = _page_s(service)
            queue.put(_plays(videos, plays))
            counting = {name: pid for name, pid in pids.items() if name.startswith(COUNTING)}
            drained = drain(queue, counting, plays)
            back_s = _back_s(service, pids[KILLED])
            totals = printed([*COMMAND, "totals", *service.arguments], environment())
        return Many(
            videos,
            start_s,
            start_cpu_s,
            memory_mb,
            status_s,
            status_cpu_s,
            page_s,
            sum(drained.cpu_us_a_play.values()),
            nsqd_us,
            back_s,
            totals.first_s,
            totals.all_s,
            totals.cpu_s,
            sum(one.stat().st_size for one in (path / "state").rglob("*") if one.is_file()) / MB,
        )


def _plays(videos: int, plays: int) -> list[bytes]:
    """Plays of videos drawn at random, all with the same chance."""
    chance, known = (
        Random(1),
        b"".join(many_state.videos_of(shard, videos) for shard in range(many_state.SHARDS)),
    )
    places = (16 * chance.randrange(len(known) // 16) for _ in range(plays))
    return [body(str(UUID(bytes=known[place : place + 16]))) for place in places]


def _page_s(service: Service) -> float:
    """How long the operator's page takes until it has its first picture."""
    began_s = time.monotonic()
    for path, end in (("/", b"</html>"), ("/events", b"\n\n")):
        connection = http.client.HTTPConnection(*split_address(service.address("admin_address")), TIMEOUT_S)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer, got = connection.getresponse(), b""
            while end not in got:
                got += (part := answer.read1(1 << 16))
                assert part, (path, got[-200:])
    return time.monotonic() - began_s


def _back_s(service: Service, pid: int) -> float:
    """Kill a counter. Returns how long it takes until another one has its ledger and its links."""

    def came_back_ms() -> float | None:
        child = service.child(KILLED)
        found: float | None = None if child["pid"] == pid else child["came_back_ms"]
        return found

    os.kill(pid, signal.SIGKILL)
    return wait_for(came_back_ms, f"{KILLED} to come back", TIMEOUT_S) / 1000


def charts(found: Sequence[Many]) -> list[many_picture.Chart]:
    """What the picture shows of these figures."""
    chart, by_video, by_decade = many_picture.Chart, many_picture.by_video, many_picture.by_decade

    def points(name: str) -> list[many_picture.Point]:
        return [(one.videos, getattr(one, name)) for one in found]

    decades = range(many_picture.X_LOW, many_picture.X_HIGH + 1)
    publishes = {
        f"{many_picture.power(len(str(plays)) - 1)} plays a day": many_picture.Line(
            [(10**one, 60 * load_of(plays, 10**one, Costs()).publishes_per_s) for one in decades]
        )
        for plays in PLAYS_A_DAY
    }
    return [
        chart(
            "CPU a play, µs",
            {"playtally": by_decade(points("play_us")), "nsqd alone": by_decade(points("nsqd_us"))},
        ),
        chart("Memory of all processes, MB", {"service and client": by_video(points("memory_mb"))}),
        chart("Disk, MB", {"state folder": by_video(points("disk_mb"))}),
        chart(
            "Start, s",
            {"all children run": by_video(points("start_s")), "CPU": by_video(points("start_cpu_s"))},
        ),
        chart(
            "Seconds until",
            {
                "a killed counter is back": by_video(points("back_s")),
                "status": by_video(points("status_s")),
                "totals": by_video(points("all_rows_s")),
            },
        ),
        chart("Publishes a minute, computed", publishes),
    ]


def _row(one: Many) -> list[str]:
    return [
        f"{one.videos:,}",
        f"{one.start_s:.2f}",
        f"{one.start_cpu_s:.2f}",
        f"{one.memory_mb:,.0f}",
        f"{one.status_s:.2f}",
        f"{one.status_cpu_s:.2f}",
        f"{one.page_s:.2f}",
        f"{one.play_us:.2f}",
        f"{one.play_us / one.nsqd_us:.2f}",
        f"{one.back_s:.2f}",
        f"{one.first_row_s:.2f}",
        f"{one.all_rows_s:.2f}",
        f"{one.totals_cpu_s:.2f}",
        f"{one.disk_mb:,.1f}",
    ]


if __name__ == "__main__":
    main()
