"""How many publishes a second leave, and what each costs, with clients that take their time. Real processes.

    PATH="$(make -s nsqd):$PATH" python -m bench.publishing [--client-ms MS …] [--in-flight N …] [--ref REF]
    PATH="$(make -s nsqd):$PATH" python -m bench.publishing --cpu [--in-flight 8] [--rounds 10] [--ref REF]

The queue is nsqd if there is one on PATH, else the embedded one. Every publish carries twenty videos, whose
deadlines press. The client answers after `--client-ms` (`slow_client.py`).

CPU: what a publish costs the dispatcher, and the whole service (without the queue and the client). own: our
own time a publish: the time from one publish to the next with one in flight, less the client's; it is
measured with each client in the same run. of possible: publishes/s as a share of

    in flight / (client's time + own)

cores: how many the dispatcher needed (with the time for which it was ready to run and had none), and how many
everything on this machine kept busy. "full": the dispatcher needed a core, less some waits for its disk, or
the machine had none left; no more is possible then, whatever the share. --ref: another commit beside this
one, with one in flight, for a client of each time; the two take turns.

--cpu: only the CPU a publish of the dispatcher (with a client that answers at once) and of the reference
client (when it is the client), also as multiples of nsqd's CPU a play when bench_reader drains (`unit.py`),
measured in each round. Such a multiple holds on a busy machine too. videos a minute: as many as the process
can take with a core to itself, on a machine whose nsqd takes 3 µs a play.

`python -m bench.steady` measures the waits of a steady run.
"""

import argparse
import contextlib
import statistics
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import psutil
from msgspec import Struct, structs

from actors.system.installation import ROOT
from tests.support.queues import nsqd_path, open_queue
from tests.support.services import reading

from .backlog import Queue, body
from .checkouts import CannotCompare, Checkout, Service, commit
from .command import add_json, folder, need_nsqd, parser, show, write_json
from .reference import cpu_us_a_publish
from .slow_client import Noted, SlowClient
from .unit import nsqd_us_a_play

CLIENTS_MS = (0, 10, 100, 1000)
IN_FLIGHT = (1, 8, 64)
BATCH = 20
RATE_GUESS = 600  # publishes/s: no more are prepared for
PUBLISHES_MIN = 12
PUBLISHES = 3000  # to the reference client
SECONDS = 6.0
USUAL_UNIT_US = 3.0  # nsqd's CPU a play on a usual machine
FULL = 0.9
DISPATCHER_FULL = 0.85  # it waits for its disk besides: with a client that answers at once it needs some 0.9
TIMEOUT_S = 600.0
SETTINGS = ["client.enabled=false"]
PRESSING = [
    "publish.stdout=false",
    "dispatch.realtime_below=1",
    "dispatch.deadline_s=1",
    "publish.timeout_s=60",
]


class Rate(Struct, frozen=True):
    """One case. `cpu_us`: of the dispatcher a publish; `service_cpu_us`: of the whole service. `cores`: how
    many cores the dispatcher needed, and all processes of the machine kept busy.
    """

    tree: str
    client_ms: int
    in_flight: int
    publishes: int
    per_s: float
    cpu_us: float
    service_cpu_us: float
    dispatcher_cores: float
    machine_cores: float
    own_ms: float = 0.0
    of_possible: float = 0.0

    @property
    def is_full(self) -> bool:
        """Whether a core is full: the dispatcher's, or all of the machine."""
        return self.dispatcher_cores > DISPATCHER_FULL or self.machine_cores > FULL * (
            psutil.cpu_count() or 1
        )


class Cost(Struct, frozen=True):
    """CPU a publish, in µs, of the dispatcher and the reference client. `unit_us`: nsqd's for a play."""

    tree: str
    in_flight: int
    dispatcher_us: float
    client_us: float
    unit_us: float


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    add = arguments.add_argument
    add("--client-ms", nargs="+", type=int, metavar="MS", help="default: 0 10 100 1000")
    add("--in-flight", nargs="+", type=int, default=IN_FLIGHT, metavar="N", help="default: 1 8 64")
    add("--seconds", type=float, default=SECONDS, help="of each case (default: 6)")
    add("--rounds", type=int, default=1, help="of all cases; the medians are shown (default: 1)")
    add("--ref", metavar="REF", help="another commit, to compare with")
    add("--cpu", action="store_true", help="CPU a publish, in units of nsqd's CPU a play")
    add_json(arguments)
    options = arguments.parse_args()
    if options.cpu:
        need_nsqd()
    with folder() as path:
        try:
            if options.cpu:
                costs = _costs(options, path)
                _show_costs(costs)
                write_json(options.json, costs)
                return
            found = list(_rates(options, path))
        except CannotCompare as reason:
            sys.exit(f"not measured: {reason}")
    _show(found)
    write_json(options.json, found)


def _trees(options: argparse.Namespace, path: Path) -> dict[str, Checkout]:
    trees = {"this": Checkout(ROOT, "this")}
    if options.ref:
        trees[options.ref] = commit(options.ref, path / "ref")
        trees[options.ref].check()
    return trees


def _costs(options: argparse.Namespace, path: Path) -> list[Cost]:
    """One a tree, round and number in flight. The trees take turns, and so do the two clients."""
    trees, found = _trees(options, path), []
    for number in range(options.rounds):
        unit_us = nsqd_us_a_play(path / f"unit-{number}")
        for most in options.in_flight:
            for name, tree in trees.items():
                where = path / f"{name}-{most}-{number}"
                where.mkdir()
                dispatcher_us = measure(tree, name, 0, most, options.seconds, where).cpu_us
                with _queue(where / "reference", PUBLISHES) as queue:
                    settings = [*PRESSING, f"publish.in_flight_max={most}", reading(queue.tcp_address)]
                    used_us = cpu_us_a_publish(tree, queue, _bodies(PUBLISHES), settings, where / "service-2")
                one = Cost(name, most, dispatcher_us, used_us["client"], unit_us)
                print(f"{name}, {most}: {one}", file=sys.stderr)
                found.append(one)
    return found


def _show_costs(costs: Sequence[Cost]) -> None:
    rows = []
    for tree, most in dict.fromkeys((one.tree, one.in_flight) for one in costs):
        ones = [one for one in costs if (one.tree, one.in_flight) == (tree, most)]
        figures = [
            ("dispatcher", [one.dispatcher_us for one in ones]),
            ("reference client", [one.client_us for one in ones]),
        ]
        for name, used_us in figures:
            times = [us / one.unit_us for us, one in zip(used_us, ones, strict=True)]
            middle = f"{statistics.median(used_us):.0f}", f"{statistics.median(times):.0f}"
            per_minute = 60e6 * BATCH / (statistics.median(times) * USUAL_UNIT_US)
            spread = f"{min(times):.0f} to {max(times):.0f}"
            rows.append((tree, name, f"{most}", *middle, spread, f"{per_minute:,.0f}"))
    columns = ("tree", "process", "in flight", "CPU a publish, µs", "x nsqd's a play", "range")
    show((*columns, "videos a minute"), rows, texts=2)


def _rates(options: argparse.Namespace, path: Path) -> Iterator[Rate]:
    trees = _trees(options, path)
    in_flight = sorted({1, *options.in_flight})
    for client_ms in options.client_ms or CLIENTS_MS:
        cases = [("this", most) for most in in_flight]
        if options.ref:
            cases.append((options.ref, 1))
        rounds: dict[tuple[str, int], list[Rate]] = {case: [] for case in cases}
        for number in range(options.rounds):
            for tree, most in cases:
                where = path / f"{client_ms}-{tree}-{most}-{number}"
                where.mkdir()
                one = measure(trees[tree], tree, client_ms, most, options.seconds, where)
                print(f"{tree}, {client_ms} ms, {most}: {one.per_s:.1f}/s", file=sys.stderr)
                rounds[tree, most].append(one)
        own_ms = 1000 / statistics.median(one.per_s for one in rounds["this", 1]) - client_ms
        for ones in rounds.values():
            yield _middle(ones, own_ms)


def _middle(rounds: Sequence[Rate], own_ms: float) -> Rate:
    """The round of the median rate."""
    one = sorted(rounds, key=lambda one: one.per_s)[(len(rounds) - 1) // 2]
    possible = one.in_flight / (one.client_ms + own_ms) * 1000
    return structs.replace(one, own_ms=own_ms, of_possible=one.per_s / possible)


def measure(tree: Checkout, name: str, client_ms: int, in_flight: int, seconds: float, path: Path) -> Rate:
    """Publishes/s and CPU a publish, while everything presses."""
    expected = min(in_flight * 1000 / (client_ms + 3), RATE_GUESS) * seconds
    publishes = max(PUBLISHES_MIN, 4 * in_flight, int(expected))
    bodies = _bodies(publishes)
    with (
        _queue(path / "queue", publishes) as queue,
        SlowClient(client_ms / 1000) as client,
    ):
        settings = [*SETTINGS, *PRESSING, reading(queue.tcp_address), f"publish.url={client.url}"]
        settings.append(f"publish.in_flight_max={in_flight}")
        with Service(tree, path / "service", settings) as service:
            children = {child["id"]: child["pid"] for child in service.status()["children"]}
            client.watch([children.pop("dispatcher"), *children.values()])
            service.wait_for(queue.is_read, "connect to its queue", TIMEOUT_S)
            psutil.cpu_percent()
            queue.put(bodies)
            service.wait_for(lambda: client.count() >= publishes, "publish everything", TIMEOUT_S)
            machine = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
            noted = client.take()
    return _rate(name, client_ms, in_flight, noted, machine)


@contextlib.contextmanager
def _queue(path: Path, publishes: int) -> Iterator[Queue]:
    """An empty queue, which keeps in memory what these publishes need."""
    kind = "embedded" if nsqd_path() is None else "nsqd"
    memory = [f"--mem-queue-size={2 * BATCH * publishes}"] if kind == "nsqd" else []
    with open_queue(kind, path, *memory) as process:
        yield Queue.of(process)


def _bodies(publishes: int) -> list[bytes]:
    chance = Random(1)
    return [body(str(uuid.UUID(bytes=chance.randbytes(16)))) for _ in range(BATCH * publishes)]


def _rate(name: str, client_ms: int, in_flight: int, noted: list[Noted], machine: float) -> Rate:
    """The rate of the full publishes, from when all that may be on their way have left once.

    They may leave many at once, and then none for a while. So the time is that of whole rounds of them.
    """
    full = [one for one in noted if one.body.count(b'"video_id"') == BATCH]
    first = min(in_flight, len(full) // 3)
    publishes = (len(full) - 1 - first) // in_flight * in_flight
    began, ended = full[first], full[first + publishes]
    seconds = (ended.at_ns - began.at_ns) / 1e9
    used_s = [after - before for before, after in zip(began.cpu_s, ended.cpu_s, strict=True)]
    needed_s = used_s[0] + ended.waited_s - began.waited_s
    return Rate(
        name,
        client_ms,
        in_flight,
        publishes,
        publishes / seconds,
        used_s[0] / publishes * 1e6,
        sum(used_s) / publishes * 1e6,
        needed_s / seconds,
        machine,
    )


def _show(found: Sequence[Rate]) -> None:
    rows = [
        (
            one.tree,
            f"{one.client_ms} ms",
            f"{one.in_flight}",
            f"{one.per_s:.1f}",
            f"{one.cpu_us / 1000:.2f}",
            f"{one.service_cpu_us / 1000:.2f}",
            f"{one.own_ms:.1f} ms",
            f"{one.of_possible:.2f}",
            f"{one.dispatcher_cores:.2f}",
            f"{one.machine_cores:.2f}{' full' if one.is_full else ''}",
        )
        for one in found
    ]
    columns = ("tree", "client", "in flight", "publishes/s", "CPU, ms", "service", "own", "of possible")
    show((*columns, "cores", "machine"), rows)


if __name__ == "__main__":
    main()
