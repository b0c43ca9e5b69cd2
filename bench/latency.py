"""How soon a play of a quiet video is published: from its arrival on the queue to the client's receipt.

    PATH="$(make -s nsqd):$PATH" python -m bench.latency [--rates 50 150 1000] [--busy 0 1] [--ref REF]

Plays of videos with fewer than 100 plays go to the queue one by one, at a steady rate, each with its own PUB.
They pass the whole service, which is durable and has its default settings, to a client in its own process.
`by ticker` is the share of its reads that left fewer messages in flight than RDY: nsqd's ticker flushed them.
`--busy N` keeps each core busy with N endless loops. `--background N` puts N plays per second of other videos
there, too. `--ref` measures the service of another commit in turn with this one. For comparison, a stock
pynsq reader only looks at the clock when a play arrives. All clocks are this machine's.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from actors.system.installation import ROOT
from tests.support.patience import wait_until
from tests.support.queues import open_queue
from tests.support.services import reading

from . import stock
from .backlog import PLAYS_A_VIDEO, Queue, body
from .checkouts import Checkout, commit
from .command import folder, kinds, show
from .pair import SETTLE_S, TIMEOUT_S, Bench, Side
from .ready import SLOW_MS, busy_loops, put_steadily, quantiles, steady_parser

OURS = "playtally"


def main() -> None:
    """Measure and print the table."""
    arguments = steady_parser(__doc__)
    add = arguments.add_argument
    add("--background", type=int, default=0, metavar="N", help="plays/s of other videos")
    add("--ref", metavar="REF", help="another commit, to compare with")
    options = arguments.parse_args()
    rows = []
    for kind, busy in product(kinds(), options.busy):
        with folder() as path, busy_loops(busy):
            rows += [(kind, str(busy), *row) for row in _measure(kind, path, options)]
    columns = ("queue", "busy", "receiver", "plays/s", "median", "p99", f"over {SLOW_MS:g} ms", "by ticker")
    show(columns, rows, "arrival on the queue to receipt, ms", texts=3)


def _measure(kind: str, path: Path, options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """Yield the rows of one queue: receiver, rate, and the figures."""
    checkouts = {OURS: Checkout(ROOT, OURS)}
    if options.ref:
        checkouts[options.ref] = commit(options.ref, path / "ref")
        checkouts[options.ref].check()
    with contextlib.ExitStack() as stack:
        nsqd = None
        if kind == "nsqd":
            process = stack.enter_context(open_queue(kind, path))
            nsqd = process.tcp_address, process.http_address
        bench = Bench(checkouts, nsqd, path)
        sides = {name: stack.enter_context(bench.side(name, 0)) for name in checkouts}
        for rate in options.rates:
            for name, side in sides.items():
                yield name, f"{rate:g}", *_ours(side, rate, options)
            if nsqd is not None:
                with folder() as own:
                    yield "stock pynsq", f"{rate:g}", *quantiles(_stock(own, rate, options)), "-"


def _ours(side: Side, rate: float, options: argparse.Namespace) -> list[str]:
    before = _reads(side)
    plays = round(rate * options.seconds)
    videos = [str(uuid.uuid4()) for _ in range(-(-plays // PLAYS_A_VIDEO))]
    with _background(side, options):
        played = [body(videos[number % len(videos)]) for number in range(plays)]
        put_steadily(side.queue.tcp_address, side.queue.topic, played, rate)
    side.service.wait_for(lambda: bool(side.service.status()["caught_up"]), "publish all", TIMEOUT_S)
    time.sleep(SETTLE_S)
    ours, after = set(videos), _reads(side)
    waits_ms = [wait_ms for video, wait_ms in side.receiver.waits_ms() if video in ours]
    by_ticker = "-"
    if before and after:
        reads, ticked = (now - then for now, then in zip(after, before, strict=True))
        by_ticker = f"{ticked / reads:.2%}"
    return [*quantiles(waits_ms), by_ticker]


def _reads(side: Side) -> tuple[int, int] | None:
    """All reads, and those by nsqd's ticker; None if the service is too old to count them."""
    nsq = side.service.status()["nsq"]
    return (nsq["reads"], nsq["reads_by_ticker"]) if "reads" in nsq else None


@contextlib.contextmanager
def _background(side: Side, options: argparse.Namespace) -> Iterator[None]:
    if not options.background:
        yield
        return
    plays = round(options.background * options.seconds)
    words = ["--plays", str(plays), "--rate", str(options.background), "--seed", "1"]
    settings = ["--set", reading(side.queue.tcp_address), "--set", f"nsq.topic={side.queue.topic}"]
    command = [sys.executable, "-m", "producer", *words, *settings]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
        yield
        assert load.wait(TIMEOUT_S) == 0, "the producer failed"


def _stock(path: Path, rate: float, options: argparse.Namespace) -> list[float]:
    plays = round(rate * options.seconds)
    with open_queue("nsqd", path) as process:
        queue = Queue.of(process, stock.CHANNEL)
        reader = stock.start("look", queue.tcp_address, plays)
        wait_until(queue.is_read, "the stock reader to connect")
        put_steadily(queue.tcp_address, queue.topic, [body(str(uuid.UUID(int=0)))] * plays, rate)
        ages_ms: list[float] = json.loads(stock.result(reader))
        return ages_ms


if __name__ == "__main__":
    main()
