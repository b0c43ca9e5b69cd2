"""How soon the consumer reads a lone play: from its arrival on the queue, without what happens to it then.

    PATH="$(make -s nsqd):$PATH" python -m bench.ready [--rates 50 150 1000] [--busy 0 1] [--seconds 10]

The real consumer runs in a process of its own. In place of counters, something answers each message after
a millisecond. Plays go to the queue one by one, at a steady rate, each with its own PUB. `by ticker` is the
share of reads that left fewer messages in flight than RDY: nsqd's ticker flushed them, at most 25 ms later.
`--busy N` keeps each core busy with N endless loops. All clocks are this machine's.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from itertools import product
from typing import Any

from actors import config
from actors.consumer import Consumer
from actors.core.messages import Counted
from actors.core.shards import counter_of
from actors.core.stats import ConsumerStats, decode
from actors.supervision.actor import StartArgs
from actors.system.installation import ROOT
from tests.support.patience import wait_until
from tests.support.queues import RawClient, open_queue
from tests.support.services import reading

from .backlog import Queue, body
from .command import folder, kinds, parser, show

COMMIT_S = 0.001
SLOW_MS = 5.0
COLUMNS = ("queue", "busy", "plays/s", "median", "p99", f"over {SLOW_MS:g} ms", "by ticker")


def main() -> None:
    """Measure and print the table."""
    options = steady_parser(__doc__).parse_args()
    rows = []
    for kind, busy, rate in product(kinds(), options.busy, options.rates):
        with busy_loops(busy):
            waits_ms, by_ticker = _measure(kind, rate, round(rate * options.seconds))
        rows.append((kind, str(busy), f"{rate:g}", *quantiles(waits_ms), f"{by_ticker:.2%}"))
    show(COLUMNS, rows, "arrival on the queue to the consumer's read, ms")


def steady_parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments of a bench of several rates, on a quiet and on a busy machine. `doc`: see `parser`."""
    arguments = parser(doc)
    add = arguments.add_argument
    add("--rates", type=float, nargs="+", default=[50, 150, 1000], metavar="N", help="plays/s")
    add("--busy", type=int, nargs="+", default=[0, 1], metavar="N", help="endless loops on each core")
    add("--seconds", type=float, default=10.0, metavar="S", help="of each measurement (default: 10)")
    return arguments


@contextlib.contextmanager
def busy_loops(a_core: int) -> Iterator[None]:
    """Endless loops, so many a core, while the context lasts."""
    command = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(a_core * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def quantiles(waits_ms: list[float]) -> list[str]:
    """The median, the 99th percentile, and the share of slow ones."""
    ranked = sorted(waits_ms)
    slow = sum(wait_ms > SLOW_MS for wait_ms in ranked) / len(ranked)
    median, most = (ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in (0.5, 0.99))
    return [f"{median:.2f}", f"{most:.2f}", f"{slow:.1%}"]


def put_steadily(address: str, topic: str, bodies: list[bytes], rate: float) -> None:
    """Put messages on the queue one by one, at `rate` a second."""
    with RawClient(address) as client:
        started_s = time.monotonic()
        for number, one in enumerate(bodies, 1):
            client.publish(topic, one)
            time.sleep(max(0.0, started_s + number / rate - time.monotonic()))


def _measure(kind: str, rate: float, plays: int) -> tuple[list[float], float]:
    """Each play's wait in ms, and the share of reads by nsqd's ticker."""
    with folder() as path, open_queue(kind, path) as process:
        queue = Queue.of(process)
        command = [sys.executable, "-m", "bench.ready", queue.tcp_address, str(plays)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as reader:
            wait_until(queue.is_read, "the consumer to connect")
            put_steadily(queue.tcp_address, queue.topic, [body(str(uuid.UUID(int=0)))] * plays, rate)
            assert reader.stdout is not None
            waits_ms, reads, by_ticker = json.loads(reader.stdout.read())
    return waits_ms, by_ticker / reads


class _Host:
    """In place of the consumer's process: the loop, and counters that answer after `COMMIT_S`."""

    def __init__(self, counters: list[str]):
        self.consumer: Consumer
        self._counters = counters
        self._loop = asyncio.get_running_loop()

    def wall_ns(self) -> int:
        return time.time_ns()

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def send(self, peer: str, message: Any) -> None:
        self.call_later(COMMIT_S, lambda: self.consumer.handle(peer, [Counted([message.number])]))

    def peers(self) -> Collection[str]:
        return self._counters

    def say_resumed(self, note: str = "") -> None:
        """Do nothing: there is no supervisor."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_later(delay_s, call)


class _Reader(Consumer):
    """The consumer. It notes how old each play is when it comes."""

    waits_ms: list[float]
    expected: int
    done: asyncio.Event

    def received(self, connection: int, parsed: Any) -> None:
        now_ns = time.time_ns()
        super().received(connection, parsed)
        self.waits_ms += [(now_ns - stamp_ns) / 1e6 for stamp_ns in parsed.plays.arrived_ns]
        if len(self.waits_ms) >= self.expected:
            self.done.set()


async def _read(address: str, plays: int) -> None:
    """Read so many plays. Print each one's wait, the number of reads, and that of reads by nsqd's ticker."""
    settings = config.load(None, [reading(address)])
    counters = [counter_of(shard) for shard in range(settings.counters.shards)]
    host: Any = _Host(counters)
    host.consumer = reader = _Reader(StartArgs("consumer", 1, "", settings), host)
    reader.waits_ms, reader.expected, reader.done = [], plays, asyncio.Event()
    await reader.init()
    for counter in counters:
        reader.linked(counter)
    await reader.done.wait()
    await asyncio.sleep(0.1)  # so that the last play is finished
    stats = decode(reader.stats())
    assert isinstance(stats, ConsumerStats)
    print(json.dumps([reader.waits_ms, stats.reads, stats.reads_by_ticker]))
    await reader.terminate()


if __name__ == "__main__":
    if len(sys.argv) == 3 and not sys.argv[1].startswith("-"):
        asyncio.run(_read(sys.argv[1], int(sys.argv[2])))
    else:
        main()
