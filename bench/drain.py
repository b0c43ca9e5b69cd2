"""How fast a backlog is drained from a real nsqd, compared with a stock pynsq reader and nsqd's reader in Go.

    PATH="$(make -s nsqd):$PATH" python -m bench.drain [--plays 1000000] [--shards 1 2 4 8]
    PATH="$(make -s nsqd):$PATH" python -m bench.drain --tls --compression snappy deflate
    PATH="$(make -s nsqd):$PATH" python -m bench.drain --busy 2

Each reader gets its own nsqd, which already holds the plays of 100 videos in memory, with its default
--max-rdy-count and RDY 2500. Our plays go through consumer, ledgers, dispatcher and HTTP client; all is
durable, and each play is counted exactly once. Stock pynsq and Go's bench_reader only finish messages. The
plain counter is a program that anyone could write with pynsq in ten minutes: it decodes, counts in memory,
publishes every 60 s, twenty videos each, and loses its counts when it dies. nsqd is asked five times a second
whether it is empty, so a time is up to 0.2 s too long: take many plays. With `--tls` or `--compression` our
reader alone is compared with itself: in the clear, secured so, and in the clear again. The clock runs
until the last message is finished. Believe the ratios only: the figures are of one run on one machine.

`--busy N`: N endless loops run beside each reader. "out of time" says how many of the questions of the
dispatcher to the counters (`Collect`) had no answer within a second: their videos then leave later.

Our CPU time per play is that of all our processes but the reference client. It is compared with what nsqd
uses per play while bench_reader drains it.
"""

import contextlib
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct, structs

from actors.cli.launch import Service
from actors.system.installation import ROOT
from tests.support.certificates import Authority
from tests.support.queues import QueueProcess, open_queue
from tests.support.services import ANY_PORTS, reading

from . import stock
from .backlog import CHANNEL, Queue
from .command import add_json, folder, need_nsqd, parser, show, write_json
from .processes import CpuUse, busy_loops, pids_of

POLL_S = 0.2  # each answer costs nsqd CPU time, which is measured
TIMEOUT_S = 3600.0
OURS = "playtally"
IN_THE_CLEAR, AGAIN = "in the clear", "in the clear again"
STOCK, PLAIN, GO = "stock pynsq", "pynsq, a plain counter", "bench_reader (Go)"


class Drained(Struct, frozen=True, omit_defaults=True):
    """How fast a backlog was drained. CPU times are by process; bench_reader's are of its nsqd only."""

    plays_per_s: float
    cpu_us_a_play: dict[str, float] = {}
    publishes: int = 0
    expired: int = 0  # questions to counters without an answer in time


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--plays", type=int, default=1_000_000)
    arguments.add_argument("--shards", type=int, nargs="+", metavar="N", help="drain with N shards")
    arguments.add_argument("--busy", type=int, default=0, metavar="N", help="endless loops beside it")
    arguments.add_argument("--tls", action="store_true", help="drain over TLS too")
    arguments.add_argument(
        "--compression", choices=["snappy", "deflate"], nargs="+", default=[], help="drain compressed too"
    )
    arguments.add_argument("--set", action="append", default=[], help="a setting, as for supervisor.py")
    add_json(arguments)
    options = arguments.parse_args()
    need_nsqd()
    if options.tls or options.compression:
        with folder() as path, busy_loops(options.busy):
            secured = _secured(path, options)
        _show_secured(secured)
        write_json(options.json, secured)
        return
    with folder() as path, busy_loops(options.busy):
        few = min(options.plays, stock.PLAYS_MAX)
        results = {
            STOCK: _stock("finish", path / "stock", few),
            PLAIN: _stock("count", path / "plain", few),
            GO: _go(path / "go", options.plays),
        }
        for shards in options.shards or [None]:
            ours, settings = OURS, options.set
            if shards is not None:
                ours = f"{OURS}, {shards} shard{'s' if shards > 1 else ''}"
                settings = [*settings, f"counters.shards={shards}"]
            results[ours] = _ours(path / ours.replace(" ", "-"), options.plays, settings)
    _show(results)
    write_json(options.json, results)


@contextlib.contextmanager
def preloaded(
    path: Path, plays: int, channel: str = CHANNEL, options: Iterable[str] = ()
) -> Iterator[tuple[QueueProcess, Queue]]:
    """An nsqd, with more `options`, that holds `plays` plays in memory, for that channel."""
    with open_queue("nsqd", path, f"--mem-queue-size={2 * plays}", *options) as process:
        queue = Queue.of(process, channel)
        words = ["--plays", str(plays), "--seed", "1", "--set", reading(queue.tcp_address)]
        subprocess.run([sys.executable, "-m", "producer", *words], cwd=ROOT, check=True, capture_output=True)
        yield process, queue


def _stock(what: str, path: Path, plays: int) -> Drained:
    with preloaded(path, plays, stock.CHANNEL) as (_, queue):
        return Drained(stock.rate(what, queue.tcp_address, plays))


def _go(path: Path, plays: int) -> Drained:
    with preloaded(path, plays, "go") as (process, queue):
        cpu = CpuUse({"nsqd": process.pid})
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
        found = re.search(r"duration: ([\d.]+)(m?s) .* ([\d.]+)ops/s", ended.stderr)
        assert found, ended.stderr
        seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
        return Drained(float(found[3]), cpu.used_us_a_play(round(float(found[3]) * seconds)))


def _secured(path: Path, options: Namespace) -> dict[str, Drained]:
    """Drain in the clear first and last: the machine may have become slower meanwhile."""
    authority = Authority(path)
    key, certificate = authority.issue("nsqd")
    with_tls = [f"--tls-cert={certificate}", f"--tls-key={key}"]
    tls = ["nsq.tls=true", f"nsq.tls_ca_file={authority.ca_file}"]
    asked: dict[str, list[str]] = {IN_THE_CLEAR: []}
    asked |= {one: [f"nsq.compression={one}"] for one in options.compression}
    if options.tls:
        asked["TLS"] = tls
        asked |= {f"TLS, {one}": [*tls, f"nsq.compression={one}"] for one in options.compression}
    asked[AGAIN] = []
    return {
        name: _ours(path / name.replace(" ", "-"), options.plays, [*options.set, *settings], with_tls)
        for name, settings in asked.items()
    }


def _show_secured(results: dict[str, Drained]) -> None:
    plain = max(results[IN_THE_CLEAR].plays_per_s, results[AGAIN].plays_per_s)
    rows = [
        (name, f"{one.plays_per_s:,.0f}", f"{one.plays_per_s / plain:.2f}") for name, one in results.items()
    ]
    show(("our reader", "plays/s", "x in the clear"), rows, "a backlog drained from a secured nsqd")
    _show_cpu(results)


def _ours(path: Path, plays: int, overrides: list[str], options: Iterable[str] = ()) -> Drained:
    with preloaded(path, plays, options=options) as (nsqd, queue):
        queue.pause()
        settings = [*ANY_PORTS, reading(queue.tcp_address), "publish.stdout=false", *overrides]
        with Service(path / "state", settings) as service:
            drained = drain(queue, pids_of(service) | {"nsqd": nsqd.pid}, plays)
            status = service.status()
            assert status["plays"]["counted"] == plays, status["plays"]
            publishes, expired = status["publishes"]["total"], status["collects_expired"]
            return structs.replace(drained, publishes=publishes, expired=expired)


def drain(queue: Queue, pids: dict[str, int], plays: int) -> Drained:
    """Unpause the service's channel, and wait until the last of its plays is finished."""
    cpu, started_s = CpuUse(pids), time.monotonic()
    queue.unpause()
    wait_until_none(queue.unfinished)
    return Drained(plays / (time.monotonic() - started_s), cpu.used_us_a_play(plays))


def wait_until_none(left: Callable[[], int]) -> None:
    """Wait until `left()` is 0."""
    started_s = time.monotonic()
    while still := left():
        passed_s = time.monotonic() - started_s
        assert passed_s < TIMEOUT_S, f"{still} plays are left after {passed_s:.0f} s"
        time.sleep(POLL_S)


def _show(results: dict[str, Drained]) -> None:
    rows = []
    for name, one in results.items():
        ratios = (one.plays_per_s / results[other].plays_per_s for other in (STOCK, GO))
        cpu = f"{_own_cpu_us(one) / results[GO].cpu_us_a_play['nsqd']:.2f}" if OURS in name else ""
        rows.append((name, f"{one.plays_per_s:,.0f}", *(f"{ratio:.2f}" for ratio in ratios), cpu))
    columns = ("reader", "plays/s", "x stock pynsq", "x bench_reader", "CPU, x bench_reader's nsqd")
    show(columns, rows, "a backlog drained from nsqd")
    _show_cpu(results)


def _own_cpu_us(one: Drained) -> float:
    """The CPU time of our processes per play, without nsqd and without the reference client."""
    return sum(us for process, us in one.cpu_us_a_play.items() if process not in ("nsqd", "client"))


def _show_cpu(results: dict[str, Drained]) -> None:
    for name, one in results.items():
        if one.cpu_us_a_play:
            cpu = ", ".join(f"{process} {us:.2f}" for process, us in one.cpu_us_a_play.items())
            publishes = f"{one.publishes} publishes, {one.expired} out of time; " if one.publishes else ""
            print(f"{name}: {publishes}CPU per play, µs: {cpu}")


if __name__ == "__main__":
    main()
