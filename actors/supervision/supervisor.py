"""Supervisors at work: a tree of them over worker processes, each with its own rules.

`restarts.py` decides what follows from an exit; this carries it out. A supervisor is itself a child of the
one above: when it gives up, it stops its children and exits, and the one above decides. All supervisors live
in one process; only workers are processes of their own.

Promises: a child exists once, and no process is forgotten while it lives. A plan, which follows from an exit,
starts only children with its number in `_pending`: a later plan, `terminate_child` and `stop` take the number
away. Under one_for_one plans are carried out at the same time, else one after the other, as OTP does.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from itertools import count

from msgspec.structs import replace

from .restarts import ChildSpec, End, Exit, Plan, Restart, Restarts, SpecError, Strategy
from .side_by_side import Starts
from .states import State
from .worker import StartFailed, Worker

log = logging.getLogger(__name__)

MakeWorker = Callable[[ChildSpec, Callable[[Worker, Exit], None]], Worker]


class Supervisor:
    """One supervisor, with OTP's functions: start, terminate, restart, delete, which and count children."""

    def __init__(
        self,
        spec: ChildSpec,
        make_worker: MakeWorker,
        on_exit: Callable[["Supervisor", Exit], None],
    ):
        """`on_exit` is called when the supervisor ended by itself. Raises `SpecError`."""
        if spec.supervisor is None:
            raise SpecError(f"{spec.id!r} is a worker, expected the spec of a supervisor")
        self.spec = spec
        self.state = State.STOPPED
        self.restarts = 0
        self.gave_up = False
        self._make_worker = make_worker
        self._on_exit = on_exit
        self._rules = Restarts(spec.supervisor)
        self._children = {child.id: self._make(child) for child in spec.supervisor.children}
        self._lives = 0
        self._plan_numbers = count(1)
        self._pending: dict[str, int] = {}  # the children that a plan is to start, with its number
        self._exits: dict[str, Exit] = {}  # the exits that are not decided yet, in their order
        self._group_plan: int | None = None  # the plan at work, if the strategy has one at a time
        self._plans: set[asyncio.Task[None]] = set()
        self._no_pause = asyncio.Event()
        self._closed = False
        self._frozen = False  # it, or one above, stops: nothing is started until its next life
        self._stopping: asyncio.Task[None] | None = None
        self._end: End | None = None

    def __str__(self) -> str:
        return self.spec.id

    # As a child

    async def start(self) -> None:
        """Start the children in order, and side by side those that don't wait for each other.

        Raises `StartFailed`, with all stopped again, if one can't, and `SpecError` if this is not stopped.
        """
        life = self._begin()
        starts = Starts(self, self.which_children(), lambda: not self._frozen and self._lives == life)
        try:
            await starts.run()
        except StartFailed:
            if self._lives == life:
                await self.stop()
            await starts.ended()
            raise
        self.state = State.RUNNING
        self._decide()

    async def stop(self) -> None:
        """Stop the children in reverse order. Nothing is started from now on."""
        self._end = None  # who tells it to stop does not hear that it ended
        if self.state is not State.STOPPED:
            await asyncio.shield(self._begin_to_stop())

    def close(self) -> None:
        """Prepare for the end of the program: no command starts a child; a pending restart waits no longer.

        A child that brings in new work (`ChildSpec.intake`) is not restarted any more.
        """
        for supervisor in self.supervisors():
            supervisor._closed = True
            supervisor._no_pause.set()

    def is_restarting(self, child_id: str) -> bool:
        """Whether a child is to be started again, or is just being started again, after it exited."""
        return child_id in self._pending or child_id in self._exits

    # OTP's functions on children

    async def start_child(self, child: ChildSpec) -> None:
        """Add a child after the others and start it. Raises `SpecError`, `StartFailed`."""
        self._check_may_start()
        self._rules.add(child)
        made = self._children[child.id] = self._make(child)
        try:
            await made.start()
        except StartFailed:
            self._forget(made)
            raise
        self._rules.started(child.id)

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child, and end its restart if one is pending. It stays stopped until it is restarted.

        As in OTP, that may be by the exit of a sibling too, if the strategy says so. Raises `SpecError`.
        """
        child = self._find(child_id)
        self._check_runs()
        self._pending.pop(child_id, None)
        self._exits.pop(child_id, None)
        self._rules.terminated(child_id)
        await child.stop()
        if child.spec.restart is Restart.TEMPORARY:
            self._forget(child)

    async def restart_child(self, child_id: str) -> None:
        """Start a child that is stopped. Raises `SpecError`, `StartFailed`."""
        child = self._find(child_id)
        self._check_is_stopped(child, "")
        self._check_may_start()
        await child.start()
        self._rules.started(child_id)

    def delete_child(self, child_id: str) -> None:
        """Forget a child that is stopped. Raises `SpecError`."""
        child = self._find(child_id)
        self._check_runs()
        self._check_is_stopped(child, ": terminate it first")
        self._forget(child)

    def which_children(self) -> list["Worker | Supervisor"]:
        """The children, in the order in which they start."""
        return list(self._children.values())

    def count_children(self) -> dict[str, int]:
        """How many specs, children that run, supervisors, workers there are."""
        children = self.which_children()
        supervisors = sum(isinstance(child, Supervisor) for child in children)
        return {
            "specs": len(children),
            "active": sum(child.state is State.RUNNING for child in children),
            "supervisors": supervisors,
            "workers": len(children) - supervisors,
        }

    def workers(self) -> Iterator[Worker]:
        """All workers below, in the order in which they start."""
        for child in list(self._children.values()):
            if isinstance(child, Supervisor):
                yield from child.workers()
            else:
                yield child

    def supervisors(self) -> Iterator["Supervisor"]:
        """This one and all below."""
        yield self
        for child in list(self._children.values()):
            if isinstance(child, Supervisor):
                yield from child.supervisors()

    # How it does that

    def _make(self, child: ChildSpec) -> "Worker | Supervisor":
        if child.supervisor is not None:
            return Supervisor(child, self._make_worker, self._exited)
        return self._make_worker(child, self._exited)

    def _find(self, child_id: str) -> "Worker | Supervisor":
        if child_id not in self._children:
            raise SpecError(f"no child {child_id!r}, expected one of {', '.join(self._children)}")
        return self._children[child_id]

    def _check_is_stopped(self, child: "Worker | Supervisor", hint: str) -> None:
        if self.is_restarting(child.spec.id):
            raise SpecError(f"{child.spec.id} is being restarted, expected stopped{hint}")
        if child.state is not State.STOPPED:
            raise SpecError(f"{child.spec.id} is {child.state}, expected stopped{hint}")

    def _check_runs(self) -> None:
        if self.state is not State.RUNNING:
            raise SpecError(f"{self} is {self.state}, expected running; a command to {self} itself is obeyed")

    def _check_may_start(self) -> None:
        self._check_runs()
        if self._closed or self._frozen:
            raise SpecError(f"{self} stops, and starts nothing any more")

    def _forget(self, child: "Worker | Supervisor") -> None:
        """Forget a child, unless it lives, or another has its place."""
        child_id = child.spec.id
        if child.state is State.STOPPED and self._children.get(child_id) is child:
            del self._children[child_id]
            self._exits.pop(child_id, None)
            self._rules.delete(child_id)

    def _begin(self) -> int:
        """Begin a fresh life, with the children of the spec. Returns its number. Raises `SpecError`."""
        if self.state is not State.STOPPED:
            raise SpecError(f"{self} is {self.state}, expected stopped")
        self.state = State.STARTING
        self.gave_up = self._frozen = False
        self._lives += 1
        self._rules = Restarts(self._rules.spec)
        if not self._closed:
            self._no_pause.clear()
        before = self._children  # whose incarnations go on
        specs = self._rules.spec.children
        self._children = {spec.id: before.get(spec.id) or self._make(spec) for spec in specs}
        return self._lives

    def _begin_to_stop(self) -> "asyncio.Task[None]":
        if self._stopping is None:
            self.state = State.STOPPING
            for supervisor in self.supervisors():
                supervisor._freeze()
            self._stopping = asyncio.ensure_future(self._stop_all())
            self._stopping.add_done_callback(_report_bug)
        return self._stopping

    def _freeze(self) -> None:
        self._frozen = True
        self._pending.clear()
        self._exits.clear()
        self._no_pause.set()

    async def _stop_all(self) -> None:
        for child in reversed(self.which_children()):
            await child.stop()
        if self._plans:
            await asyncio.wait(self._plans)  # they find nothing pending any more
        self._stopping, end, self._end = None, self._end, None
        self.state = State.STOPPED
        if end is not None:
            self._on_exit(self, Exit(shutdown=end.reason))

    def _exited(self, child: "Worker | Supervisor", exit: Exit) -> None:
        if not self._frozen:
            self._exits[child.spec.id] = exit
            self._decide()

    def _decide(self) -> None:
        """Decide what follows from the exits, unless a plan has to be carried out first."""
        while self.state is State.RUNNING and self._group_plan is None and self._exits:
            child_id = next(iter(self._exits))
            exit = self._exits.pop(child_id)
            child = self._children[child_id]
            decision = self._rules.exited(child_id, exit, _now_ms())
            if isinstance(child, Supervisor):
                log.warning("supervisor %s %s", child, exit)
                self.gave_up = child.gave_up and isinstance(decision, End)
            self._follow(decision)

    def _follow(self, decision: Plan | End) -> None:
        match decision:
            case Plan():
                for child_id in decision.forget:
                    if child_id not in decision.stop:
                        self._forget(self._children[child_id])
                if decision.start:
                    self._carry_out(decision)
            case End():
                self.gave_up = self.gave_up or decision.gave_up
                why = "gives up, restart intensity exceeded" if decision.gave_up else "ends"
                log.error("supervisor %s %s: %s", self, why, decision.reason)
                self._end = decision
                _ = self._begin_to_stop()

    def _carry_out(self, plan: Plan) -> None:
        number = next(self._plan_numbers)
        if self._rules.spec.strategy is not Strategy.ONE_FOR_ONE:
            self._group_plan = number
        for child_id in plan.start:
            self._pending[child_id] = number
        task = asyncio.ensure_future(self._at_work(plan, number))
        self._plans.add(task)
        task.add_done_callback(self._plans.discard)
        task.add_done_callback(_report_bug)

    async def _at_work(self, plan: Plan, number: int) -> None:
        for child_id in plan.stop:
            if child := self._children.get(child_id):
                await child.stop()
                if child_id in plan.forget:
                    self._forget(child)
        if plan.delay_ms:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._no_pause.wait(), plan.delay_ms / 1000)
        for child_id in plan.start:
            if self._pending.get(child_id) == number and not await self._restart(child_id, number):
                break
        if self._group_plan == number:
            self._group_plan = None
            self._decide()

    async def _restart(self, child_id: str, number: int) -> bool:
        """Start a child that is pending. Returns whether the plan goes on."""
        child = self._children[child_id]
        if self._closed and child.spec.intake:
            del self._pending[child_id]
            return True
        self.restarts += 1
        self._exits.pop(child_id, None)  # if it exited before, this is what follows from that
        try:
            await child.start()
        except StartFailed as error:
            told = self._pending.get(child_id) != number
            if not told:
                self._try_again(child_id, str(error), number)
            return told
        if self._pending.get(child_id) == number:
            del self._pending[child_id]
        self._rules.started(child_id)
        return True

    def _try_again(self, child_id: str, why: str, number: int) -> None:
        """Follow the decision on a start that failed. What a command terminated meanwhile stays stopped."""
        log.warning("%s", why)
        decision = self._rules.start_failed(child_id, why, _now_ms())
        if isinstance(decision, Plan):
            due = {one for one, plan in self._pending.items() if plan == number} | self._exits.keys()
            due |= {one for one, child in self._children.items() if child.state is not State.STOPPED}
            decision = replace(decision, start=tuple(one for one in decision.start if one in due))
        self._follow(decision)


def _now_ms() -> int:
    return int(time.monotonic() * 1000)


def _report_bug(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        asyncio.get_running_loop().call_exception_handler(
            {"message": "a bug in the supervisor", "exception": task.exception()}
        )
