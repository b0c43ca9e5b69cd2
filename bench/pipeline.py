"""How fast the whole service counts, compared with a stock pynsq reader in the same run.

    python -m bench.pipeline [--plays 300000]

For each queue (the embedded one, and a real nsqd if one is on PATH), the producer puts plays as fast as it
can while the service runs. The clock stops when every play is counted, and finished on the queue. All is
durable, and each play is counted exactly once. For comparison, a stock pynsq reader only finishes messages,
on the same kind of queue. Timings vary from machine to machine and from hour to hour: believe the ratios.
"""

import contextlib
import json
import time
from pathlib import Path
from uuid import UUID

from msgspec import Struct

from actors.cli.launch import Service, produce
from tests.support.queues import open_queue
from tests.support.services import ANY_PORTS, reading

from . import stock
from .backlog import Queue, body
from .command import add_json, folder, kinds, parser, show, write_json
from .drain import wait_until_none
from .processes import CpuUse, pids_of

COLUMNS = ("queue", "stock pynsq, only FIN", "playtally", "ratio", "CPU a play, µs")


class Measured(Struct, frozen=True):
    """The figures of one kind of queue. `cpu_us_a_play` is by process."""

    stock_plays_per_s: float
    plays_per_s: float
    cpu_us_a_play: dict[str, float]
    publishes: int

    @property
    def ratio(self) -> float:
        """How many times as fast as the stock reader the service is."""
        return self.plays_per_s / self.stock_plays_per_s


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--plays", type=int, default=300_000)
    add_json(arguments)
    options = arguments.parse_args()
    results = {}
    for kind in kinds():
        with folder() as path:
            stock_plays_per_s = _stock(kind, path / "stock", min(options.plays, stock.PLAYS_MAX))
            results[kind] = _ours(kind, path / "service", options.plays, stock_plays_per_s)
    _show(results)
    write_json(options.json, results)


def _stock(kind: str, path: Path, plays: int) -> float:
    """Plays per second of a stock pynsq reader, from a queue that already holds them."""
    with open_queue(kind, path) as process:
        queue = Queue.of(process, stock.CHANNEL)
        queue.put([body(str(UUID(int=0)))] * plays)
        return stock.rate("finish", queue.tcp_address, plays)


def _ours(kind: str, path: Path, plays: int, stock_plays_per_s: float) -> Measured:
    """Plays per second of the whole service, and the CPU time of each of its processes."""
    with contextlib.ExitStack() as stack:
        if kind == "nsqd":
            process = stack.enter_context(open_queue(kind, path))
            settings = [*ANY_PORTS, reading(process.tcp_address)]
            service = stack.enter_context(Service(path / "state", settings))
            queue, pids = Queue.of(process), pids_of(service) | {"nsqd": process.pid}
        else:
            service = stack.enter_context(Service(path / "state", ANY_PORTS))
            queue, pids = Queue.embedded(service), pids_of(service)
        cpu = CpuUse(pids)
        started_s = time.monotonic()
        manifest = path / "manifest.json"
        producer = produce(service, "--plays", str(plays), "--seed", "1", manifest=manifest)
        stack.callback(producer.kill)
        wait_until_none(lambda: plays - service.status()["plays"]["counted"])
        wait_until_none(queue.unfinished)
        seconds = time.monotonic() - started_s
        used_us = cpu.used_us_a_play(plays)
        assert producer.wait() == 0
        status = service.status()
        assert status["plays"]["counted"] == plays == json.loads(manifest.read_text())["plays"]
        return Measured(stock_plays_per_s, plays / seconds, used_us, status["publishes"]["total"])


def _show(results: dict[str, Measured]) -> None:
    rows = []
    for kind, one in results.items():
        cpu = ", ".join(f"{name} {us:.1f}" for name, us in one.cpu_us_a_play.items())
        rates = f"{one.stock_plays_per_s:,.0f}", f"{one.plays_per_s:,.0f}", f"{one.ratio:.1f}"
        rows.append((kind, *rates, cpu))
    show(COLUMNS, rows, "plays a second, produced while they are counted")


if __name__ == "__main__":
    main()
