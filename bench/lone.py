"""What a lone play costs, and how soon it is published, beside the least that any program can do.

    PATH="$(make -s nsqd):$PATH" python -m bench.lone [--rounds 10] [--plays 300] [--rate 150] [--busy N]
                                                      [--chain]

Plays of quiet videos go to the queue one by one at a steady rate, in turn to the service and to
`bench.relay`, which are both there all the time. CPU is that of all processes of the service but the
reference client, and that of the relay. The median is the one of all rounds' medians; p99 is of the plays of
all rounds together.

CPU ratios hold on any machine. Waits are judged only if an endless loop gets 90 % of a core in the pauses
between the rounds; else the last line says "machine busy". `--busy N`: N endless loops run beside it all.
`--chain`: `bench.chain` takes its turns too: the same processes, messages and writes, without rules.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from actors.cli.launch import Service, wait_for
from actors.system.installation import ROOT
from tests.support.patience import wait_until
from tests.support.queues import QueueProcess, RawClient, open_queue
from tests.support.services import ANY_PORTS, reading

from . import chain, relay
from .backlog import PLAYS_A_VIDEO, Queue, body
from .command import add_json, folder, kinds, parser, show, write_json
from .processes import CpuUse, busy_loops, pids_of
from .receipts import Receiver

IDLE_SHARE = 0.9
LOOK_S = 0.5
SETTLE_S = 0.5
TIMEOUT_S = 90.0
TOPICS = {"service": "plays", "relay": "relayed", "chain": "chained"}


class Side(Struct, frozen=True):
    """One of the two in one round. `cpu_us`: a play, by process. `waits_ms`: from the queue to the client."""

    cpu_us: dict[str, float]
    waits_ms: list[float]


class Compared(Struct, frozen=True):
    """The service over the relay, and what each of them took."""

    queue: str
    busy: int
    cpu_us: dict[str, float]
    relay_cpu_us: float
    median_ms: dict[str, float]
    p99_ms: dict[str, float]
    is_judged: bool
    chain_cpu_us: float | None = None

    @property
    def cpu(self) -> float:
        """CPU of all processes of the service over that of the relay."""
        return sum(self.cpu_us.values()) / self.relay_cpu_us


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--plays", type=int, default=300, help="in a round, for each of the two")
    arguments.add_argument("--rate", type=float, default=150.0)
    arguments.add_argument("--chain", action="store_true", help="measure the bare chain too")
    arguments.add_argument("--busy", type=int, default=0, metavar="N")
    arguments.add_argument("--queue", choices=("embedded", "nsqd"), action="append")
    add_json(arguments)
    options = arguments.parse_args()
    found = []
    for kind in options.queue or kinds():
        with folder() as path, busy_loops(options.busy):
            found.append(_compare(kind, path, options))
    columns = ("queue", "CPU, µs", "relay", "x", "median, ms", "relay", "x", "p99, ms", "relay", "x")
    show(columns, [_row(one) for one in found])
    for one in found:
        print(f"{one.queue}: " + ", ".join(f"{name} {us:.0f} µs" for name, us in one.cpu_us.items()))
        if one.chain_cpu_us is not None:
            times = one.chain_cpu_us / one.relay_cpu_us, one.cpu * one.relay_cpu_us / one.chain_cpu_us
            waits = one.median_ms["chain"] / one.median_ms["relay"]
            least = f"{one.chain_cpu_us:.0f} µs, {times[0]:.1f} x the relay, waits {waits:.1f} x"
            print(f"{one.queue}: chain {least}")
            print(f"{one.queue}: the service takes {times[1]:.1f} x the chain's CPU")
        if not one.is_judged:
            print(f"{one.queue}: machine busy: waits are not judged")
    write_json(options.json, found)


def _row(one: Compared) -> list[str]:
    row = [one.queue, f"{sum(one.cpu_us.values()):.0f}", f"{one.relay_cpu_us:.0f}", f"{one.cpu:.1f}"]
    for waits in (one.median_ms, one.p99_ms):
        ours, least = waits["service"], waits["relay"]
        row += [f"{ours:.2f}", f"{least:.2f}", f"{ours / least:.1f}"]
    return row


def _compare(kind: str, path: Path, options: argparse.Namespace) -> Compared:
    sides = ("service", "relay", "chain") if options.chain else ("service", "relay")
    rounds: dict[str, list[Side]] = {side: [] for side in sides}
    videos = _quiet_videos()
    shares = []
    with open_queue(kind, path) as process, Receiver() as receiver:
        queues = {
            "service": Queue.of(process),
            "relay": Queue(*_addresses(process), TOPICS["relay"], relay.CHANNEL),
            "chain": Queue(*_addresses(process), TOPICS["chain"], chain.CHANNEL),
        }
        for side in rounds:
            queues[side].create()  # each play is of one topic alone
        settings = [*ANY_PORTS, reading(process.tcp_address), f"publish.url={receiver.url}"]
        with contextlib.ExitStack() as stack:
            service = stack.enter_context(Service(path / "state", settings))
            pids = {"relay": {"relay": stack.enter_context(_relay(process.tcp_address, receiver.url))}}
            if options.chain:
                pids["chain"] = stack.enter_context(_chain(process.tcp_address, receiver.url, path))
            wait_until(lambda: all(queues[side].is_read() for side in rounds), "all to read")
            pids["service"] = {name: one for name, one in pids_of(service).items() if name != "client"}
            for number in range(options.rounds + 1):
                shares.append(_idle_share())
                for side in rounds if number % 2 else reversed(rounds):
                    cpu = CpuUse(pids[side])
                    put = [next(videos) for _ in range(options.plays)]
                    _put(process.tcp_address, TOPICS[side], put, options.rate)
                    wait_for(queues[side].is_drained, "the plays to be finished", TIMEOUT_S)
                    time.sleep(SETTLE_S)
                    wait_for(lambda: service.status()["caught_up"], "all to be published", TIMEOUT_S)
                    waits = [wait_ms for _, wait_ms in receiver.waits_ms()]
                    if number:  # the first round is not measured: everything is cold in it
                        rounds[side].append(Side(cpu.used_us_a_play(len(put)), waits))
    is_judged = options.busy > 0 or statistics.median(shares) >= IDLE_SHARE
    return _compared(kind, options.busy, rounds, is_judged)


def _compared(kind: str, busy: int, rounds: dict[str, list[Side]], is_judged: bool) -> Compared:
    cpu = {
        side: {name: statistics.median(one.cpu_us[name] for one in found) for name in found[0].cpu_us}
        for side, found in rounds.items()
    }
    median = {
        side: statistics.median(statistics.median(one.waits_ms) for one in found)
        for side, found in rounds.items()
    }
    p99 = {}
    for side, found in rounds.items():
        waits = sorted(wait_ms for one in found for wait_ms in one.waits_ms)
        p99[side] = waits[int(0.99 * len(waits))]
    chain_us = sum(cpu["chain"].values()) if "chain" in cpu else None
    return Compared(kind, busy, cpu["service"], cpu["relay"]["relay"], median, p99, is_judged, chain_us)


def _put(address: str, topic: str, videos: list[str], rate: float) -> None:
    """Put one play of each video on the queue, at `rate` plays per second."""
    with RawClient(address) as client:
        started_s = time.monotonic()
        for number, video in enumerate(videos, 1):
            client.publish(topic, body(video))
            time.sleep(max(0.0, started_s + number / rate - time.monotonic()))


def _quiet_videos() -> Iterator[str]:
    """Videos without end, each at most `PLAYS_A_VIDEO` times."""
    while True:
        video = str(uuid.uuid4())
        for _ in range(PLAYS_A_VIDEO):
            yield video


def _addresses(process: QueueProcess) -> tuple[str, str]:
    return process.tcp_address, process.http_address


@contextlib.contextmanager
def _relay(address: str, url: str) -> Iterator[int]:
    """The pid of a relay that runs within the context."""
    with relay.start(address, TOPICS["relay"], url) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@contextlib.contextmanager
def _chain(address: str, url: str, path: Path) -> Iterator[dict[str, int]]:
    """The pids of a chain that runs within the context, by name."""
    (path / "chain").mkdir()
    command = [sys.executable, "-m", "bench.chain", address, TOPICS["chain"], url, str(path / "chain")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout is not None
        pids: dict[str, int] = json.loads(process.stdout.readline())
        yield pids
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _idle_share() -> float:
    """The share of a core that an endless loop gets."""
    began_s, began_cpu_s = time.monotonic(), time.thread_time()
    while time.monotonic() - began_s < LOOK_S:
        pass
    return (time.thread_time() - began_cpu_s) / LOOK_S


if __name__ == "__main__":
    main()
