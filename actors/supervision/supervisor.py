"""Supervisors at work: a tree of them over worker processes, each with its own rules.

`restarts.py` decides what follows from an exit; this carries it out. A supervisor is itself a child of the
one above: when it gives up, it stops its children and exits, and the one above decides. All supervisors live
in one process; only workers are processes of their own.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from .restarts import ChildSpec, End, Exit, Plan, Restarts, SpecError
from .worker import StartFailed, State, Worker

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
        self._one_at_a_time = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[tuple[Worker | Supervisor, Exit]] = []

    def __str__(self) -> str:
        return self.spec.id

    # As a child

    async def start(self) -> None:
        """Start the children in order. Raises `StartFailed`, with all stopped again, if one can't."""
        if self.state is State.STOPPED:
            self._rules = Restarts(self._rules.spec)  # a fresh incarnation remembers nothing
            for spec in self._rules.spec.children:
                if spec.id not in self._children:
                    self._children[spec.id] = self._make(spec)
        self.state = State.STARTING
        self._early = []
        for child in list(self._children.values()):
            try:
                await child.start()
            except StartFailed:
                await self._stop_children()
                self.state = State.STOPPED
                raise
        self.state = State.RUNNING
        early, self._early = self._early, []
        for child, exit in early:
            self._exited(child, exit)

    async def stop(self) -> None:
        """Stop the children in reverse order."""
        self.state = State.STOPPING
        for task in list(self._tasks):
            task.cancel()
        await self._stop_children()
        self.state = State.STOPPED

    # OTP's functions on children

    async def start_child(self, child: ChildSpec) -> None:
        """Add a child after the others and start it. Raises `SpecError`, `StartFailed`."""
        self._rules.add(child)
        self._children[child.id] = self._make(child)
        try:
            await self._children[child.id].start()
        except StartFailed:
            self._forget(child.id)
            raise

    async def terminate_child(self, child_id: str) -> None:
        """Stop a child; it stays stopped until `restart_child`. Raises `SpecError`."""
        child = self._find(child_id)
        await child.stop()
        if child.spec.restart == "temporary":
            self._forget(child_id)

    async def restart_child(self, child_id: str) -> None:
        """Start a child that is stopped. Raises `SpecError`, `StartFailed`."""
        child = self._find(child_id)
        if child.state is not State.STOPPED:
            raise SpecError(f"{child_id} is {child.state}, expected stopped")
        self._rules.started(child_id)
        await child.start()

    def delete_child(self, child_id: str) -> None:
        """Forget a child that is stopped. Raises `SpecError`."""
        child = self._find(child_id)
        if child.state is not State.STOPPED:
            raise SpecError(f"{child_id} is {child.state}, expected stopped: terminate it first")
        self._forget(child_id)

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

    def _forget(self, child_id: str) -> None:
        self._children.pop(child_id, None)
        self._rules.delete(child_id)

    async def _stop_children(self) -> None:
        for child in reversed(list(self._children.values())):
            await child.stop()

    def _exited(self, child: "Worker | Supervisor", exit: Exit) -> None:
        if self.state is State.STARTING:
            self._early.append((child, exit))  # decided upon once all have started
        if self.state is not State.RUNNING:
            return
        if isinstance(child, Supervisor):
            log.warning("supervisor %s %s", child, exit)
            self.gave_up = self.gave_up or child.gave_up
        decision = self._rules.exited(child.spec.id, exit, int(time.monotonic() * 1000))
        match decision:
            case Plan():
                for child_id in decision.forget:
                    if child_id not in decision.stop:
                        self._forget(child_id)
                if decision.start:
                    self._spawn(self._carry_out(decision))
            case End():
                self._spawn(self._end(decision))

    async def _carry_out(self, plan: Plan) -> None:
        if not plan.stop:
            await asyncio.sleep(plan.delay_ms / 1000)
            await self._restart(plan.start[0])
            return
        async with self._one_at_a_time:
            for child_id in plan.stop:
                await self._find(child_id).stop()
            for child_id in plan.forget:
                self._forget(child_id)
            await asyncio.sleep(plan.delay_ms / 1000)
            for child_id in plan.start:
                await self._restart(child_id)

    async def _restart(self, child_id: str) -> None:
        child = self._children.get(child_id)
        if child is None or child.state is not State.STOPPED or self.state is not State.RUNNING:
            return
        self.restarts += 1
        self._rules.started(child_id)
        try:
            await child.start()
        except StartFailed as error:
            log.warning("%s", error)
            exit = child.last_exit if isinstance(child, Worker) else None
            self._exited(child, exit or Exit(shutdown=str(error)))

    async def _end(self, end: End) -> None:
        if self.state is not State.RUNNING:
            return
        self.gave_up = self.gave_up or end.gave_up
        why = "gives up, restart intensity exceeded" if end.gave_up else "ends"
        log.error("supervisor %s %s: %s", self, why, end.reason)
        self.state = State.STOPPING
        await self._stop_children()
        self.state = State.STOPPED
        self._on_exit(self, Exit(shutdown=end.reason))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a bug in the supervisor", "exception": task.exception()}
            )
