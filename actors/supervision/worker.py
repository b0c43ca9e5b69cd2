"""One child process through all its incarnations: started, linked, pinged, drained, stopped.

A worker has a state and a present process. Its supervisor decides what follows from an exit
(`supervisor.py`), the application whom it is linked to.

    STOPPED ──start──▶ STARTING ──Ready──▶ RUNNING ──stop──▶ STOPPING ──exit──▶ STOPPED
                          └───────exit───────┴──▶ STOPPED, and the supervisor is told

`NEXT` in `states.py` is the whole table; an event that it does not have is refused.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from .actor import StartArgs
from .actor_host import EXIT_FAILED
from .answers import Answers
from .forkserver import environment_for
from .log_format import format_in_force
from .processes import ChildProcess
from .protocol import (
    Call,
    Drain,
    Drained,
    Loading,
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
from .restarts import ChildSpec, Exit, Restarted
from .states import NEXT, Event, State

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0  # for `init`, or for the next step of one that says how far it is
LOADING_LOG_INTERVAL_S = 10.0
ANSWER_TIMEOUT_S = 1.0
SIGTERM_PAUSE_S = 0.2  # time for our own SIGTERM to come, after a child asked if it alone got one
EXITS_KEPT_MAX = 20
RESTARTS_KEPT_MAX = 100
STOPPED = "stopped by its supervisor"


class StartFailed(Exception):
    """A child ended, or hung, before it was ready. `logged`: it said itself, in its log, why it ended."""

    logged = False


class WorkerOwner(Protocol):
    """What a worker needs of its application."""

    name: str
    options: Any
    exits: deque[str]
    restarts: deque[Restarted]

    def ready(self, worker: "Worker", ready: Ready) -> None:
        """Link a worker that runs."""

    def told(self, worker: "Worker") -> None:
        """A worker has told its stats."""


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
        self._last_stats = b""  # of an earlier incarnation
        self.mailbox_bytes = 0
        self.last_exit: Exit | None = None
        self.came_back_ms: float | None = None  # from its death until it was linked again
        self.resumed_ms: float | None = None  # and until it did its work again
        self.unanswered_since_s: float | None = None
        self.loading: Loading | None = None  # how far it is, while it starts
        self.orders = self._started_with = b""
        self._host = host
        self._on_exit = on_exit
        self._stopping = False  # the whole service
        self._died_s: float | None = None
        self._ended = STOPPED
        self._ready: asyncio.Future[Ready] = asyncio.Future()
        self._got_on_s = self._said_loading_s = 0.0
        self._gone = asyncio.Event()
        self._drained = asyncio.Event()
        self._answers = Answers()
        self._dropped_before = self._dropped_now = 0  # log lines: of former incarnations, of the present one

    def __str__(self) -> str:
        return f"{self.spec.id}#{self.incarnation}"

    @property
    def log_lines_dropped(self) -> int:
        """The log lines of all its incarnations that could not be written, as far as they have told."""
        return self._dropped_before + self._dropped_now

    @property
    def last_exit_ago_s(self) -> float | None:
        """How long ago it last ended without being told to; None if it never did."""
        return None if self._died_s is None else time.monotonic() - self._died_s

    @property
    def how_far(self) -> str:
        """How far it is while it starts, in words; empty if it has not said."""
        if self.loading is None:
            return ""
        total = f" of {self.loading.total:,}" if self.loading.total else ""
        return f"loaded {self.loading.done:,}{total} {self.loading.what}"

    # Its life

    async def start(self) -> None:
        """Start the next incarnation. Wait until it is ready or told to stop. Raises `StartFailed`."""
        self._move(Event.START)
        self.incarnation += 1
        if self.incarnation > 1:
            self._host.restarts.append(Restarted(time.time(), self.spec.id, self._ended, self.incarnation))
        self._last_stats = self.stats or self._last_stats
        self.stats = self.unanswered_since_s = self.loading = None
        self.came_back_ms = self.resumed_ms = None
        ready = self._ready = asyncio.get_running_loop().create_future()
        gone = self._gone = asyncio.Event()
        self._drained.clear()
        level = logging.getLevelName(logging.getLogger().level)
        start_args = StartArgs(
            self.spec.id,
            self.incarnation,
            self.spec.start,
            self._host.options,
            level,
            f"{self._host.name}: {self.spec.id}",
            environment_for(self.spec.environment),
            self._last_stats,
            self.orders,
            format_in_force(),
        )
        self._started_with = self.orders
        self._got_on_s = self._said_loading_s = time.monotonic()
        try:
            process = self.process = ChildProcess(start_args, self._heard, self._exited)
        except OSError as error:
            self.process = None
            self._exited(Exit(code=EXIT_FAILED))
            raise StartFailed(str(error)) from error
        while not ready.done() and (left_s := self._got_on_s + START_TIMEOUT_S - time.monotonic()) > 0:
            await asyncio.wait([ready], timeout=left_s)
        if not ready.done():
            loaded = f": {self.how_far}" if self.how_far else ""
            why = f"not ready after {time.monotonic() - process.started_s:.0f} s{loaded}"
            process.kill_hung(why)
            await gone.wait()
            raise StartFailed(f"{start_args.name} was {why}")
        ready.result()

    def _became_ready(self, ready: Ready) -> None:
        """Move on at once: what happens next must find it running."""
        self._ready.set_result(ready)
        self.loading = None
        if self._move(Event.READY) is not State.RUNNING:
            return  # it was told to stop meanwhile
        assert self.process is not None
        took_ms = (time.monotonic() - self.process.started_s) * 1000
        self.came_back_ms = self._since_death_ms()
        if self.orders != self._started_with:  # they came meanwhile
            self.process.send(Call(self._answers.next_number(), self.orders))
        self._host.ready(self, ready)
        back = f", back {self.came_back_ms:.0f} ms after it died" if self.came_back_ms else ""
        note = f": {ready.note}" if ready.note else ""
        log.info("%s started, pid %d, ready in %.0f ms%s%s", self, self.process.pid, took_ms, back, note)

    def _load(self, loading: Loading) -> None:
        before, now_s = self.loading, time.monotonic()
        if before is None or before.what != loading.what or before.done < loading.done:
            self._got_on_s = now_s
        self.loading = loading
        if now_s - self._said_loading_s >= LOADING_LOG_INTERVAL_S:
            self._said_loading_s = now_s
            log.info("%s is starting: %s", self, self.how_far)

    async def stop(self) -> None:
        """Tell it to end, and kill it if it does not within the shutdown time of its spec."""
        if self._move(Event.STOP) is State.STOPPED or self.process is None:
            return
        process, gone, name = self.process, self._gone, str(self)
        if self.spec.shutdown_ms == 0:
            process.kill()
        else:
            process.send(Shutdown())
        timeout_s = self.spec.shutdown_ms / 1000 if self.spec.shutdown_ms else None
        try:
            await asyncio.wait_for(gone.wait(), timeout_s)
        except TimeoutError:
            process.kill_hung(f"did not end within {timeout_s:g} s")
            await gone.wait()
        log.info("%s stopped", name)

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
        if self.unanswered_since_s is None:
            self.unanswered_since_s = time.monotonic()
        number = self._answers.next_number()
        self.process.send(Ping(number))
        return number

    async def refresh(self) -> bytes | None:
        """Ask for its stats. Returns None if it does not run or does not answer within `ANSWER_TIMEOUT_S`."""
        if self.state is not State.RUNNING:
            return None
        return await self._answers.to(self.ping(), ANSWER_TIMEOUT_S)

    async def call(self, request: bytes, timeout_s: float) -> bytes | None:
        """Have its actor handle a request. Returns None if it does not run, or does not reply in time."""
        if self.state is not State.RUNNING or self.process is None:
            return None
        number = self._answers.next_number()
        self.process.send(Call(number, request))
        return await self._answers.to(number, timeout_s)

    async def instruct(self, orders: bytes, timeout_s: float) -> bytes | None:
        """Have its actor hold to these orders: this incarnation as by `call`, each later one from its start.

        An incarnation that starts meanwhile gets them before any link.
        """
        self.orders = orders
        return await self.call(orders, timeout_s)

    # What its process does

    def _heard(self, message: SupervisorInbox) -> None:
        match message:
            case Loading():
                self._load(message)
            case Ready():
                if not self._ready.done():
                    self._became_ready(message)
            case Resumed():
                self.resumed_ms = self._since_death_ms()
            case Pong():
                self.unanswered_since_s = None
                self.stats = message.stats
                self._host.told(self)
                self.mailbox_bytes = message.mailbox_bytes
                self._dropped_now = message.log_lines_dropped
                self._answers.came(message.number, message.stats)
            case Reply():
                self._answers.came(message.number, message.reply)
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
        self._ended = STOPPED if told else str(exit)
        self._dropped_before, self._dropped_now = self.log_lines_dropped, 0
        self._gone.set()
        self._drained.set()  # a process that is gone holds nothing
        self._answers.none_will_come()
        starting = not self._ready.done()
        if starting:
            failed = StartFailed(f"{self} {exit} before it was ready")
            failed.logged = bool(exit.code) and not exit.hung
            self._ready.set_exception(failed)
            self._ready.exception()  # mark it as retrieved, in case nobody waits for it
        self.loading = None
        if told:
            return
        self.last_exit, self._died_s = exit, time.monotonic()
        pid = self.process.pid if self.process is not None else 0
        self._host.exits.append(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {self} (pid {pid}) {exit}")
        log.warning("%s %s (pid %d)", self, exit, pid)
        if not starting:  # else `start` raises
            self._on_exit(self, exit)
