"""How fast a backlog is drained from a real nsqd, against a stock pynsq reader and nsqd's own in Go.

    PATH="$(make -s nsqd):$PATH" python -m bench.drain [--plays 1000000] [--shards 1 2 4 8]

Each reader gets an nsqd of its own that holds the plays of 100 videos already, in memory, at its
default --max-rdy-count and RDY 2500. Ours goes through consumer, ledgers, dispatcher and HTTP client,
everything durable and counted exactly once. Stock pynsq and Go's bench_reader only finish; the plain
counter is what one would write with pynsq in ten minutes: it decodes, counts in memory, and would publish
every 60 s, in twenties, and lose what it has when it dies. The clock runs until the last
message is finished. Believe the ratios, which are of one run on one machine.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.launch import ROOT, Service
from bench.pipeline import STOCK_PLAYS_MAX, STOCK_READER, cpu_s
from tests.support.queues import QueueProcess, nsqd_path
from tests.support.services import ANY_PORTS

POLL_S = 0.005
OURS = "playtally"

PLAIN_COUNTER = """
import collections, json, sys, time, nsq, tornado.ioloop
address, plays = sys.argv[1], int(sys.argv[2])
totals, changed, seen, started = collections.Counter(), set(), 0, 0.0
def handler(message):
    global seen, started
    started = started or time.monotonic()
    video = json.loads(message.body)["video_id"]
    totals[video] += 1
    changed.add(video)
    seen += 1
    if seen == plays:
        tornado.ioloop.IOLoop.current().add_callback(tornado.ioloop.IOLoop.current().stop)
    return True
def publish():
    while changed:
        twenty = [changed.pop() for _ in range(min(20, len(changed)))]
        print(json.dumps({video: totals[video] for video in twenty}), file=sys.stderr)
tornado.ioloop.PeriodicCallback(publish, 60_000).start()
reader = nsq.Reader("plays", "stock", handler, nsqd_tcp_addresses=[address], max_in_flight=2500)
tornado.ioloop.IOLoop.current().start()
print(plays / (time.monotonic() - started))
"""


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plays", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, nargs="+", metavar="N", help="ours with so many, each")
    parser.add_argument("--set", action="append", default=[], help="a setting of ours, as supervisor.py's")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    if nsqd_path() is None:
        sys.exit("no nsqd on PATH: `make nsqd` builds one and says where")
    with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
        path = Path(folder)
        few = min(options.plays, STOCK_PLAYS_MAX)
        results = {
            "stock pynsq": {"plays_per_s": _pynsq(path / "stock", STOCK_READER, few)},
            "pynsq, a plain counter": {"plays_per_s": _pynsq(path / "plain", PLAIN_COUNTER, few)},
            "bench_reader (Go)": {"plays_per_s": _go(path / "go", options.plays)},
        }
        for shards in options.shards or [None]:
            ours, settings = OURS, options.set
            if shards is not None:
                ours = f"{OURS}, {shards} shard{'s' if shards > 1 else ''}"
                settings = [*settings, f"counters.shards={shards}"]
            results[ours] = _ours(path / ours.replace(" ", "-"), options.plays, settings)
    _show(results)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


@contextlib.contextmanager
def preloaded(folder: Path, plays: int, channel: str) -> Iterator[QueueProcess]:
    """An nsqd that holds the plays in memory, on topic "plays" and that channel."""
    folder.mkdir(parents=True)
    queue = QueueProcess("nsqd", folder, options=[f"--mem-queue-size={2 * plays}"])
    try:
        queue.start()
        queue.post("/topic/create?topic=plays")
        queue.post(f"/channel/create?topic=plays&channel={channel}")
        subprocess.run(
            [
                *(sys.executable, "-m", "producer", "--plays", str(plays), "--seed", "1"),
                *("--set", f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]'),
            ],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        yield queue
    finally:
        queue.close()


def _pynsq(folder: Path, reader: str, plays: int) -> float:
    with preloaded(folder, plays, "stock") as queue:
        ended = subprocess.run(
            [sys.executable, "-c", reader, queue.tcp_address, str(plays)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return float(ended.stdout)


def _go(folder: Path, plays: int) -> float:
    with preloaded(folder, plays, "go") as queue:
        ended = subprocess.run(
            [
                "bench_reader",
                f"-nsqd-tcp-address={queue.tcp_address}",
                "-topic=plays",
                "-channel=go",
                "-runfor=1s",
                "-rdy=2500",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        found = re.search(r"([\d.]+)ops/s", ended.stderr)
        assert found, ended.stderr
        return float(found[1])


def _ours(folder: Path, plays: int, overrides: list[str]) -> dict:
    with preloaded(folder, plays, "playtally") as queue:
        queue.post("/channel/pause?topic=plays&channel=playtally")
        settings = [*ANY_PORTS, f'nsq.nsqd_tcp_addresses=["{queue.tcp_address}"]', "publish.stdout=false"]
        with Service(folder / "state", [*settings, *overrides]) as service:
            pids = {child["id"]: child["pid"] for child in service.status()["children"]}
            pids["nsqd"] = queue.pid
            before_s = {name: cpu_s(pid) for name, pid in pids.items()}
            started_s = time.monotonic()
            queue.post("/channel/unpause?topic=plays&channel=playtally")
            wait_drained(queue)
            seconds = time.monotonic() - started_s
            used_s = {name: cpu_s(pid) - before_s[name] for name, pid in pids.items()}
            status = service.status()
            assert status["plays"]["counted"] == plays, status["plays"]
            return {
                "plays_per_s": plays / seconds,
                "cpu_us_a_play": {name: one / plays * 1e6 for name, one in used_s.items()},
                "publishes": status["publishes"]["total"],
            }


def wait_drained(queue: QueueProcess) -> None:
    """Wait until the service has finished every message."""
    while True:
        channel = queue.channel("plays", "playtally")
        if not channel["depth"] + channel["in_flight_count"] + channel["deferred_count"]:
            return
        time.sleep(POLL_S)


def _show(results: dict) -> None:
    stock, go = (results[name]["plays_per_s"] for name in ("stock pynsq", "bench_reader (Go)"))
    table = Table(title="a backlog drained from nsqd", box=None, title_justify="left")
    for name in ("reader", "plays/s", "x stock pynsq", "x bench_reader"):
        table.add_column(name, justify="left" if name == "reader" else "right")
    for name, one in results.items():
        rate = one["plays_per_s"]
        table.add_row(name, f"{rate:,.0f}", f"{rate / stock:.2f}", f"{rate / go:.2f}")
    Console().print(table)
    for name, one in results.items():
        if name.startswith(OURS):
            cpu = ", ".join(f"{process} {us:.2f}" for process, us in one["cpu_us_a_play"].items())
            print(f"{name}: {one['publishes']} publishes; CPU a play, µs: {cpu}")


if __name__ == "__main__":
    main()
