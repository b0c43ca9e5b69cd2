"""A flood of new videos: each play is of a video that was never seen before, and has to be published at once.

    python -m bench.flood [--videos 200000]

The plays go into the embedded queue as fast as it takes them. A client accepts every publish at once and
keeps it. Printed: the time until the client knows all videos, the number of publishes, how many of them were
full (20 videos), and how much the memory of the service's processes grew (proportional share, PSS), in all
and per video.
"""

import random
import threading
import time
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from actors.cli.launch import Service, wait_for
from tests.support.recording_client import RecordingClient
from tests.support.services import ANY_PORTS, UNHURRIED

from .backlog import Queue, body
from .command import folder, parser, show
from .processes import memory_mb_of, pids_of

VIDEOS_A_PUBLISH_MAX = 20
TIMEOUT_S = 600.0
COLUMNS = ("videos", "seconds", "publishes", "full ones", "fewest possible", "MB more", "bytes a video")


class Flood(NamedTuple):
    """The result of a flood. `memory_mb`: how much the memory of each process grew, by name."""

    videos: int
    seconds: float
    widths: list[int]
    memory_mb: dict[str, float]
    wrong: list[str]
    totals: dict[str, int]

    @property
    def full(self) -> int:
        """How many publishes carried as many videos as they can."""
        return self.widths.count(VIDEOS_A_PUBLISH_MAX)


def flood(path: Path, videos: int, *, held: bool = False) -> Flood:
    """Start a service and send it one play of each of `videos` new videos.

    `held`: the client answers no publish until all videos are pending. Only one is on its way at a time, so
    that how full the publishes are does not depend on how fast the plays come.
    """
    chance = random.Random(videos)
    bodies = [body(str(UUID(bytes=chance.randbytes(16)))) for _ in range(videos)]
    answers = threading.Event()
    if not held:
        answers.set()

    def answer(number: int, publish: object) -> int:
        answers.wait(TIMEOUT_S)
        return 200

    with RecordingClient(answer) as client:
        overrides = ["client.enabled=false", f"publish.url={client.url}", "publish.stdout=false"]
        if held:
            overrides += [*UNHURRIED, "publish.in_flight_max=1"]
        with Service(path / "state", [*ANY_PORTS, *overrides]) as service:
            pids = pids_of(service)
            before_mb = memory_mb_of(pids)
            started_s = time.monotonic()
            Queue.embedded(service).put(bodies)
            wait_for(
                lambda: answers.is_set() or service.status()["pending_videos"] >= videos,
                "all videos to be pending",
                TIMEOUT_S,
                service.log,
            )
            answers.set()
            wait_for(
                lambda: len(client.totals) >= videos, "the client to know all videos", TIMEOUT_S, service.log
            )
            seconds = time.monotonic() - started_s
            wait_for(
                lambda: service.status()["caught_up"], "all publishes to be recorded", TIMEOUT_S, service.log
            )
            after_mb = memory_mb_of(pids)
    widths = [len(one.publish["videos"]) for one in client.accepted()]
    grown_mb = {name: after_mb[name] - before_mb[name] for name in pids}
    return Flood(videos, seconds, widths, grown_mb, client.wrong, client.totals)


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--videos", type=int, default=200_000)
    options = arguments.parse_args()
    with folder() as path:
        found = flood(path, options.videos)
    assert set(found.totals.values()) == {1} and not found.wrong, found.wrong[:5]
    grown_mb = sum(found.memory_mb.values())
    row = (
        f"{found.videos:,}",
        f"{found.seconds:.1f}",
        f"{len(found.widths):,}",
        f"{found.full:,}",
        f"{-(-found.videos // VIDEOS_A_PUBLISH_MAX):,}",
        f"{grown_mb:.0f}",
        f"{grown_mb * 1e6 / found.videos:.0f}",
    )
    show(COLUMNS, [row], "a flood of new videos", texts=0)
    print(", ".join(f"{name} {mb:.1f} MB" for name, mb in found.memory_mb.items()))


if __name__ == "__main__":
    main()
