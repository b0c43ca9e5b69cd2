"""The unit of our CPU figures: nsqd's CPU for a play, while its own bench_reader drains a backlog.

It is the same on any machine, more or less, if it is measured in the same run as what it is compared with.
"""

import subprocess
from pathlib import Path

from tests.support.queues import open_queue

from .backlog import Queue, body
from .processes import CpuUse

PLAYS = 400_000
VIDEOS = 100
CHANNEL = "go"
RUN = ("-topic=plays", f"-channel={CHANNEL}", "-runfor=1s", "-rdy=2500")
TIMEOUT_S = 60.0


def nsqd_us_a_play(path: Path, plays: int = PLAYS) -> float:
    """Drain once, for a second or until nothing is left. Needs nsqd and bench_reader on PATH."""
    with open_queue("nsqd", path, f"--mem-queue-size={2 * plays}") as process:
        queue = Queue.of(process, CHANNEL)
        bodies = [body(f"00000000-0000-4000-8000-{number:012}") for number in range(VIDEOS)]
        queue.put(bodies * (plays // VIDEOS))
        before, cpu = queue.unfinished(), CpuUse({"nsqd": process.pid})
        command = ["bench_reader", f"-nsqd-tcp-address={process.tcp_address}", *RUN]
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
        used_us = cpu.used_s()["nsqd"] * 1e6
        return used_us / (before - queue.unfinished())
