"""How soon a play of a quiet video is published: from its arrival on the queue to the client's receipt.

    PATH="$(make -s nsqd):$PATH" python -m bench.latency [--plays 2000] [--rate 200] [--background 0]

Plays of videos under 100 go to the queue one by one, at a steady rate, each with its own PUB; with
`--background N` a producer puts N plays a second of other videos beside them. The whole service is in
between, durable, with its defaults, and a client in a process of its own. Beside it the same for a stock
pynsq reader that only looks at its clock. Both clocks are this machine's.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.installation import ROOT
from actors.launch import Service, wait_for
from tests.support.patience import wait_until
from tests.support.queues import RawClient, open_queue
from tests.support.services import ANY_PORTS, Load, reading

from . import stock
from .command import folder, kinds, parser, show

PLAYS_A_VIDEO = 90


def main() -> None:
    """Run it and print the table."""
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
    """Milliseconds, one a publish that left because of a play of ours."""
    received = path / "received"
    with (
        open_queue(kind, path) as queue,
        _receiver(received) as url,
        Service(path / "state", [*ANY_PORTS, reading(queue.tcp_address), f"publish.url={url}"]) as service,
    ):
        videos = [str(uuid.uuid4()) for _ in range(-(-options.plays // PLAYS_A_VIDEO))]
        ours = set(videos)
        load = None
        if options.background:
            seconds = options.plays / options.rate
            words = ("--plays", str(int(options.background * seconds)), "--rate", str(options.background))
            load = Load(service, path, *words, "--seed", "1")
            wait_for(lambda: service.status()["plays"]["counted"], "the first of the background", 60)
        _put(
            queue.tcp_address, (videos[number % len(videos)] for number in range(options.plays)), options.rate
        )
        if load is not None:
            load.wait()
        wait_for(lambda: service.status()["caught_up"], "all published", 90)
    return [
        (entry["at_ns"] - video["arrived_at_ns"]) / 1e6
        for entry in map(json.loads, received.read_text().splitlines())
        for video in entry["publish"]["videos"]
        if video["video_id"] in ours
    ]


def _stock(path: Path, options: argparse.Namespace) -> list[float]:
    with open_queue("nsqd", path) as queue:
        reader = stock.start("look", queue.tcp_address, options.plays)
        wait_until(
            lambda: (queue.channel("plays", stock.CHANNEL) or {}).get("clients"),
            "the stock reader to connect",
        )
        _put(queue.tcp_address, [str(uuid.UUID(int=0))] * options.plays, options.rate)
        ages_ms: list[float] = json.loads(stock.result(reader))
        return ages_ms


def _put(address: str, videos: Iterable[str], rate: float) -> None:
    """Put a play of each, one by one at that rate."""
    with RawClient(address) as client:
        started_s = time.monotonic()
        for number, video in enumerate(videos, 1):
            client.publish("plays", b'{"video_id":"%b"}' % video.encode())
            time.sleep(max(0.0, started_s + number / rate - time.monotonic()))


def _quantiles(times_ms: list[float]) -> list[str]:
    ranked = sorted(times_ms)
    return [f"{ranked[min(len(ranked) - 1, int(share * len(ranked)))]:.2f}" for share in (0.5, 0.99, 1.0)]


@contextlib.contextmanager
def _receiver(file: Path) -> Iterator[str]:
    """A client in a process of its own, which notes in the file what came when: its URL."""
    command = [sys.executable, "-c", RECEIVER, str(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


RECEIVER = """
import asyncio, json, sys, time
from tornado.web import Application, RequestHandler
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
out = open(sys.argv[1], "w", buffering=1)
class Plays(RequestHandler):
    def post(self):
        out.write(json.dumps({"at_ns": time.time_ns(), "publish": json.loads(self.request.body)}) + "\\n")
async def main():
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([("/plays", Plays)]))
    server.add_sockets(sockets)
    print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/plays", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""

if __name__ == "__main__":
    main()
