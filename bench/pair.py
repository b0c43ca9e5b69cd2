"""One pair: a service of each of two checkouts, which run at the same time and get the same work in turn.

Owns what is measured, and how. A busy machine may be slower for some seconds. So a drain is cut into many
small rounds, and both services have a turn in each round. Their lone plays take turns, too.
"""

import contextlib
import statistics
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.support.queues import RawClient, free_ports
from tests.support.services import reading

from .backlog import PLAYS_A_VIDEO, Queue, body, popular
from .checkouts import HOST, CannotCompare, Checkout, Service, used_s
from .judgement import SIDES, turns
from .receipts import Receiver

ROUNDS = 20  # of a drain; even, so that each side goes first equally often in a pair
LONE_PLAY_EVERY_S = 0.005  # the sides take turns, so each gets 100 per second
SETTLE_S = 0.1  # messages and writes shortly after the last play belong to the drain
TIMEOUT_S = 120.0
_chance = Random(1)
VIDEOS = [str(uuid.UUID(bytes=_chance.randbytes(16))) for _ in range(100)]
# No deadline falls due while a pair is measured: its publish would count for one side only.
SETTINGS = ["client.enabled=false", "publish.stdout=false", "dispatch.deadline_s=3600"]

BySide = dict[str, float]


@dataclass(frozen=True)
class Side:
    """One service of a pair, with its queue and its client."""

    service: Service
    queue: Queue
    receiver: Receiver


class Bench:
    """Measures pairs. `nsqd`: its TCP and HTTP address; None for the embedded queue of each checkout."""

    def __init__(self, checkouts: Mapping[str, Checkout], nsqd: tuple[str, str] | None, folder: Path):
        """`folder` gets the files of the services."""
        self._checkouts = checkouts
        self._nsqd = nsqd
        self._folder = folder

    def measure(self, pair: int, plays: int, lone_plays: int) -> tuple[BySide, BySide]:
        """CPU time per play (µs) while `plays` plays are drained, and the median wait (ms) of the lone plays.

        `pair` is the number of the pair, from 0; it decides which side goes first. Raises `CannotCompare` and
        `OSError`.
        """
        with contextlib.ExitStack() as stack:
            order = turns(pair, 1)[0]
            sides = {name: stack.enter_context(self.side(name, pair)) for name in order}
            return _drain(sides, pair, plays), _publish(sides, pair, lone_plays)

    @contextlib.contextmanager
    def side(self, name: str, pair: int) -> Iterator[Side]:
        """A running service that is connected to its queue and has nothing to do."""
        topic = f"plays-{name}-{pair}"
        with Receiver() as receiver:
            settings = [*SETTINGS, f"publish.url={receiver.url}", f"nsq.topic={topic}"]
            if self._nsqd is None:
                tcp, http = (f"{HOST}:{port}" for port in free_ports(2))
                settings += [f"embedded_nsqd.tcp_address={tcp}", f"embedded_nsqd.http_address={http}"]
            else:
                tcp, http = self._nsqd
                settings.append(reading(tcp))
            queue = Queue(tcp, http, topic)
            with Service(self._checkouts[name], self._folder / topic, settings) as service:
                queue.create()
                service.wait_for(queue.is_read, "connect to its queue", TIMEOUT_S)
                yield Side(service, queue, receiver)
        if self._nsqd is not None:
            queue.delete()


def _drain(sides: Mapping[str, Side], pair: int, plays: int) -> BySide:
    """CPU time per play, µs."""
    used = dict.fromkeys(SIDES, 0.0)
    plays_a_round = plays // ROUNDS
    for number, order in enumerate(turns(pair, 1 + ROUNDS)):
        bodies = popular(plays_a_round, VIDEOS, seed=number)
        for name in order:
            sides[name].queue.pause()
            sides[name].queue.put(bodies)
        for name in order:
            seconds = _drain_once(sides[name], plays_a_round)
            if number:  # in the first round the videos are new, and some code runs for the first time
                used[name] += seconds
    return {name: seconds / (plays_a_round * ROUNDS) * 1e6 for name, seconds in used.items()}


def _drain_once(side: Side, plays: int) -> float:
    """CPU seconds that the service uses to drain the `plays` plays on its queue."""
    counted = side.service.status()["plays"]["counted"] + plays
    before = side.service.cpu_s()
    side.queue.unpause()
    # Ask the queue, not the service: an answer would cost the service CPU time. A finished play is counted.
    side.service.wait_for(side.queue.is_drained, "drain its queue", TIMEOUT_S)
    time.sleep(SETTLE_S)
    after = side.service.cpu_s()
    found = side.service.status()["plays"]["counted"]
    if found != counted:
        raise CannotCompare(f"{found} plays were counted, expected {counted}")
    return used_s(before, after)


def _publish(sides: Mapping[str, Side], pair: int, plays: int) -> BySide:
    """The median wait (ms) from a lone play's arrival to its receipt. Only one lone play is on its way."""
    waits_ms: dict[str, list[float]] = {name: [] for name in SIDES}
    videos = [str(uuid.uuid4()) for _ in range(-(-plays // PLAYS_A_VIDEO))]
    with contextlib.ExitStack() as stack:
        clients = {
            name: stack.enter_context(RawClient(side.queue.tcp_address)) for name, side in sides.items()
        }
        next_s = time.monotonic()
        for number, order in enumerate(turns(pair, plays)):
            video, earlier = videos[number // PLAYS_A_VIDEO], number % PLAYS_A_VIDEO
            for name in order:
                clients[name].publish(sides[name].queue.topic, body(video))
                waits_ms[name].append(sides[name].receiver.wait_ms(video, earlier + 1))
                now_s = time.monotonic()
                next_s = max(next_s + LONE_PLAY_EVERY_S, now_s)
                time.sleep(next_s - now_s)
    return {name: statistics.median(waits) for name, waits in waits_ms.items()}
