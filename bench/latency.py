"""How soon a play of a quiet video is published: from its arrival on the queue to the client's receipt.

    PATH="$(make -s nsqd):$PATH" python -m bench.latency [--plays 2000] [--rate 200] [--background 0]

Plays of videos with fewer than 100 plays go to the queue one by one, at a steady rate, each with its own PUB.
With `--background N` a producer also puts N plays per second of other videos there. They pass the whole
service, which is durable and has its default settings, to a client in its own process. For comparison, a
stock pynsq reader only looks at the clock when a play arrives. All clocks are this machine's.
"""

import argparse
import json
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from actors.cli.launch import Service, wait_for
from tests.support.patience import wait_until
from tests.support.queues import RawClient, open_queue
from tests.support.services import ANY_PORTS, Load, reading, wait_counted

from . import stock
from .backlog import PLAYS_A_VIDEO, Queue, body
from .command import folder, kinds, parser, show
from .receipts import Receiver


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--plays", type=int, default=2000)
    arguments.add_argument("--rate", type=float, default=200.0)
    arguments.add_argument("--background", type=int, default=0)
    options = arguments.parse_args()
    rows = []
    for kind in kinds():
        with folder() as path:
            rows.append((kind, "playtally", *_quantiles(_ours(kind, path, options))))
        if kind == "nsqd":
            with folder() as path:
                rows.append((kind, "stock pynsq", *_quantiles(_stock(path, options))))
    columns = ("queue", "receiver", "median", "p99", "slowest")
    show(columns, rows, "arrival on the queue to receipt, ms", texts=2)


def _ours(kind: str, path: Path, options: argparse.Namespace) -> list[float]:
    """Waits in milliseconds, one for each publish of a video that this benchmark played."""
    videos = [str(uuid.uuid4()) for _ in range(-(-options.plays // PLAYS_A_VIDEO))]
    with open_queue(kind, path) as queue, Receiver() as receiver:
        settings = [*ANY_PORTS, reading(queue.tcp_address), f"publish.url={receiver.url}"]
        with Service(path / "state", settings) as service:
            load = None
            if options.background:
                plays = int(options.background * options.plays / options.rate)
                words = ("--plays", str(plays), "--rate", str(options.background), "--seed", "1")
                load = Load(service, path, *words)
                wait_counted(service, 1)
            played = (videos[number % len(videos)] for number in range(options.plays))
            _put(queue.tcp_address, played, options.rate)
            if load is not None:
                load.wait()
            wait_for(lambda: service.status()["caught_up"], "all published", 90)
    ours = set(videos)
    return [wait_ms for video, wait_ms in receiver.waits_ms() if video in ours]


def _stock(path: Path, options: argparse.Namespace) -> list[float]:
    with open_queue("nsqd", path) as process:
        queue = Queue.of(process, stock.CHANNEL)
        reader = stock.start("look", queue.tcp_address, options.plays)
        wait_until(queue.is_read, "the stock reader to connect")
        _put(queue.tcp_address, [str(uuid.UUID(int=0))] * options.plays, options.rate)
        ages_ms: list[float] = json.loads(stock.result(reader))
        return ages_ms


def _put(address: str, videos: Iterable[str], rate: float) -> None:
    """Put one play of each video on the queue, at `rate` plays per second."""
    with RawClient(address) as client:
        started_s = time.monotonic()
        for number, video in enumerate(videos, 1):
            client.publish("plays", body(video))
            time.sleep(max(0.0, started_s + number / rate - time.monotonic()))


def _quantiles(times_ms: list[float]) -> list[str]:
    ranked = sorted(times_ms)
    return [f"{ranked[min(len(ranked) - 1, int(share * len(ranked)))]:.2f}" for share in (0.5, 0.99, 1.0)]


if __name__ == "__main__":
    main()
