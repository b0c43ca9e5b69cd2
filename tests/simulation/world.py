"""The whole service in memory: the supervisor, the three actors, their pipes and disks, and the faults. What
is outside of it (nsqds, client) is in `outside.py`. The same plan always gives the same run.

A process does one thing at a time. Events of a stopped process wait until it continues. A process can be
killed before and after every single effect. It starts again from what its disk has.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from actors.core.columns import unpack_videos
from actors.core.consumers import consumers_of, is_consumer
from actors.core.counter.changes import LedgerChanges
from actors.core.counter.rules import DISPATCHER
from actors.core.shards import counter_of
from actors.supervision.loop import run_at_once
from actors.system.exits import WriteUnavailable

from .cast import make_actor
from .changes import Changes
from .checks import Invariant, Violation
from .client import Client
from .clock import Clock
from .disks import LedgerDisk, OutboxDisk
from .links import End, link
from .oracle import Oracle
from .outside import Outside
from .parts import stored_to_leave
from .plan import Fault, Kind, Plan
from .process import Machines, Process
from .trace import Trace

LIVENESS_TIMEOUT_MS = 3000
TRAP_MS = 3000  # how long a kill waits for its effect


class Killed(Exception):
    """The actor was killed in the middle of a call."""


class World:
    """Everything in one run."""

    def __init__(self, plan: Plan, machines: Machines = Machines(), trace: Trace | None = None):
        self.plan = plan
        self.machines = machines
        self.clock = Clock()
        self.oracle = Oracle()
        self.ledgers = [LedgerDisk() for _ in range(plan.shards)]
        self.outbox = OutboxDisk()
        self.client = Client(plan, self.clock, self.oracle, self.is_troubled)
        self.processes: dict[str, Any] = {}
        self.killed: list[str] = []
        self.attempts = 0  # that left to the client
        self.stored_and_lost = 0  # at most: attempts that a killed dispatcher had stored, and did not make
        self.random = Random(plan.luck)
        self.outside = Outside(self)
        self.changes = Changes(self, plan)
        self._trace = trace
        self._traps = [fault for fault in plan.faults if fault.kind is Kind.KILL_AT_EFFECT]
        self._disk_fails_until_ms: dict[str, int] = {}
        self._troubled_until_ms = 0
        self._starts = dict.fromkeys(_children(plan), 0)
        for delay_ms, name in enumerate(self._starts):
            self.clock.at(delay_ms, self._start, name)
        for fault in plan.faults:
            self.clock.at(fault.at_ms, self._strike, fault)

    def run(self, process: Process, call: Any, *arguments: Any) -> None:
        """Make a call in a process as soon as it can, in order. Never, if the process is dead."""
        if not process.alive:
            return
        process.mail.append((call, arguments))
        if len(process.mail) == 1:
            self._go_on(process)

    def _go_on(self, process: Process) -> None:
        try:
            while process.mail and process.alive:
                if process.stopped_until_ms > self.clock.now_ms:
                    self.clock.at(process.stopped_until_ms, self._go_on, process)
                    return
                call, arguments = process.mail[0]
                call(*arguments)
                del process.mail[0]
        except Killed:
            self._kill(process)

    @contextmanager
    def effect(self, process: Process, name: str, what: Any) -> Iterator[None]:
        """A process carries out an effect of its rules. Raises `Killed` before or after the effect."""
        self.spring(process, name, after=False)
        self.log(process, what)
        yield
        self.spring(process, name, after=True)

    def write(self, process: Process) -> None:
        """A process writes to its disk. Raises `WriteUnavailable` while the disk fails."""
        if self._disk_fails_until_ms.get(process.name, 0) > self.clock.now_ms:
            self.log(process, "cannot write")
            raise WriteUnavailable("the disk is full")

    def log(self, who: Any, what: Any) -> None:
        """Add to the trace, if there is one."""
        if self._trace is not None:
            self._trace.add(self.clock.now_ms, who, what)

    # The supervisor

    def _start(self, name: str) -> None:
        self._starts[name] += 1
        process = self.processes[name] = Process(self, name, self._starts[name])
        self.log(process, "starts")
        process.actor = make_actor(process)
        self.changes.begun_with(process)
        run_at_once(process.actor.init())
        for peer in list(self.processes.values()):
            if peer.alive and (peer.name.startswith("counter") != name.startswith("counter")):
                ends = link(process, peer)
                for end in ends:
                    end.owner.ends.append(end)
                    delay_ms = self.random.randint(1, 20)
                    end.owner.control_ms = max(end.owner.control_ms, self.clock.now_ms + delay_ms)
                    self.clock.at(end.owner.control_ms, self.run, end.owner, self._attach, end)

    def _attach(self, end: End) -> None:
        process = end.owner
        if process.links.pop(end.peer, None) is not None:
            process.actor.lost(end.peer)
        process.links[end.peer] = end
        self.log(process, f"is linked to {end.other.owner}")
        process.actor.linked(end.peer)
        self._read_soon(end, 0)

    def _kill(self, process: Process) -> None:
        self.log(process, "is killed")
        self.killed.append(process.name)
        self.trouble()
        process.alive = False
        for end in process.ends:
            end.ended = True
            end.other.break_off(self.random)
            self._read_soon(end.other, self.random.randint(0, 150))
        if process.name == DISPATCHER:
            self.stored_and_lost += stored_to_leave(process, stores=1)
        if is_consumer(process.name):
            self.outside.consumer_is_gone(process.actor.source)
        self.clock.after(self.random.randint(20, 300), self._start, process.name)

    def _strike(self, fault: Fault) -> None:
        self.log("fault:", fault)
        if fault.kind is not Kind.REPUBLISH:  # which excuses nothing
            self.trouble(fault.lasts_ms)
        now_ms, process = self.clock.now_ms, self.processes.get(fault.who)
        match fault.kind:
            case Kind.KILL if process is not None and process.alive:
                self._kill(process)
            case Kind.KILL_ALL:
                for one in list(self.processes.values()):
                    if one.alive:
                        self._kill(one)
            case Kind.STOP if process is not None and process.alive:
                process.stopped_until_ms = max(process.stopped_until_ms, now_ms + fault.lasts_ms)
                if fault.lasts_ms >= LIVENESS_TIMEOUT_MS:
                    self.clock.after(LIVENESS_TIMEOUT_MS, self._kill_stuck, process)
            case Kind.DISK:
                self._disk_fails_until_ms[fault.who] = now_ms + fault.lasts_ms
            case Kind.REPUBLISH:
                dispatcher = self.processes[DISPATCHER]
                self.run(dispatcher, dispatcher.actor.republish, "asked for")
            case Kind.PAUSE | Kind.SET:
                self.changes.strike(fault)
            case Kind.CLOCK:
                self.clock.offset_ms += fault.amount
                self.clock.after(fault.lasts_ms, self._correct_clock, fault.amount)
            case _:
                self.outside.strike(fault)

    def _kill_stuck(self, process: Process) -> None:
        if process.alive and process.stopped_until_ms >= self.clock.now_ms:
            self._kill(process)

    def _correct_clock(self, jump_ms: int) -> None:
        self.clock.offset_ms -= jump_ms

    def spring(self, process: Process, effect: str, after: bool) -> None:
        """Kill the process here, if a fault says so. Raises `Killed`."""
        for trap in self._traps:
            if trap.who != process.name or trap.effect != effect or trap.after is not after:
                continue
            if trap.at_ms <= self.clock.now_ms <= trap.at_ms + TRAP_MS:
                self._traps.remove(trap)
                raise Killed

    def trouble(self, lasts_ms: int = 0) -> None:
        """Something went wrong: no deadline is promised until it is over."""
        until_ms = self.clock.now_ms + lasts_ms + self.plan.recovery_ms
        self._troubled_until_ms = max(self._troubled_until_ms, until_ms)

    def is_troubled(self, since_ms: int) -> bool:
        """Whether anything happened since then that excuses a late publish."""
        return self.outside.client_fails or since_ms <= self._troubled_until_ms

    def committed(self, process: Process, disk: LedgerDisk, changes: LedgerChanges) -> None:
        """A counter has committed these changes."""
        fresh = process.actor.fresh_of(changes)
        videos = unpack_videos(changes.accounts.videos)
        self.oracle.committed(fresh, videos, disk, self.clock.now_ms)
        self.check_ages()
        for video, account in changes.accounts.items():
            has = self.client.totals.get(video, 0)
            if account.published > has:
                found = f"published {account.published}, but the client has {has}"
                raise Violation(Invariant.RECORDED_AFTER, found)

    def check_ages(self) -> None:
        """Check that no disk would be taken for an older copy."""
        made, known = [disk.commits for disk in self.ledgers], self.outbox.totals.commits
        heard = max(disk.tallies.stores for disk in self.ledgers)
        if any(commits > made[shard] for shard, commits in known.items()):
            raise Violation(
                Invariant.NEVER_AHEAD, f"the dispatcher knows of {known}, and the ledgers have {made}"
            )
        if heard > self.outbox.totals.stores:
            found = (
                f"a ledger knows of {heard} stores, and the dispatcher has made {self.outbox.totals.stores}"
            )
            raise Violation(Invariant.NEVER_AHEAD, found)

    def drained(self, process: Process) -> None:
        """The dispatcher says that it is drained."""
        assert process.name == DISPATCHER
        if without(self.client.totals, self.refused()) != without(self.oracle.totals, self.refused()):
            raise Violation(Invariant.DRAINED, "a counted play is not published")

    def refused(self) -> set[bytes]:
        """The videos that the dispatcher takes for refused."""
        return set(self.processes[DISPATCHER].actor.rules.refused)

    # Pipes

    @property
    def outstanding(self) -> int:
        """The messages that the consumers hold."""
        names = consumers_of(self.plan.consumers)
        held = [
            one.actor.rules.outstanding for name in names if (one := self.processes.get(name)) and one.alive
        ]
        return sum(held)

    def send(self, process: Process, peer: str, message: Any) -> None:
        """Write to a peer. Without a link the message is dropped."""
        end = process.links.get(peer)
        if end is not None:
            end.write(message)
            self._read_soon(end.other, self.random.randint(0, 3))

    def _read_soon(self, end: End, delay_ms: int) -> None:
        if not end.read_is_due and end.has_unread:
            end.read_is_due = True
            self.clock.after(delay_ms, self.run, end.owner, self._read, end)

    def _read(self, end: End) -> None:
        end.read_is_due = False
        process = end.owner
        if process.links.get(end.peer) is not end:
            return  # not handed over yet, or replaced
        messages = end.read(self.random)
        if messages:
            self.log(process, messages)
            process.actor.handle(end.peer, messages)
        if end.is_over and process.links.get(end.peer) is end:
            del process.links[end.peer]
            self.log(process, f"has lost {end.other.owner}")
            process.actor.lost(end.peer)
        else:
            self._read_soon(end, 1)


def without(totals: dict[bytes, int], videos: set[bytes]) -> dict[bytes, int]:
    """These totals, but for some videos."""
    return {video: total for video, total in totals.items() if video not in videos}


def _children(plan: Plan) -> list[str]:
    """The children in the order in which the supervisor starts them."""
    return [DISPATCHER, *map(counter_of, range(plan.shards)), *consumers_of(plan.consumers)]
