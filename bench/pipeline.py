"""How fast the whole service counts, against what people would use instead, in one run.

    python -m bench.pipeline [--plays 300000]

For each queue (the embedded one, and a real nsqd where one is on PATH): the producer puts plays flat
out while the service runs, and the clock stops when every play is counted and finished on the queue.
Everything is durable and exactly once. Beside it a stock pynsq reader that does nothing but finish, on
the same kind of queue. Timings vary from machine to machine and hour to hour: believe the ratios.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.launch import ROOT, Service, produce, wait_for
from tests.support.queues import QueueProcess, RawClient, nsqd_path
from tests.support.services import ANY_PORTS, Queue

STOCK_PLAYS_MAX = 60_000


def main() -> None:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--plays", type=int, default=300_000)
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    kinds = ["embedded", *(["nsqd"] if nsqd_path() else [])]
    results = {kind: measure(kind, options.plays) for kind in kinds}
    show(results)
    if "nsqd" not in kinds:
        print("no nsqd on PATH: `make nsqd` builds one", file=sys.stderr)
    if options.json:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n")


def measure(kind: str, plays: int) -> dict:
    """The figures of one kind of queue."""
    with tempfile.TemporaryDirectory(prefix="playtally-bench-") as folder:
        stock = measure_stock(kind, Path(folder) / "stock", min(plays, STOCK_PLAYS_MAX))
        ours = measure_service(kind, Path(folder) / "service", plays)
    return {"plays": plays, "stock_plays_per_s": stock, **ours}


def measure_stock(kind: str, folder: Path, plays: int) -> float:
    """Plays a second of a stock pynsq reader, from a queue that holds them already."""
    with queue_process(kind, folder) as queue:
        body = b'{"video_id":"00000000-0000-4000-8000-000000000000"}'
        queue.post("/topic/create?topic=plays")
        queue.post("/channel/create?topic=plays&channel=stock")
        with RawClient(queue.tcp_address) as client:
            for at in range(0, plays, 1000):
                client.publish("plays", *[body] * min(1000, plays - at))
        ended = subprocess.run(
            [sys.executable, "-c", STOCK_READER, queue.tcp_address, str(plays)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return float(ended.stdout)


def measure_service(kind: str, folder: Path, plays: int) -> dict:
    """Plays a second of the whole service, and the CPU time of each of its processes."""
    with contextlib.ExitStack() as stack:
        settings = [*ANY_PORTS]
        if kind == "nsqd":
            nsqd = stack.enter_context(queue_process(kind, folder))
            settings.append(f'nsq.nsqd_tcp_addresses=["{nsqd.tcp_address}"]')
        service = stack.enter_context(Service(folder / "state", settings))
        if kind == "nsqd":
            queue = Queue(lambda: (nsqd.tcp_address, nsqd.http_address))
        else:
            facts = service.facts()
            queue = Queue(lambda: (facts["nsqd_tcp_address"], facts["nsqd_http_address"]))
        pids = {child["id"]: child["pid"] for child in service.status()["children"]}
        if kind == "nsqd":
            pids["nsqd"] = nsqd.pid
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        started_s = time.monotonic()
        producer = produce(service, "--plays", str(plays), "--seed", "1", manifest=folder / "manifest.json")
        wait_for(lambda: service.status()["plays"]["counted"] >= plays, "all counted", 300, service.log)
        wait_for(lambda: queue.unfinished("plays", "playtally") == 0, "all finished", 60, service.log)
        seconds = time.monotonic() - started_s
        assert producer.wait() == 0
        manifest = json.loads((folder / "manifest.json").read_text())
        status = service.status()
        assert status["plays"]["counted"] == plays == manifest["plays"]
        return {
            "plays_per_s": plays / seconds,
            "microseconds_of_cpu_a_play": {
                name: (cpu_s(pid) - before[name]) / plays * 1e6 for name, pid in pids.items()
            },
            "publishes": status["publishes"]["total"],
        }


def show(results: dict) -> None:
    """The table."""
    table = Table(title="plays a second, produced while they are counted", box=None, title_justify="left")
    for name in ("queue", "stock pynsq, only FIN", "playtally", "ratio", "CPU a play, µs"):
        table.add_column(name, justify="left" if name == "queue" else "right")
    for kind, one in results.items():
        cpu = ", ".join(f"{name} {us:.1f}" for name, us in one["microseconds_of_cpu_a_play"].items())
        ratio = one["plays_per_s"] / one["stock_plays_per_s"]
        table.add_row(
            kind, f"{one['stock_plays_per_s']:,.0f}", f"{one['plays_per_s']:,.0f}", f"{ratio:.1f}", cpu
        )
    Console().print(table)


@contextlib.contextmanager
def queue_process(kind: str, folder: Path, *options: str) -> Iterator[QueueProcess]:
    """A queue in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    queue = QueueProcess(kind, folder, options=options)
    try:
        queue.start()
        yield queue
    finally:
        queue.close()


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


STOCK_READER = """
import sys, time, nsq, tornado.ioloop
address, plays = sys.argv[1], int(sys.argv[2])
seen, started = 0, 0.0
def handler(message):
    global seen, started
    started = started or time.monotonic()
    seen += 1
    if seen == plays:
        tornado.ioloop.IOLoop.current().add_callback(tornado.ioloop.IOLoop.current().stop)
    return True
reader = nsq.Reader("plays", "stock", handler, nsqd_tcp_addresses=[address], max_in_flight=2500)
tornado.ioloop.IOLoop.current().start()
print(plays / (time.monotonic() - started))
"""


if __name__ == "__main__":
    main()
