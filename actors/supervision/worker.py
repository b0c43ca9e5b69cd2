"""One child process through all its incarnations: started, linked, asked, drained, stopped.

Owns a worker's state and its present process. What follows from its exit is its supervisor's to decide
(`supervisor.py`), whom it is linked to the application's.

    STOPPED ──start──▶ STARTING ──Ready──▶ RUNNING ──stop──▶ STOPPING ──exit──▶ STOPPED
                          └───────exit───────┴──▶ STOPPED, and the supervisor is told
"""

import asyncio
import logging
import signal
import time
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from .actor import EXIT_FAILED, StartArgs
from .processes import ChildProcess
from .protocol import (
    Drain,
    Drained,
    MayEnd,
    Ping,
    Pong,
    Ready,
    Resumed,
    Shutdown,
    Stopping,
    SupervisorInbox,
)
from .restarts import ChildSpec, Exit

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 1.0
SIGTERM_PAUSE_S = 0.2  # after a child asked if it was meant alone, our own SIGTERM has come, or none will
EXITS_KEPT_MAX = 20


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StartFailed(Exception):
    """A child ended, or hung, before it was ready."""


class Host(Protocol):
    """What a worker needs of the application that it is in."""

    name: str
    options: Any
    exits: deque[str]

    def ready(self, worker: "Worker", ready: Ready) -> None:
        """A worker runs: link it."""


class Worker:
    """One child of the tree that is a process."""

    def __init__(
        self,
        spec: ChildSpec,
        host: Host,
        on_exit: Callable[["Worker", Exit], None],
    ):
        """`on_exit` is called when it had started, ended, and nobody had told it to."""
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
        self._answers: dict[int, asyncio.Future[None]] = {}

    def __str__(self) -> str:
        return f"{self.spec.id}#{self.incarnation}"

    # Its life

    async def start(self) -> None:
        """Start its next incarnation, and wait until it is ready. Raises `StartFailed`."""
        self.incarnation += 1
        self.state = State.STARTING
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
            self._ended(Exit(code=EXIT_FAILED), 0)
            raise StartFailed(str(error)) from error
        try:
            ready = await asyncio.wait_for(asyncio.shield(self._ready), START_TIMEOUT_S)
        except TimeoutError:
            self.process.kill_hung(f"not ready after {START_TIMEOUT_S:g} s")
            await self._gone.wait()
            raise StartFailed(f"{self} was not ready after {START_TIMEOUT_S:g} s") from None
        if self.state is State.STARTING:  # and not told to stop meanwhile
            self.state = State.RUNNING
            took_ms = (time.monotonic() - self.process.started_s) * 1000
            self._host.ready(self, ready)
            self.came_back_ms = self._since_death_ms()
            back = f", back {self.came_back_ms:.0f} ms after it died" if self.came_back_ms else ""
            note = f": {ready.note}" if ready.note else ""
            log.info("%s started, pid %d, ready in %.0f ms%s%s", self, self.process.pid, took_ms, back, note)

    async def stop(self) -> None:
        """Tell it to end, and kill it if it has not within its spec's shutdown time."""
        if self.process is None or self._gone.is_set():
            self.state = State.STOPPED
            return
        self.state = State.STOPPING
        if self.spec.shutdown_ms == 0:
            self.process.signal(signal.SIGKILL)
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
        """Let it finish what it holds, for `timeout_s` seconds at most. Whether it did, or does not run."""
        if self.state is not State.RUNNING or self.process is None:
            return True
        self.process.send(Drain())
        waits = [
            asyncio.ensure_future(self._drained.wait()),
            asyncio.ensure_future(self._gone.wait()),
        ]
        done, waiting = await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for one in waiting:
            one.cancel()
        return bool(done)

    def say_stopping(self) -> None:
        """The service stops: see `Stopping`."""
        self._stopping = True
        if self.process is not None:
            self.process.send(Stopping())

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.signal(signal.SIGKILL)

    def _since_death_ms(self) -> float | None:
        return None if self._died_s is None else (time.monotonic() - self._died_s) * 1000

    # Whether it lives

    def ping(self) -> int:
        """Ask it whether it lives. The number of the question."""
        assert self.process is not None
        self._pings += 1
        if self.unanswered_since_s is None:
            self.unanswered_since_s = time.monotonic()
        self.process.send(Ping(self._pings))
        return self._pings

    async def refresh(self) -> None:
        """Ask for its stats, and wait for them, but not for ever."""
        if self.state is not State.RUNNING:
            return
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        number = self.ping()
        self._answers[number] = answer
        await asyncio.wait([answer], timeout=ANSWER_TIMEOUT_S)
        self._answers.pop(number, None)

    # What its process does

    def _heard(self, process: ChildProcess, message: SupervisorInbox) -> None:
        if process is not self.process:
            return
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
                answer = self._answers.pop(message.number, None)
                if answer is not None and not answer.done():
                    answer.set_result(None)
            case MayEnd():
                asyncio.get_running_loop().call_later(SIGTERM_PAUSE_S, self._let_end, process)
            case Drained():
                self._drained.set()
                if message.left:
                    log.warning("%s: %s", self, message.left)
            case _:
                raise AssertionError(f"not for a supervisor: {message!r}")

    def _let_end(self, process: ChildProcess) -> None:
        if process is self.process and not self._stopping:
            process.send(Shutdown())

    def _exited(self, process: ChildProcess, exit: Exit) -> None:
        if process is self.process:
            self._ended(exit, process.pid)

    def _ended(self, exit: Exit, pid: int) -> None:
        told = self.state is State.STOPPING
        self.state = State.STOPPED
        self._gone.set()
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()
        starting = not self._ready.done()
        if starting:
            self._ready.set_exception(StartFailed(f"{self} {exit} before it was ready"))
            self._ready.exception()  # it was told here, should nobody wait for it
        if told:
            return
        self.last_exit, self._died_s = exit, time.monotonic()
        self._host.exits.append(f"{time.strftime('%H:%M:%S')} {self} (pid {pid}) {exit}")
        log.warning("%s %s (pid %d)", self, exit, pid)
        if not starting:  # else `start` raises
            self._on_exit(self, exit)
