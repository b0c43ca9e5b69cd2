"""How late the batches of deadlines leave: the later they leave the fewer they are, but none may be too late.

    python -m bench.lateness [--client-ms MS …] [--vary PERCENT] [--trace NAME]     in virtual time
    python -m bench.lateness --live [--deadline-s S] [--client-ms MS …]             a real service and client
                             [--realtime-below N] [--restart]

--restart kills the dispatcher before its first deadlines. The restarted one need not guess how long a publish
takes. With --realtime-below 1 there are no realtime publishes, so the first batch of all needs a guess.

age: the age of the oldest hot play of a batch that a deadline triggers, when the client answers the batch, as
a share of the deadline. Where several batches are due together and leave one after the other, the first
cannot be that old. So there is also a share that takes the following batches into account, used. A batch
could have left later by

    spare = min(its deadline - when it was answered, the pause after it + spare of the batch after the pause)

without making any batch late; used is 1 - spare / deadline. late: the hot plays that were answered too late.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import Struct

from actors.core.client.bound import Mode
from actors.core.dispatcher.outbox import payload
from tests.support.recording_client import RecordingClient, Reply
from tests.support.services import open_service

from .backlog import body
from .command import folder, parser, show
from .publishes import BATCH_SIZE_MAX, DEADLINE_MS, OVERDUE_LINGER_MS, replay
from .traces import MS, PLAYS, TRACES, make_trace

CLIENTS_MS = (5, 200, 2000)
REALTIME_BELOW = 100
LIVE_DEADLINE_S = 20.0
LIVE_HOT = 100
LIVE_REALTIME_BELOW = 2
LIVE_ROUNDS, LIVE_PAUSE_S = 130, 0.1


class Sent(Struct, frozen=True):
    """One publish as the client saw it; times in ns."""

    left_ns: int
    answered_ns: int
    publish: dict[str, Any]


class Lateness(Struct, frozen=True):
    """The result for one client. `ages` and `used` are shares of the deadline: 0 to 1, above 1 if late."""

    batches: int
    ages: list[float]
    used: list[float]
    late: int


def judge(sent: Sequence[Sent], deadline_s: float, realtime_below: int = REALTIME_BELOW) -> Lateness:
    """How late the batches left that a deadline triggered. `sent` is in the order of leaving."""
    deadline_ns = round(deadline_s * 1e9)
    ages, used, late = [], [], 0
    spare_ns, begin_ns = math.inf, math.inf
    for one in reversed(sent):
        arrived_ns = [
            entry["arrived_at_ns"]
            for entry in one.publish["videos"]
            if entry["plays"] >= realtime_below and not entry.get("overdue")
        ]
        late += sum(one.answered_ns > stamp + deadline_ns for stamp in arrived_ns)
        if begin_ns != math.inf:
            spare_ns += begin_ns - one.answered_ns
        age_ns = one.answered_ns - min(arrived_ns) if arrived_ns else -math.inf
        spare_ns, begin_ns = min(spare_ns, deadline_ns - age_ns), one.left_ns
        if one.publish["trigger"] == "deadline":
            ages.append(age_ns / deadline_ns)
            used.append(1 - spare_ns / deadline_ns)
    return Lateness(len(sent), sorted(ages), sorted(used), late)


def virtual(name: str, plays: int, seed: int, client_ms: int, vary: float) -> list[Sent]:
    """Replay a trace with a client that takes `client_ms`, give or take a share of `vary`."""
    mode = Mode(
        deadline=DEADLINE_MS * MS, overdue_linger=OVERDUE_LINGER_MS * MS, batch_size_max=BATCH_SIZE_MAX
    )
    told = replay(make_trace(name, plays, seed), mode, client_ms, vary)
    return [Sent(one.left_ms * MS, one.received_ms * MS, payload(one.batch)) for one in told]


def live(
    client_ms: int,
    deadline_s: float,
    seconds: float,
    path: Path,
    realtime_below: int,
    restart: bool,
) -> list[Sent]:
    """Run a real service while 100 hot videos are played again and again, and now and then a new video.

    `restart`: play no new videos; kill the dispatcher once, before the first deadlines.
    """
    reply = Reply(200, after_s=client_ms / 1000)
    with (
        RecordingClient(lambda number, publish: reply) as client,
        open_service(
            "embedded",
            path,
            f"publish.url={client.url}",
            f"dispatch.deadline_s={deadline_s}",
            f"dispatch.realtime_below={realtime_below}",
        ) as service,
    ):
        service.start()
        end_s, videos, killed = time.monotonic() + seconds, LIVE_HOT, False
        while time.monotonic() < end_s:
            videos += 1
            for _ in range(LIVE_ROUNDS):
                service.queue.put("plays", *map(_play, range(LIVE_HOT)))
                time.sleep(LIVE_PAUSE_S)
            if not restart:
                service.queue.put("plays", _play(videos))
            elif not killed:
                killed = service.command("kill", "dispatcher").returncode == 0
        return [Sent(one.at_ns, one.at_ns + client_ms * MS, one.publish) for one in client.accepted()]


def _play(video: int) -> bytes:
    return body(str(UUID(int=video + 1)))


def main() -> None:
    """Measure and print the table."""
    arguments = parser(__doc__)
    arguments.add_argument("--client-ms", nargs="+", type=int, default=CLIENTS_MS, metavar="MS")
    arguments.add_argument(
        "--vary", type=float, default=10, metavar="PERCENT", help="vary publish times by this (default: 10)"
    )
    arguments.add_argument(
        "--trace", choices=TRACES, default="10 min", metavar="NAME", help=", ".join(TRACES)
    )
    arguments.add_argument("--plays", type=int, default=PLAYS)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--live", action="store_true", help="real processes in real time")
    arguments.add_argument(
        "--deadline-s", type=float, default=LIVE_DEADLINE_S, metavar="S", help="with --live"
    )
    arguments.add_argument("--realtime-below", type=int, default=LIVE_REALTIME_BELOW, metavar="N")
    arguments.add_argument("--restart", action="store_true", help="with --live: kill the dispatcher once")
    options = arguments.parse_args()
    columns = ("client", "publishes", "by deadline", "age min", "age p50", "used min", "p1", "p50", "late")
    rows = []
    for client_ms in options.client_ms:
        if options.live:
            deadline_s = options.deadline_s
            with folder() as path:
                seconds, below = 2.5 * deadline_s, options.realtime_below
                sent = live(client_ms, deadline_s, seconds, path, below, options.restart)
            found = judge(sent, deadline_s, options.realtime_below)
        else:
            deadline_s = DEADLINE_MS / 1000
            sent = virtual(options.trace, options.plays, options.seed, client_ms, options.vary / 100)
            found = judge(sent, deadline_s)
        rows.append(
            (
                f"{client_ms} ms",
                f"{found.batches:,}",
                f"{len(found.used):,}",
                _share(found.ages, 0),
                _share(found.ages, 0.5),
                *(_share(found.used, share) for share in (0, 0.01, 0.5)),
                f"{found.late:,}",
            )
        )
    show(columns, rows, texts=0)


def _share(found: list[float], quantile: float) -> str:
    return f"{found[int(quantile * len(found))]:.2%}" if found else "none"


if __name__ == "__main__":
    main()
