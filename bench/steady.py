"""What a slow client costs in a steady run: missed deadlines, and the waits of quiet plays. Real processes.

    python -m bench.steady hot [--videos 20000] [--client-ms 100] [--in-flight 8] [--deadlines 2.5]
    python -m bench.steady hang [--rate 200] [--client-ms 5] [--in-flight 8] [--hang-s 2]

hot: videos with a deadline of a minute, each played three times in it. late: how many of the totals the
client confirmed after their deadline.

hang: plays of quiet videos at a steady rate, each of another video, while the client takes `--hang-s` for one
publish. Shown are the waits, from a play's arrival on the queue to the client's receipt, of the plays that
came during the hang and were not in that publish; and those of all others. With one in flight they wait for
the hang; with several, for `publish.realtime_wait_max_ms` (100) and their publish.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from uuid import UUID

from msgspec import Struct

from actors.cli.launch import Service, wait_for
from tests.support.queues import RawClient, nsqd_path, open_queue
from tests.support.services import ANY_PORTS, reading

from .backlog import Queue, body
from .command import add_json, folder, parser, show, write_json
from .slow_client import Noted, SlowClient

HANG_AT = 300  # publishes before the one that hangs
PLAYS_AFTER_S = 1.0
PUT_EVERY_S = 0.05
DEADLINE_S = 60.0
ROUNDS_A_DEADLINE = 3  # plays of each hot video
TIMEOUT_S = 300.0


class Hot(Struct, frozen=True):
    """How many totals of hot videos the client confirmed, and how many of them late."""

    videos: int
    client_ms: int
    in_flight: int
    publishes: int
    totals: int
    late: int
    latest_ms: float


class Hang(Struct, frozen=True):
    """Waits in ms: of the plays during the hang that were in another publish, and of all other plays."""

    client_ms: int
    in_flight: int
    hang_s: float
    during_ms: list[float]
    otherwise_ms: list[float]


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("what", choices=("hot", "hang"))
    arguments.add_argument("--videos", type=int, default=20_000)
    arguments.add_argument("--client-ms", type=int, metavar="MS", help="default: hot 100, hang 5")
    arguments.add_argument("--in-flight", type=int, nargs="+", default=[8], metavar="N")
    arguments.add_argument("--deadlines", type=float, default=2.5, help="how long hot videos are played")
    arguments.add_argument("--rate", type=float, default=200.0, help="quiet plays per second")
    arguments.add_argument("--hang-s", type=float, default=2.0, metavar="S")
    add_json(arguments)
    options = arguments.parse_args()
    measured = _hot if options.what == "hot" else _hang
    found = list(measured(options))
    write_json(options.json, found)


def _hot(options: argparse.Namespace) -> Iterator[Hot]:
    client_ms = 100 if options.client_ms is None else options.client_ms
    for in_flight in options.in_flight:
        with folder() as path:
            one = hot(options.videos, client_ms, in_flight, options.deadlines * DEADLINE_S, path)
        columns = ("hot videos", "client", "in flight", "publishes", "totals", "late", "latest, s")
        row = (
            f"{one.videos:,}",
            f"{one.client_ms} ms",
            f"{one.in_flight}",
            f"{one.publishes:,}",
            f"{one.totals:,}",
            f"{one.late:,}",
            f"{one.latest_ms / 1000:+.1f}",
        )
        show(columns, [row], "confirmed after the deadline; latest: after it (+) or before it (-)", texts=0)
        yield one


def _hang(options: argparse.Namespace) -> Iterator[Hang]:
    client_ms = 5 if options.client_ms is None else options.client_ms
    for in_flight in options.in_flight:
        with folder() as path:
            one = hang(options.rate, client_ms, in_flight, options.hang_s, path)
        rows = [
            (f"{in_flight}", what, f"{len(waits):,}", *_quantiles(waits))
            for what, waits in (("during the hang", one.during_ms), ("otherwise", one.otherwise_ms))
        ]
        columns = ("in flight", "plays", "number", "median", "p99", "slowest")
        show(columns, rows, f"arrival on the queue to receipt, ms; one publish hangs for {one.hang_s:g} s", 2)
        yield one


def hot(videos: int, client_ms: int, in_flight: int, seconds: float, path: Path) -> Hot:
    """Play hot videos for some time, and look at when the client confirmed their totals."""
    chance = Random(1)
    bodies = [body(str(UUID(int=number + 1))) for number in range(videos)]
    settings = ["dispatch.realtime_below=1", f"dispatch.deadline_s={DEADLINE_S}"]
    with _running(settings, client_ms, in_flight, path) as (service, queue, client):
        rate = videos * ROUNDS_A_DEADLINE / DEADLINE_S
        _put(queue, lambda number: bodies[chance.randrange(videos)], rate, seconds)
        patience_s = DEADLINE_S + TIMEOUT_S
        wait_for(lambda: service.status()["caught_up"], "all published", patience_s, service.log)
        noted = client.take()
    # Confirmed is when the client has answered. Its answer takes as long as it was told to.
    past_ms = [
        (one.at_ns - entry.arrived_at_ns) / 1e6 + client_ms - DEADLINE_S * 1000
        for one in noted
        for entry in one.publish.videos
    ]
    late = sum(ms > 0 for ms in past_ms)
    return Hot(videos, client_ms, in_flight, len(noted), len(past_ms), late, max(past_ms))


def hang(rate: float, client_ms: int, in_flight: int, hang_s: float, path: Path) -> Hang:
    """Play quiet videos while the client hangs once, and look at when it received them."""
    with _running([], client_ms, in_flight, path, (HANG_AT, hang_s)) as (service, queue, client):
        number = 0

        def play(_: int) -> bytes:
            nonlocal number
            number += 1
            return body(str(UUID(int=number)))

        deadline_s = time.monotonic() + TIMEOUT_S
        while client.count() < HANG_AT and time.monotonic() < deadline_s:
            _put(queue, play, rate, 0.5, 1 / rate)
        _put(queue, play, rate, hang_s + PLAYS_AFTER_S, 1 / rate)
        wait_for(lambda: service.status()["caught_up"], "all published", TIMEOUT_S, service.log)
        noted = client.take()
    return _waits(noted, client_ms, in_flight, hang_s)


def _waits(noted: list[Noted], client_ms: int, in_flight: int, hang_s: float) -> Hang:
    hung = noted[HANG_AT - 1]
    ends_ns = hung.at_ns + hang_s * 1e9
    during: list[float] = []
    otherwise: list[float] = []
    for one in noted:
        for entry in one.publish.videos:
            wait_ms = (one.at_ns - entry.arrived_at_ns) / 1e6
            is_during = one is not hung and hung.at_ns <= entry.arrived_at_ns < ends_ns
            (during if is_during else otherwise).append(wait_ms)
    return Hang(client_ms, in_flight, hang_s, sorted(during), sorted(otherwise))


@contextlib.contextmanager
def _running(
    settings: list[str], client_ms: int, in_flight: int, path: Path, hang: tuple[int, float] = (0, 0.0)
) -> Iterator[tuple[Service, Queue, SlowClient]]:
    kind = "embedded" if nsqd_path() is None else "nsqd"
    with open_queue(kind, path / "queue") as process, SlowClient(client_ms / 1000, hang) as client:
        queue = Queue.of(process)
        words = [
            *ANY_PORTS,
            *settings,
            reading(queue.tcp_address),
            "client.enabled=false",
            "publish.stdout=false",
            f"publish.url={client.url}",
            f"publish.in_flight_max={in_flight}",
        ]
        with Service(path / "state", words) as service:
            yield service, queue, client


def _put(
    queue: Queue, play: Callable[[int], bytes], rate: float, seconds: float, every_s: float = PUT_EVERY_S
) -> None:
    """Put plays on the queue at `rate` per second, some each `every_s`."""
    with RawClient(queue.tcp_address) as client:
        started_s, done = time.monotonic(), 0
        while (passed_s := time.monotonic() - started_s) < seconds:
            due = int((passed_s + every_s) * rate) - done
            if due:
                client.publish(queue.topic, *[play(done + n) for n in range(due)])
                done += due
            time.sleep(every_s)


def _quantiles(ranked: list[float]) -> list[str]:
    if not ranked:
        return ["none"] * 3
    return [f"{ranked[min(len(ranked) - 1, int(share * len(ranked)))]:.1f}" for share in (0.5, 0.99, 1.0)]


if __name__ == "__main__":
    main()
