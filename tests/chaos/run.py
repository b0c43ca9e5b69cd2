"""One run: a service under load, faults from a seed until enough processes were killed, and the proof.

Faults with an end overlap with later faults. If the service has ended, it is started again, as a service
manager would do. When the faults are over, everything must become exact within `PATIENCE_S`.
"""

import contextlib
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random

import msgspec

from actors.cli.launch import Service, wait_for
from actors.system.exits import Failure
from tests.support.queues import QueueProcess, free_ports, open_queue
from tests.support.services import ANY_PORTS, HURRIED, PATIENT, Queue, ledger_totals

from . import torn, victims
from .disk import Disk, NoFill, open_disk
from .faults import CONSUMER, QUEUE, SERVICE, Fault, Kind, Mood, draw, pause_s
from .load import TOPIC, Load
from .moods import PUBLISH_TIMEOUT_S, MoodyClient

PATIENCE_S = 120.0
PLAYS_MIN = 1000
LONGER_THAN_A_MESSAGE_MAY_TAKE_S = 1.5  # HURRIED's msg_timeout_s, and the time until nsqd notices its end
START_TRIES = 10
CHANNEL = "playtally"
SETTINGS = [
    *HURRIED,
    *PATIENT,
    "counters.shards=3",
    "client.enabled=false",
    "dispatch.deadline_s=1",
    "supervisor.liveness_timeout_s=2",
    f"publish.timeout_s={PUBLISH_TIMEOUT_S}",
]


class Outcome(msgspec.Struct):
    """What a run did, and its result."""

    seed: int
    queue: str
    disk: str
    kills: int = 0
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    plays: int = 0
    unanswered: int = 0  # of them: plays that were counted without an acknowledgement
    lost: int = 0
    doubled: int = 0
    untold: int = 0
    publishes: int = 0
    repeated: int = 0
    redelivered: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)
    seconds: float = 0.0

    @property
    def exact(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.untold or self.wrong)


class Chaos:
    """The service and everything around it."""

    def __init__(self, service: Service, nsqd: QueueProcess | None, client: MoodyClient, disk: Disk):
        """`nsqd`: the real one, or None if the embedded queue is a child of the service."""
        self.done: Counter[str] = Counter()
        self.kills = 0
        self._service, self._nsqd, self._client, self._disk = service, nsqd, client, disk
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._is_full = False

    def harm(self, fault: Fault) -> bool:
        """Apply a fault. Returns whether that was possible."""
        match fault.kind:
            case Kind.CLIENT:
                self._client.turn(Mood(fault.target))
                self._later(fault.seconds, lambda: self._client.turn(Mood.FINE))
            case Kind.DISK:
                if self._is_full or isinstance(self._disk, NoFill):
                    return False
                self._fill(fault.seconds)
            case _ if fault.target == QUEUE and self._nsqd is not None:
                return self._harm_nsqd(self._nsqd, fault)
            case _:
                return self._harm_process(fault)
        self.done[fault.name] += 1
        return True

    def go_on(self) -> None:
        """End the faults whose time is over. Start the service if it has ended."""
        while self._ends and self._ends[0][0] <= time.monotonic():
            heapq.heappop(self._ends)[2]()
        if self._service.ended:
            self.start()

    def end_all(self) -> None:
        """End every fault."""
        while self._ends:
            heapq.heappop(self._ends)[2]()
        self.go_on()

    def start(self) -> None:
        """Start the service. It may fail while a fault lasts. Raises `Failure` if it goes on failing."""
        for tries_left in reversed(range(START_TRIES)):
            try:
                self._service.start()
                return
            except (Failure, OSError):
                self.done["start that failed"] += 1
                if not tries_left or not self._ends:
                    raise
                heapq.heappop(self._ends)[2]()

    def _harm_process(self, fault: Fault) -> bool:
        pid = victims.find(self._service).get(fault.target)
        if pid is None:
            return False
        self.done[fault.name] += 1
        if fault.kind is Kind.HALT:
            victims.halt(pid)
            self._later(fault.seconds, lambda: victims.resume(pid))
            return True
        self.kills += 1
        if fault.target == SERVICE:
            orphans = victims.find(self._service)
            self._service.kill()
            for orphan in orphans.values():  # a halted orphan would keep its ledger locked
                victims.resume(orphan)
        else:
            victims.kill(pid)
        return True

    def _harm_nsqd(self, nsqd: QueueProcess, fault: Fault) -> bool:
        if fault.kind is Kind.KILL:
            self.done["restart nsqd"] += 1
            nsqd.restart()
            return True
        self.done[fault.name] += 1
        victims.halt(nsqd.pid)
        time.sleep(fault.seconds)  # other faults have to wait, because nsqd may have to answer a restart
        victims.resume(nsqd.pid)
        return True

    def _fill(self, seconds: float) -> None:
        pids = [pid for name, pid in victims.find(self._service).items() if name != SERVICE]
        self._is_full = True
        self._disk.fill(pids)

        def free() -> None:
            self._disk.free(pids)
            self._is_full = False

        self._later(seconds, free)

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._ends, (time.monotonic() + seconds, next(self._numbers), what))


def run(kind: str, kills: int, seed: int, path: Path, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Run on a queue of this kind (see `queues.QUEUES`), in this folder.

    Raises `Failure` if the service can't be started, or does not catch up.
    """
    started_s = time.monotonic()
    chance = Random(seed)
    with open_world(kind, path) as (chaos, service, client, disk):
        load = Load(service.queue.address, chance.getrandbits(32))
        chaos.start()
        load.start()
        try:
            while chaos.kills < kills:
                chaos.go_on()
                fault, seconds = draw(chance), pause_s(chance)
                if chaos.harm(fault):
                    say(f"{chaos.kills} of {kills} kills, {sum(chaos.done.values())} faults")
                    time.sleep(seconds)
            chaos.end_all()
            go_on_until_it_shows(chaos, service, load)
        finally:
            load.stop()
        outcome = Outcome(seed, kind, disk.how, chaos.kills, chaos.done)
        prove(outcome, service, client, load)
        if service.stop() != 0:
            outcome.wrong.append(f"the service ended with {service.process.returncode}\n{service.log()}")
        for verdict in torn.check(service.state_dir, path, [*ANY_PORTS, *SETTINGS], chance):
            outcome.faults[f"file {verdict.damage.split(' ', 1)[1]}"] += 1
            if verdict.wrong:
                outcome.wrong.append(f"{verdict.damage}: {verdict.wrong}")
    outcome.seconds = time.monotonic() - started_s
    return outcome


@contextlib.contextmanager
def open_world(kind: str, path: Path) -> Iterator[tuple[Chaos, Service, MoodyClient, Disk]]:
    """A service that is not started yet, its queue, its client and its disk."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(MoodyClient())
        stack.callback(client.turn, Mood.FINE)  # a client that is down can't be closed
        disk = stack.enter_context(open_disk(path / "state"))
        tcp, http = (f"127.0.0.1:{port}" for port in free_ports(2))
        settings = [
            *ANY_PORTS,
            *SETTINGS,
            f"publish.url={client.url}",
            f"embedded_nsqd.tcp_address={tcp}",
            f"embedded_nsqd.http_address={http}",
        ]
        nsqd = stack.enter_context(open_queue(kind, path)) if kind == "nsqd" else None
        if nsqd is not None:
            tcp, http = nsqd.tcp_address, nsqd.http_address
            settings.append(f'nsq.nsqd_tcp_addresses=["{tcp}"]')
        service = Service(path / "state", settings)
        service.queue = Queue(lambda: (tcp, http))
        stack.callback(service.end)
        yield Chaos(service, nsqd, client, disk), service, client, disk


def go_on_until_it_shows(chaos: Chaos, service: Service, load: Load) -> None:
    """Wait until there are enough plays, and a redelivery among them.

    If no fault has made a redelivery, halt the consumer until nsqd delivers its messages again.
    """

    def has_redelivered() -> bool:
        return service.status()["plays"]["redelivered"] > 0

    wait_for(lambda: load.plays >= PLAYS_MIN, f"{PLAYS_MIN} plays", PATIENCE_S)
    while not wait_for(service.status, "its status", PATIENCE_S)["plays"]["redelivered"]:
        if chaos.harm(Fault(Kind.HALT, CONSUMER, LONGER_THAN_A_MESSAGE_MAY_TAKE_S)):
            time.sleep(LONGER_THAN_A_MESSAGE_MAY_TAKE_S)
            chaos.end_all()
        with contextlib.suppress(Failure):
            wait_for(has_redelivered, "a redelivery", LONGER_THAN_A_MESSAGE_MAY_TAKE_S)


def is_at_rest(service: Service) -> bool:
    """Whether every play is counted and published.

    The queue is asked first. If the service were asked first, a play that was still on the queue then could
    be counted and not yet published when the queue is asked.
    """
    return service.queue.unfinished(TOPIC, CHANNEL) == 0 and bool(service.status()["caught_up"])


def prove(outcome: Outcome, service: Service, client: MoodyClient, load: Load) -> None:
    """Wait until everything is counted and published. Note everything that is wrong."""
    with contextlib.suppress(Failure):  # if a play was lost, this waits for it in vain
        wait_for(lambda: is_at_rest(service), "all to be counted and published", PATIENCE_S)
    status = service.status()
    totals = ledger_totals(service)
    expected = load.expected(totals)
    videos = expected.keys() | totals.keys()
    outcome.plays = expected.total()
    outcome.unanswered = outcome.plays - sum(batch.plays.total() for batch in load.acknowledged)
    outcome.lost = sum(max(0, expected[one] - totals.get(one, 0)) for one in videos)
    outcome.doubled = sum(max(0, totals.get(one, 0) - expected[one]) for one in videos)
    outcome.untold = sum(client.totals.get(one) != totals[one] for one in totals)
    outcome.publishes, outcome.repeated = len(client.received), client.repeated
    outcome.redelivered = status["plays"]["redelivered"]
    outcome.wrong += client.wrong
