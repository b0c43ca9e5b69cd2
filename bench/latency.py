"""How soon a play of a quiet video is published: from its arrival on the queue to the client's receipt.

    PATH="$(make -s nsqd):$PATH" python -m bench.latency [--plays 2000] [--rate 200] [--background 0]

Plays of videos under 100 go to the queue one by one, at a steady rate, each with its own PUB; with
`--background N` a producer puts N plays a second of other videos beside them. The whole service is in
between, durable, with its defaults, and a client in a process of its own. Beside it the same for a stock
pynsq reader that only looks at its clock. Both clocks are this machine's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.launch import ROOT, Service, wait_for
from bench.pipeline import queue_process
from tests.support.queues import RawClient, nsqd_path
from tests.support.services import ANY_PORTS, Load

PLAYS_A_VIDEO = 90


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plays", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--background", type=int, default=0)
    options = parser.parse_args()
    table = Table(title="arrival on the queue to receipt, ms", box=None, title_justify="left")
    for name in ("queue", "receiver", "median", "p99", "slowest"):
        table.add_column(name, justify="left" if name in ("queue", "receiver") else "right")
    for kind in ["embedded", *(["nsqd"] if nsqd_path() else [])]:
        with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
            table.add_row(kind, "playtally", *_row(_ours(kind, Path(folder), options)))
        if kind == "nsqd":
            with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
                table.add_row(kind, "stock pynsq", *_row(_stock(Path(folder), options)))
    Console().print(table)


def _ours(kind: str, folder: Path, options: argparse.Namespace) -> list[float]:
    """Milliseconds, one a publish that left because of a play of ours."""
    with queue_process("nsqd" if kind == "nsqd" else "embedded", folder) as queue:
        settings = [*ANY_PORTS, f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]']
        with Service(folder / "state", settings) as service:
            received = folder / "received"
            receiver = subprocess.Popen(
                [sys.executable, "-c", RECEIVER, str(received)], cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
            try:
                url = receiver.stdout.readline().strip()
                service.stop()
                service = Service(folder / "state", [*settings, f"publish.url={url}"])
                with service:
                    ours = _play(queue.tcp_address, options, service, folder)
                    wait_for(lambda: service.status()["caught_up"], "all published", 90)
            finally:
                receiver.kill()
                receiver.wait()
    return [
        (entry["at_ns"] - video["arrived_at_ns"]) / 1e6
        for entry in map(json.loads, received.read_text().splitlines())
        for video in entry["publish"]["videos"]
        if video["video_id"] in ours
    ]


def _play(address: str, options: argparse.Namespace, service: Service, folder: Path) -> set[str]:
    """Put the plays, paced. The videos that they are of."""
    videos = [str(uuid.uuid4()) for _ in range(-(-options.plays // PLAYS_A_VIDEO))]
    load = None
    if options.background:
        seconds = options.plays / options.rate
        words = ("--plays", str(int(options.background * seconds)), "--rate", str(options.background))
        load = Load(service, folder, *words, "--seed", "1")
        time.sleep(1)
    with RawClient(address) as client:
        started_s = time.monotonic()
        for number in range(options.plays):
            client.publish("plays", b'{"video_id":"%b"}' % videos[number % len(videos)].encode())
            time.sleep(max(0.0, started_s + (number + 1) / options.rate - time.monotonic()))
    if load is not None:
        load.wait()
    return set(videos)


def _stock(folder: Path, options: argparse.Namespace) -> list[float]:
    with queue_process("nsqd", folder) as queue:
        reader = subprocess.Popen(
            [sys.executable, "-c", STOCK, queue.tcp_address, str(options.plays)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(2)
        with RawClient(queue.tcp_address) as client:
            started_s = time.monotonic()
            for number in range(options.plays):
                client.publish("plays", b'{"video_id":"00000000-0000-4000-8000-000000000000"}')
                time.sleep(max(0.0, started_s + (number + 1) / options.rate - time.monotonic()))
        said, _ = reader.communicate(timeout=60)
        return json.loads(said)


def _row(times: list[float]) -> list[str]:
    times = sorted(times)
    return [f"{times[min(len(times) - 1, int(share * len(times)))]:.2f}" for share in (0.5, 0.99, 1.0)]


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

STOCK = """
import json, sys, time, nsq, tornado.ioloop
address, plays, times = sys.argv[1], int(sys.argv[2]), []
def handler(message):
    times.append((time.time_ns() - message.timestamp) / 1e6)
    if len(times) == plays:
        tornado.ioloop.IOLoop.current().add_callback(tornado.ioloop.IOLoop.current().stop)
    return True
reader = nsq.Reader("plays", "stock", handler, nsqd_tcp_addresses=[address], max_in_flight=200)
tornado.ioloop.IOLoop.current().start()
print(json.dumps(times))
"""


if __name__ == "__main__":
    main()
