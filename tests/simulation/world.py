"""The whole service in memory: the supervisor, the three actors, their pipes and disks; and the faults.
What is outside of it (nsqds, client) is `outside.py`'s. The same plan is the same run.

A process does one thing at a time, and what is for it while it is stopped happens when it continues.
It can be killed before and after every single effect; it starts again from what its disk has.
"""

from random import Random
from typing import Any

from actors.core.columns import unpack_videos
from actors.core.counter.effects import Commit
from actors.core.counter.ledger import Changes
from actors.core.counter.rules import CONSUMER, DISPATCHER
from actors.core.dispatcher.effects import Forget, Store
from actors.core.shards import counter_of

from .checks import Invariant, Violation
from .client import Client
from .clock import Clock
from .consumer_shell import ConsumerShell
from .counter_shell import CounterShell
from .disks import LedgerDisk, OutboxDisk
from .dispatcher_shell import DispatcherShell
from .links import End, link
from .oracle import Oracle
from .outside import Outside
from .plan import Fault, Kind, Plan
from .shells import Machines, Shell
from .trace import Trace

LIVENESS_TIMEOUT_MS = 3000
WRITE_RETRY_MS = 500
SHELLS = {"consumer": ConsumerShell, "counter": CounterShell, "dispatcher": DispatcherShell}
TRAP_MS = 3000  # how long a kill waits for its effect


class Killed(Exception):
    """The actor was killed in the middle of what it did."""


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
        self.shells: dict[str, Any] = {}
        self.killed: list[str] = []
        self.random = Random(plan.luck)
        self.outside = Outside(self)
        self._trace = trace
        self._traps = [fault for fault in plan.faults if fault.kind is Kind.KILL_AT_EFFECT]
        self._disk_fails_until_ms: dict[str, int] = {}
        self._troubled_until_ms = 0
        self._starts = dict.fromkeys(_children(plan.shards), 0)
        for delay_ms, name in enumerate(self._starts):
            self.clock.at(delay_ms, self._start, name)
        for fault in plan.faults:
            self.clock.at(fault.at_ms, self._strike, fault)

    def run(self, shell: Shell, call: Any, *arguments: Any) -> None:
        """A process does something, as soon as it can and in order; never, when it is dead."""
        if not shell.alive:
            return
        shell.mail.append((call, arguments))
        if len(shell.mail) == 1:
            self._go_on(shell)

    def _go_on(self, shell: Shell) -> None:
        try:
            while shell.mail and shell.alive:
                if shell.todo and shell.stopped_until_ms <= self.clock.now_ms:
                    self.perform(shell, ())
                if shell.stopped_until_ms > self.clock.now_ms:
                    self.clock.at(shell.stopped_until_ms, self._go_on, shell)
                    return
                call, arguments = shell.mail[0]
                call(*arguments)
                del shell.mail[0]
        except Killed:
            self._kill(shell)

    def perform(self, shell: Shell, effects: Any) -> None:
        """Carry out what the rules of a process say, in order. Raises `Killed`."""
        shell.todo.extend(effects)
        while shell.todo:
            effect = shell.todo[0]
            if isinstance(effect, Commit | Store | Forget) and self._disk_fails(shell):
                return
            self.spring(shell, type(effect).__name__, after=False)
            del shell.todo[0]
            self.log(shell, effect)
            shell.carry_out(effect)
            self.spring(shell, type(effect).__name__, after=True)
        shell.done()

    def log(self, who: Any, what: Any) -> None:
        """For the trace, when there is one."""
        if self._trace is not None:
            self._trace.add(self.clock.now_ms, who, what)

    # The supervisor

    def _start(self, name: str) -> None:
        self._starts[name] += 1
        shell = self.shells[name] = SHELLS[name.partition("-")[0]](self, name, self._starts[name])
        self.log(shell, "starts")
        for peer in list(self.shells.values()):
            if peer.alive and (peer.name.startswith("counter") != name.startswith("counter")):
                ends = link(shell, peer)
                for end in ends:
                    end.owner.ends.append(end)
                    delay_ms = self.random.randint(1, 20)
                    end.owner.control_ms = max(end.owner.control_ms, self.clock.now_ms + delay_ms)
                    self.clock.at(end.owner.control_ms, self.run, end.owner, self._attach, end)

    def _attach(self, end: End) -> None:
        shell = end.owner
        if shell.links.pop(end.peer, None) is not None:
            shell.lost(end.peer)
        shell.links[end.peer] = end
        self.log(shell, f"is linked to {end.other.owner}")
        shell.linked(end.peer)
        self._read_soon(end, 0)

    def _kill(self, shell: Shell) -> None:
        self.log(shell, "is killed")
        self.killed.append(shell.name)
        self.trouble()
        shell.alive = False
        for end in shell.ends:
            end.ended = True
            end.other.break_off(self.random)
            self._read_soon(end.other, self.random.randint(0, 150))
        if shell.name == CONSUMER:
            self.outside.consumer_is_gone(shell)
        self.clock.after(self.random.randint(20, 300), self._start, shell.name)

    def _strike(self, fault: Fault) -> None:
        self.log("fault:", fault)
        self.trouble(fault.lasts_ms)
        now_ms, shell = self.clock.now_ms, self.shells.get(fault.who)
        match fault.kind:
            case Kind.KILL if shell is not None and shell.alive:
                self._kill(shell)
            case Kind.KILL_ALL:
                for one in list(self.shells.values()):
                    if one.alive:
                        self._kill(one)
            case Kind.STOP if shell is not None and shell.alive:
                shell.stopped_until_ms = max(shell.stopped_until_ms, now_ms + fault.lasts_ms)
                if fault.lasts_ms >= LIVENESS_TIMEOUT_MS:
                    self.clock.after(LIVENESS_TIMEOUT_MS, self._kill_stuck, shell)
            case Kind.DISK:
                self._disk_fails_until_ms[fault.who] = now_ms + fault.lasts_ms
            case Kind.CLOCK:
                self.clock.offset_ms += fault.amount
                self.clock.after(fault.lasts_ms, self._correct_clock, fault.amount)
            case _:
                self.outside.strike(fault)

    def _kill_stuck(self, shell: Shell) -> None:
        if shell.alive and shell.stopped_until_ms >= self.clock.now_ms:
            self._kill(shell)

    def _correct_clock(self, jump_ms: int) -> None:
        self.clock.offset_ms -= jump_ms

    def spring(self, shell: Shell, effect: str, after: bool) -> None:
        """Where a process can be killed. Raises `Killed`."""
        for trap in self._traps:
            if trap.who != shell.name or trap.effect != effect or trap.after is not after:
                continue
            if trap.at_ms <= self.clock.now_ms <= trap.at_ms + TRAP_MS:
                self._traps.remove(trap)
                raise Killed

    def _disk_fails(self, shell: Shell) -> bool:
        now_ms = self.clock.now_ms
        if self._disk_fails_until_ms.get(shell.name, 0) <= now_ms:
            shell.stuck_since_ms = None
            return False
        if shell.stuck_since_ms is None:
            shell.stuck_since_ms = now_ms
            self.log(shell, "cannot write")
        if now_ms - shell.stuck_since_ms >= LIVENESS_TIMEOUT_MS:
            raise Killed
        shell.stopped_until_ms = max(shell.stopped_until_ms, now_ms + WRITE_RETRY_MS)
        self.clock.after(WRITE_RETRY_MS, self.run, shell, self.perform, shell, ())
        return True

    def trouble(self, lasts_ms: int = 0) -> None:
        """Something went wrong: no deadline is promised until it is over."""
        until_ms = self.clock.now_ms + lasts_ms + self.plan.recovery_ms
        self._troubled_until_ms = max(self._troubled_until_ms, until_ms)

    def is_troubled(self, since_ms: int) -> bool:
        """Whether anything that excuses a lateness happened since then."""
        return self.outside.client_fails or since_ms <= self._troubled_until_ms

    def committed(self, shell: Shell, changes: Changes) -> None:
        """A counter has written these down."""
        videos = unpack_videos(changes.accounts.videos)
        self.oracle.committed(shell.fresh, videos, shell.disk, self.clock.now_ms)
        shell.fresh = []
        for video, account in changes.accounts.items():
            has = self.client.totals.get(video, 0)
            if account.published > has:
                found = f"published {account.published}, and the client has {has}"
                raise Violation(Invariant.RECORDED_AFTER, found)

    # Pipes

    def send(self, shell: Shell, peer: str, message: Any) -> None:
        """A process writes to a peer; without a link to it that is dropped."""
        end = shell.links.get(peer)
        if end is not None:
            end.write(message)
            self._read_soon(end.other, self.random.randint(0, 3))

    def _read_soon(self, end: End, delay_ms: int) -> None:
        if not end.read_is_due and end.has_unread:
            end.read_is_due = True
            self.clock.after(delay_ms, self.run, end.owner, self._read, end)

    def _read(self, end: End) -> None:
        end.read_is_due = False
        shell = end.owner
        if shell.links.get(end.peer) is not end:
            return  # not handed over yet, or replaced
        messages = end.read(self.random)
        if messages:
            self.log(shell, messages)
            shell.handle(end.peer, messages)
        if end.is_over and shell.links.get(end.peer) is end:
            del shell.links[end.peer]
            self.log(shell, f"has lost {end.other.owner}")
            shell.lost(end.peer)
        else:
            self._read_soon(end, 1)


def _children(shards: int) -> list[str]:
    """In the order in which the supervisor starts them."""
    return [DISPATCHER, *map(counter_of, range(shards)), CONSUMER]
