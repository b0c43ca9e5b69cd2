"""How soon an nsqd is found, dropped and read again, and how RDY follows the load. Needs NSQ's programs.

    python -m bench.discovery [--rounds 10] [--seconds 6]

Two nsqlookupds and three nsqds run, and a service that knows the nsqlookupds. In each round a new nsqd takes
the place of the third one. Found: from the first play on it until that play is counted. Dropped: from kill -9
until `status` has it no more. Back: from when it answers again until a play on it is counted. Then the first
nsqd gets ten times the plays of each of the others, and the mean RDY of each is shown, from 2 s on. `status`
is asked all the time, so figures are exact to about 50 ms.
"""

import contextlib
import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.cli.launch import Service
from tests.support.queues import QueueProcess, RawClient, open_queue
from tests.support.real_nsqd import RealLookupd
from tests.support.services import ANY_PORTS, wait_counted, wait_status

from .command import folder, parser

BODY = json.dumps({"video_id": str(uuid.UUID(int=7))}).encode()
FIRST_PLAYS_A_SECOND = 20_000  # on the first nsqd; on each of the others a tenth
PUT_EVERY_S = 0.02


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--seconds", type=float, default=6.0, help="of load, to see RDY (default: 6)")
    options = arguments.parse_args()
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(folder())
        lookupds = [stack.enter_context(contextlib.closing(RealLookupd())) for _ in range(2)]
        for one in lookupds:
            one.start()
        words = [f"--lookupd-tcp-address={one.tcp_address}" for one in lookupds]
        nsqds = [stack.enter_context(open_queue("nsqd", path / f"nsqd-{n}", *words)) for n in range(2)]
        lookup = json.dumps([one.http_address for one in lookupds])
        service = Service(
            path / "state", [*ANY_PORTS, f"nsq.lookupd_http_addresses={lookup}", "publish.url="]
        )
        with service:
            for nsqd in nsqds:
                _put(nsqd, 1)
            wait_counted(service, 2)
            rounds = [_round(service, path / f"new-{n}", words) for n in range(options.rounds)]
            for what, times_s in zip(("found", "dropped", "back"), zip(*rounds, strict=True), strict=True):
                print(f"{what:8} median {statistics.median(times_s):.2f} s, worst {max(times_s):.2f} s")
            with open_queue("nsqd", path / "third", *words) as third:
                _put(third, 1)
                wait_status(service, lambda found: found["nsq"]["connections"] == 3, "three connections")
                _show_ready_counts(_ready_counts(service, [*nsqds, third], options.seconds))


def _put(nsqd: QueueProcess, plays: int) -> None:
    with RawClient(nsqd.tcp_address) as client:
        client.publish("plays", *[BODY] * plays)


def _round(service: Service, path: Path, words: list[str]) -> tuple[float, float, float]:
    with open_queue("nsqd", path, *words) as nsqd:
        counted = service.status()["plays"]["counted"]

        def is_dropped(status: dict[str, Any]) -> bool:
            return all(one["address"] != nsqd.tcp_address for one in status["nsq"]["nsqds"])

        found_s = _took_s(lambda: _put(nsqd, 1), lambda: wait_counted(service, counted + 1))
        dropped_s = _took_s(nsqd.kill, lambda: wait_status(service, is_dropped, "its loss"))
        nsqd.start()
        back_s = _took_s(lambda: _put(nsqd, 1), lambda: wait_counted(service, counted + 2))
    return found_s, dropped_s, back_s


def _took_s(begin: Callable[[], Any], wait: Callable[[], Any]) -> float:
    began_s = time.monotonic()
    begin()
    wait()
    return time.monotonic() - began_s


def _ready_counts(service: Service, nsqds: list[QueueProcess], seconds: float) -> list[list[int]]:
    """Load the nsqds. Returns the RDY of each, the first one first, in each look from 2 s on."""
    ends_s = time.monotonic() + seconds
    plays = round(FIRST_PLAYS_A_SECOND * PUT_EVERY_S)
    threads = [
        threading.Thread(target=_load, args=(nsqd, plays if nsqd is nsqds[0] else plays // 10, ends_s))
        for nsqd in nsqds
    ]
    for one in threads:
        one.start()
    time.sleep(2)
    found = []
    while time.monotonic() < ends_s:
        rdy = {one["address"]: one["rdy"] for one in service.status()["nsq"]["nsqds"]}
        found.append([rdy[nsqd.tcp_address] for nsqd in nsqds])
    for one in threads:
        one.join()
    return found


def _load(nsqd: QueueProcess, plays: int, ends_s: float) -> None:
    with RawClient(nsqd.tcp_address) as client:
        while (now_s := time.monotonic()) < ends_s:
            client.publish("plays", *[BODY] * plays)
            time.sleep(max(0.0, now_s + PUT_EVERY_S - time.monotonic()))


def _show_ready_counts(found: list[list[int]]) -> None:
    means = [statistics.mean(of_one) for of_one in zip(*found, strict=True)]
    print(f"RDY      {', '.join(f'{mean:.1f}' for mean in means)} on average in {len(found)} looks")


if __name__ == "__main__":
    main()
