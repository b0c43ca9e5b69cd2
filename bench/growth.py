"""What many videos cost: CPU a play, memory and start-up, with 100, 10,000 and 1,000,000 videos.

    PATH="$(make -s nsqd):$PATH" python -m bench.growth [--plays 1000000] [--videos 100 10000 1000000]

For each number of videos a real nsqd holds plays of videos drawn at random, all equally often, so that
with a million of them nearly every play is another video's: the worst case. `dispatch.realtime_below`
is 1 and the deadline an hour, so that while the backlog is drained nothing is published and every
video that was played is pending: the most memory that so many videos take. CPU is that of consumer,
counters and dispatcher until the last message is finished: once while the videos are new to the
ledgers, and once more, with as many plays, when they are known. Memory is the proportional share (PSS)
of all processes of the service after that, against that with no video. Then the service is killed and
started again: how long until it is ready, and its memory.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.launch import Service
from bench.drain import wait_drained
from bench.pipeline import cpu_s, queue_process
from tests.support.queues import QueueProcess, RawClient
from tests.support.services import ANY_PORTS

VIDEOS = (100, 10_000, 1_000_000)
PLAYS_A_PUB = 2000
COUNTING = ("consumer", "counter-", "dispatcher")
HELD_BACK = ["dispatch.realtime_below=1", "dispatch.deadline_s=3600", "publish.stdout=false"]
MB = 1_000_000


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plays", type=int, default=1_000_000)
    parser.add_argument("--videos", type=int, nargs="+", default=VIDEOS)
    parser.add_argument("--set", action="append", default=[], help="a setting, as supervisor.py's")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    results = []
    for videos in options.videos:
        with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
            results.append(measure(Path(folder), videos, options.plays, options.set))
    show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


def measure(folder: Path, videos: int, plays: int, overrides: list[str]) -> dict:
    """The figures for so many videos."""
    with queue_process("nsqd", folder / "nsqd", f"--mem-queue-size={2 * plays}") as queue:
        queue.post("/topic/create?topic=plays")
        queue.post("/channel/create?topic=plays&channel=playtally")
        address = f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]'
        service = Service(folder / "state", [*ANY_PORTS, *HELD_BACK, address, *overrides])
        chance = random.Random(1)
        known = [chance.randbytes(16) for _ in range(videos)]
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
    return {
        "videos": len({video for one in drawn for video in one}),
        "plays_per_s": known_already["plays_per_s"],
        "new_cpu_us_a_play": new["cpu_us_a_play"],
        "cpu_us_a_play": known_already["cpu_us_a_play"],
        "memory_mb": {name: memory_mb[name] - empty_mb[name] for name in memory_mb},
        "memory_again_mb": {name: again_mb[name] - empty_mb[name] for name in again_mb},
        "start_s": start_s,
    }


def _drain(queue: QueueProcess, pids: dict[str, int], plays: list[bytes]) -> dict:
    """Put plays on the queue, and have them counted."""
    queue.post("/channel/pause?topic=plays&channel=playtally")
    with RawClient(queue.tcp_address) as client:
        for at in range(0, len(plays), PLAYS_A_PUB):
            client.publish("plays", *map(body_of, plays[at : at + PLAYS_A_PUB]))
    before_s = {name: cpu_s(pid) for name, pid in pids.items()}
    started_s = time.monotonic()
    queue.post("/channel/unpause?topic=plays&channel=playtally")
    wait_drained(queue)
    seconds = time.monotonic() - started_s
    used_us = {name: (cpu_s(pid) - before_s[name]) / len(plays) * 1e6 for name, pid in pids.items()}
    return {
        "plays_per_s": len(plays) / seconds,
        "cpu_us_a_play": {name: us for name, us in used_us.items() if name.startswith(COUNTING)},
    }


def body_of(video: bytes) -> bytes:
    """The message of a play."""
    digits = video.hex()
    guid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return f'{{"video_id": "{guid}"}}'.encode()


def pids_of(service: Service) -> dict[str, int]:
    """The processes of a service, by name."""
    return {child["id"]: child["pid"] for child in service.status()["children"]} | {
        "supervisor": service.process.pid
    }


def memory_mb_of(pids: dict[str, int]) -> dict[str, float]:
    """The proportional share (PSS) of each, in millions of bytes."""
    return {name: _pss_bytes(pid) / MB for name, pid in pids.items()}


def _pss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Pss of {pid}")


def show(results: list[dict]) -> None:
    """The table."""
    table = Table(title="many videos", box=None, title_justify="left")
    columns = (
        "videos",
        "plays/s",
        "CPU a play, µs",
        "x the fewest",
        "first play, µs",
        "MB",
        "MB a million",
        "start, s",
    )
    for name in columns:
        table.add_column(name, justify="right")
    fewest_us = sum(results[0]["cpu_us_a_play"].values())
    for one in results:
        us, mb = sum(one["cpu_us_a_play"].values()), sum(one["memory_mb"].values())
        table.add_row(
            f"{one['videos']:,}",
            f"{one['plays_per_s']:,.0f}",
            f"{us:.2f}",
            f"{us / fewest_us:.2f}",
            f"{sum(one['new_cpu_us_a_play'].values()):.2f}",
            f"{mb:.0f}",
            f"{mb / one['videos'] * 1e6:,.0f}" if one["videos"] > 100_000 else "",
            f"{one['start_s']:.2f}",
        )
    Console().print(table)
    for one in results:
        for what, unit in (("cpu_us_a_play", "µs"), ("memory_mb", "MB"), ("memory_again_mb", "MB, again")):
            figures = ", ".join(f"{name} {value:.2f}" for name, value in one[what].items())
            print(f"{one['videos']:,} videos, {unit}: {figures}")


if __name__ == "__main__":
    main()
