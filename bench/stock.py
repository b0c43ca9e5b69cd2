"""Stock pynsq readers, as programs, to compare our service with.

    python -m bench.stock finish | count | look   ADDRESS PLAYS

finish: only finishes messages. count: a program that anyone could write with pynsq in ten minutes. It
decodes, counts in memory, prints publishes every 60 s, twenty videos each, and loses its counts when it dies.
look: only looks at the clock. Each reads PLAYS messages of the topic "plays" on the channel "stock" and ends.
The first two print plays per second, from the first message to the last. The third prints the age of each
message, in ms, as JSON.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable

import nsq
from tornado.ioloop import IOLoop, PeriodicCallback

from actors.system.installation import ROOT

from .command import parser

CHANNEL = "stock"
PLAYS_MAX = 60_000  # per measurement: with as many plays as our service gets, it would take minutes
PUBLISH_EVERY_MS = 60_000
TIMEOUT_S = 300.0


def start(what: str, address: str, plays: int) -> "subprocess.Popen[str]":
    """Start one of these readers in its own process."""
    command = [sys.executable, "-m", "bench.stock", what, address, str(plays)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(reader: "subprocess.Popen[str]") -> str:
    """Wait until the reader has ended. Returns its output."""
    said, _ = reader.communicate(timeout=TIMEOUT_S)
    assert reader.returncode == 0, f"the stock reader ended with {reader.returncode}"
    return said


def rate(what: str, address: str, plays: int) -> float:
    """Plays per second of one of these readers."""
    return float(result(start(what, address, plays)))


def read(address: str, plays: int, handle: Callable[[nsq.Message], None], max_in_flight: int) -> float:
    """Read this many messages. Returns the seconds from the first message to the last."""
    seen, started_s = 0, 0.0

    def take(message: nsq.Message) -> bool:
        nonlocal seen, started_s
        started_s = started_s or time.monotonic()
        handle(message)
        seen += 1
        if seen == plays:
            loop.add_callback(loop.stop)
        return True

    loop = IOLoop.current()
    nsq.Reader("plays", CHANNEL, take, nsqd_tcp_addresses=[address], max_in_flight=max_in_flight)
    loop.start()
    return time.monotonic() - started_s


def main() -> None:
    """Read, and print the figures."""
    arguments = parser(__doc__)
    arguments.add_argument("what", choices=["finish", "count", "look"])
    arguments.add_argument("address")
    arguments.add_argument("plays", type=int)
    options = arguments.parse_args()
    match options.what:
        case "finish":
            print(options.plays / read(options.address, options.plays, lambda message: None, 2500))
        case "count":
            print(options.plays / _count(options.address, options.plays))
        case "look":
            ages_ms: list[float] = []
            read(
                options.address,
                options.plays,
                lambda message: ages_ms.append((time.time_ns() - message.timestamp) / 1e6),
                200,
            )
            print(json.dumps(ages_ms))


def _count(address: str, plays: int) -> float:
    totals: Counter[str] = Counter()
    changed: set[str] = set()

    def count(message: nsq.Message) -> None:
        video = json.loads(message.body)["video_id"]
        totals[video] += 1
        changed.add(video)

    def publish() -> None:
        while changed:
            twenty = [changed.pop() for _ in range(min(20, len(changed)))]
            print(json.dumps({video: totals[video] for video in twenty}), file=sys.stderr)

    PeriodicCallback(publish, PUBLISH_EVERY_MS).start()
    return read(address, plays, count, 2500)


if __name__ == "__main__":
    main()
