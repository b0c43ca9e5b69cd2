"""One child process through all its incarnations: started, linked, pinged, drained, stopped.

A worker has a state and a present process. Its supervisor decides what follows from an exit
(`supervisor.py`), the application whom it is linked to.

    STOPPED ──start──▶ STARTING ──Ready──▶ RUNNING ──stop──▶ STOPPING ──exit──▶ STOPPED
                          └───────exit───────┴──▶ STOPPED, and the supervisor is told

`NEXT` is the whole table; an event that it does not have is refused.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from .actor import StartArgs
from .actor_host import EXIT_FAILED
from .processes import ChildProcess
from .protocol import (
    Call,
    Drain,
    Drained,
    MayEnd,
    Ping,
    Pong,
    Ready,
    Reply,
    Resumed,
    Shutdown,
    Stopping,
    SupervisorInbox,
)
from .restarts import ChildSpec, Exit

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 1.0
SIGTERM_PAUSE_S = 0.2  # time for our own SIGTERM to come, after a child asked if it alone got one
EXITS_KEPT_MAX = 20


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(StrEnum):
    """What changes that."""

    START = "start"
    READY = "ready"
    STOP = "stop"
    EXIT = "exit"


NEXT = {
    (State.STOPPED, Event.START): State.STARTING,
    (State.STARTING, Event.READY): State.RUNNING,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.RUNNING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.EXIT): State.STOPPED,
    (State.RUNNING, Event.EXIT): State.STOPPED,
    (State.STOPPING, Event.EXIT): State.STOPPED,
    (State.STOPPING, Event.READY): State.STOPPING,  # it was on its way when it was told to stop
    (State.STOPPING, Event.STOP): State.STOPPING,
    (State.STOPPED, Event.STOP): State.STOPPED,
    (State.STOPPED, Event.READY): State.STOPPED,  # it ended before anyone could hear that it was ready
}


class StartFailed(Exception):
    """A child ended, or hung, before it was ready. `logged`: it said itself, in its log, why it ended."""

    logged = False


class WorkerOwner(Protocol):
    """What a worker needs of its application."""

    name: str
    options: Any
    exits: deque[str]

    def ready(self, worker: "Worker", ready: Ready) -> None:
        """Link a worker that runs."""


class Worker:
    """One child of the tree that is a process."""

    def __init__(
        self,
        spec: ChildSpec,
        host: WorkerOwner,
        on_exit: Callable[["Worker", Exit], None],
    ):
        """`on_exit` is called when the child had started and ended without being told to."""
        self.spec = spec
        self.state = State.STOPPED
        self.incarnation = 0
        self.process: ChildProcess | None = None
        self.stats: bytes | None = None
        self.mailbox_bytes = 0
        self.last_exit: Exit | None = None
        self.came_back_ms: float | None = None  # from its death until it was linked again
        self.resumed_ms: float | None = None  # and until it did its work again
        self.unanswered_since_s: float | None = None
        self._host = host
        self._on_exit = on_exit
        self._stopping = False  # the whole service
        self._died_s: float | None = None
        self._ready: asyncio.Future[Ready] = asyncio.Future()
        self._gone = asyncio.Event()
        self._gone.set()
        self._drained = asyncio.Event()
        self._pings = 0
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._dropped_before = self._dropped_now = 0  # log lines: of former incarnations, of the present one

    def __str__(self) -> str:
        return f"{self.spec.id}#{self.incarnation}"

    @property
    def log_lines_dropped(self) -> int:
        """The log lines of all its incarnations that could not be written, as far as they have told."""
        return self._dropped_before + self._dropped_now

    # Its life

    async def start(self) -> None:
        """Start the next incarnation and wait until it is ready. Raises `StartFailed`."""
        self._move(Event.START)
        self.incarnation += 1
        self.stats = self.unanswered_since_s = None
        self.came_back_ms = self.resumed_ms = None
        self._ready = asyncio.get_running_loop().create_future()
        self._gone.clear()
        self._drained.clear()
        level = logging.getLevelName(logging.getLogger().level)
        start_args = StartArgs(
            self.spec.id,
            self.incarnation,
            self.spec.start,
            self._host.options,
            level,
            f"{self._host.name}: {self.spec.id}",
        )
        try:
            self.process = ChildProcess(start_args, self._heard, self._exited)
        except OSError as error:
            self.process = None
            self._exited(Exit(code=EXIT_FAILED))
            raise StartFailed(str(error)) from error
        try:
            ready = await asyncio.wait_for(asyncio.shield(self._ready), START_TIMEOUT_S)
        except TimeoutError:
            self.process.kill_hung(f"not ready after {START_TIMEOUT_S:g} s")
            await self._gone.wait()
            raise StartFailed(f"{self} was not ready after {START_TIMEOUT_S:g} s") from None
        if self._move(Event.READY) is State.RUNNING:  # and not told to stop meanwhile
            took_ms = (time.monotonic() - self.process.started_s) * 1000
            self._host.ready(self, ready)
            self.came_back_ms = self._since_death_ms()
            back = f", back {self.came_back_ms:.0f} ms after it died" if self.came_back_ms else ""
            note = f": {ready.note}" if ready.note else ""
            log.info("%s started, pid %d, ready in %.0f ms%s%s", self, self.process.pid, took_ms, back, note)

    async def stop(self) -> None:
        """Tell it to end, and kill it if it does not within the shutdown time of its spec."""
        if self._move(Event.STOP) is State.STOPPED or self.process is None:
            return
        if self.spec.shutdown_ms == 0:
            self.process.kill()
        else:
            self.process.send(Shutdown())
        timeout_s = self.spec.shutdown_ms / 1000 if self.spec.shutdown_ms else None
        try:
            await asyncio.wait_for(self._gone.wait(), timeout_s)
        except TimeoutError:
            self.process.kill_hung(f"did not end within {timeout_s:g} s")
            await self._gone.wait()
        log.info("%s stopped", self)

    async def drain(self, timeout_s: float) -> bool:
        """Let it finish what it holds, for up to `timeout_s` seconds. Returns whether it did, or is gone."""
        if self.state is not State.RUNNING or self.process is None:
            return True
        self.process.send(Drain())
        try:
            await asyncio.wait_for(self._drained.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def say_stopping(self) -> None:
        """Tell it that the service stops: see `Stopping`."""
        self._stopping = True
        if self.process is not None:
            self.process.send(Stopping())

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()

    def kill_for_good(self) -> None:
        """SIGKILL as a stop: its supervisor does not start it again."""
        if self._move(Event.STOP) is State.STOPPING:
            self.kill()

    def _move(self, event: Event) -> State:
        """The state after an event. Raises `AssertionError` for one that can't happen now."""
        state = NEXT.get((self.state, event))
        if state is None:
            raise AssertionError(f"{event} can't happen to {self}, which is {self.state}")
        self.state = state
        return state

    def _since_death_ms(self) -> float | None:
        return None if self._died_s is None else (time.monotonic() - self._died_s) * 1000

    # Whether it lives

    def ping(self) -> int:
        """Send a `Ping`. Returns its number."""
        assert self.process is not None
        self._pings += 1
        if self.unanswered_since_s is None:
            self.unanswered_since_s = time.monotonic()
        self.process.send(Ping(self._pings))
        return self._pings

    async def refresh(self) -> bytes | None:
        """Ask for its stats. Returns None if it does not run or does not answer within `ANSWER_TIMEOUT_S`."""
        if self.state is not State.RUNNING:
            return None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        number = self.ping()
        self._answers[number] = answer
        await asyncio.wait([answer], timeout=ANSWER_TIMEOUT_S)
        self._answers.pop(number, None)
        return answer.result() if answer.done() and not answer.cancelled() else None

    async def call(self, request: bytes, timeout_s: float) -> bytes | None:
        """Have its actor handle a request. Returns None if it does not run, or does not reply in time."""
        if self.state is not State.RUNNING or self.process is None:
            return None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._pings += 1
        number = self._pings
        self._answers[number] = answer
        self.process.send(Call(number, request))
        await asyncio.wait([answer], timeout=timeout_s)
        self._answers.pop(number, None)
        return answer.result() if answer.done() and not answer.cancelled() else None

    # What its process does

    def _heard(self, message: SupervisorInbox) -> None:
        match message:
            case Ready():
                if not self._ready.done():
                    self._ready.set_result(message)
            case Resumed():
                self.resumed_ms = self._since_death_ms()
            case Pong():
                self.unanswered_since_s = None
                self.stats = message.stats
                self.mailbox_bytes = message.mailbox_bytes
                self._dropped_now = message.log_lines_dropped
                answer = self._answers.pop(message.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(message.stats)
            case Reply():
                answer = self._answers.pop(message.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(message.reply)
            case MayEnd():
                assert self.process is not None
                asyncio.get_running_loop().call_later(SIGTERM_PAUSE_S, self._let_end, self.process)
            case Drained():
                self._drained.set()
                if message.left:
                    log.warning("%s: %s", self, message.left)
            case _:
                raise AssertionError(f"not for a supervisor: {message!r}")

    def _let_end(self, process: ChildProcess) -> None:
        if process is self.process and not self._stopping:
            process.send(Shutdown())

    def _exited(self, exit: Exit) -> None:
        told = self.state is State.STOPPING
        self._move(Event.EXIT)
        self._dropped_before, self._dropped_now = self.log_lines_dropped, 0
        self._gone.set()
        self._drained.set()  # a process that is gone holds nothing
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()
        starting = not self._ready.done()
        if starting:
            failed = StartFailed(f"{self} {exit} before it was ready")
            failed.logged = bool(exit.code) and not exit.hung
            self._ready.set_exception(failed)
            self._ready.exception()  # mark it as retrieved, in case nobody waits for it
        if told:
            return
        self.last_exit, self._died_s = exit, time.monotonic()
        pid = self.process.pid if self.process is not None else 0
        self._host.exits.append(f"{time.strftime('%H:%M:%S')} {self} (pid {pid}) {exit}")
        log.warning("%s %s (pid %d)", self, exit, pid)
        if not starting:  # else `start` raises
            self._on_exit(self, exit)
