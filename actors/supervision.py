"""The supervisor at work: starts the children in order, links them, restarts what dies, stops in
reverse. What follows from an exit is decided in `core/restarts.py`; processes are `processes.py`'s.

A child's life:

    STARTING ──Ready──▶ RUNNING ──exit──▶ (decided) ──▶ STARTING, the next incarnation
        └──exit──▶ (decided)      └──told to stop──▶ STOPPING ──exit──▶ STOPPED
"""

import asyncio
import logging
import os
import signal
import time
from enum import StrEnum

from .behaviour import Birth
from .config import Settings
from .core.messages import (
    Drain,
    Drained,
    Figures,
    Linked,
    Message,
    Ping,
    Pong,
    Ready,
    Resumed,
    Shutdown,
    Stopping,
)
from .core.restarts import ChildSpec, Exit, GiveUp, Plan, Restarts, Strategy
from .exits import EXIT_DONE, EXIT_FAILED, EXIT_INTENSITY
from .processes import ChildProcess, pipe
from .tree import child_specs, with_addresses

log = logging.getLogger(__name__)

START_TIMEOUT_S = 60.0
PING_INTERVAL_S = 1.0
POLL_TIMEOUT_S = 1.0


class State(StrEnum):
    """Where a child is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Child:
    """One child of the tree through all its incarnations."""

    def __init__(self, spec: ChildSpec):
        self.spec = spec
        self.state = State.STOPPED
        self.incarnation = 0
        self.process: ChildProcess | None = None
        self.figures: Figures | None = None
        self.last_exit: Exit | None = None
        self.died_s: float | None = None
        self.came_back_ms: float | None = None
        self.mailbox_bytes = 0
        self.heard_s = 0.0
        self.ready: asyncio.Future[Ready] = asyncio.Future()
        self.gone = asyncio.Event()
        self.gone.set()
        self.drained = asyncio.Event()
        self.pongs: dict[int, asyncio.Future[Figures]] = {}

    def __str__(self) -> str:
        return f"{self.spec.id}#{self.incarnation}"


class Supervision:
    """One supervisor: a tree of children and what happens to them."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.pid = os.getpid()
        self.admin_address = settings.admin.address
        self.started_s = time.monotonic()
        self.children = {spec.id: Child(spec) for spec in child_specs(settings)}
        self.exits: list[str] = []
        self._restarts = Restarts(
            [child.spec for child in self.children.values()],
            Strategy(settings.supervisor.strategy),
            settings.supervisor.max_restarts,
            int(settings.supervisor.max_seconds * 1000),
        )
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._order = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pings = 0
        self._stopping = False

    # What the command line asks for

    async def start(self) -> None:
        """Start all in order. Raises `StartFailed`, with everything stopped again, if one can't."""
        for child in self.children.values():
            try:
                await self._start(child)
            except StartFailed:
                await self.stop()
                raise
        self._spawn(self._watch())

    async def wait(self) -> int:
        """Until somebody asks to stop, or the restart intensity is exceeded. The exit code."""
        return await self._end

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time, at once."""
        if self._stopping:
            log.warning("asked to stop again: killing what is left")
            for child in self.children.values():
                if child.process is not None:
                    child.process.signal(signal.SIGKILL)
        elif not self._end.done():
            log.info("stopping: finishing what is held, then the children in reverse order")
            self._end.set_result(EXIT_DONE)
        self._say_stopping()

    async def stop(self) -> None:
        """Let the children finish what they hold, then stop them in reverse order."""
        self._say_stopping()
        for child in reversed(self.children.values()):
            if child.spec.drains and child.state is State.RUNNING:
                await self._drain(child)
        for child in reversed(self.children.values()):
            await self._stop(child)
        for task in list(self._tasks):
            task.cancel()

    async def poll(self) -> None:
        """Fresh figures of all: first who gives, then who takes, so that nothing falls between."""
        for group in ("consumer", "counter", "dispatcher"):
            asked = [c for name, c in self.children.items() if name.startswith(group)]
            await asyncio.gather(*(self._ping(child) for child in asked))

    def addresses(self) -> dict[str, str]:
        """Where the parts of the service are reached, with the ports that were really taken."""
        addresses = {"admin_address": self.admin_address}
        if self.settings.embedded:
            addresses["nsqd_tcp_address"] = self.settings.embedded_nsqd.tcp_address
            addresses["nsqd_http_address"] = self.settings.embedded_nsqd.http_address
        if self.settings.client.enabled:
            addresses["client_address"] = self.settings.client.address
        return addresses

    # Starting and stopping one child

    async def _start(self, child: Child) -> None:
        child.incarnation += 1
        child.state = State.STARTING
        child.figures = None
        child.came_back_ms = None
        child.ready = asyncio.get_running_loop().create_future()
        child.gone.clear()
        child.drained.clear()
        birth = Birth(
            child.spec.id,
            child.incarnation,
            child.spec.start,
            self.settings,
            logging.getLevelName(logging.getLogger().level),
        )
        try:
            child.process = ChildProcess(birth, self._heard, self._exited)
        except OSError as error:
            self._ended(child, Exit(code=EXIT_FAILED), 0)
            raise StartFailed(str(error)) from error
        child.heard_s = time.monotonic()
        try:
            ready = await asyncio.wait_for(asyncio.shield(child.ready), START_TIMEOUT_S)
        except TimeoutError:
            child.process.kill_hung(f"not ready after {START_TIMEOUT_S:g} s")
            await child.gone.wait()
            raise StartFailed(f"{child} was not ready after {START_TIMEOUT_S:g} s") from None
        if child.state is State.STARTING:  # and not told to stop meanwhile
            self._running(child, ready)

    def _running(self, child: Child, ready: Ready) -> None:
        process = child.process
        assert process is not None
        child.state = State.RUNNING
        self.settings = with_addresses(self.settings, ready.addresses)
        took_ms = (time.monotonic() - process.started_s) * 1000
        note = f": {ready.note}" if ready.note else ""
        log.info("%s started, pid %d, ready in %.0f ms%s", child, process.pid, took_ms, note)
        for peer_id in child.spec.peers:
            peer = self.children[peer_id]
            if peer.state is State.RUNNING:
                self._link(child, peer)

    def _link(self, one: Child, other: Child) -> None:
        """A fresh pipe between two running children, one end each."""
        ends = pipe()
        for child, peer, end in ((one, other, ends[0]), (other, one, ends[1])):
            assert child.process is not None
            child.process.send(Linked(peer.spec.id, peer.incarnation), end)
            os.close(end)

    def _say_stopping(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for child in self.children.values():
            if child.process is not None:
                child.process.send(Stopping())

    async def _drain(self, child: Child) -> None:
        assert child.process is not None
        child.process.send(Drain())
        timeout_s = self.settings.supervisor.shutdown_timeout_s
        waits = [asyncio.ensure_future(child.drained.wait()), asyncio.ensure_future(child.gone.wait())]
        done, waiting = await asyncio.wait(
            waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        for one in waiting:
            one.cancel()
        if not done:
            log.warning(
                "%s still holds something after %g s (supervisor.shutdown_timeout_s); it keeps in the "
                "ledgers and the queue, and goes on with the next start", child, timeout_s,
            )

    async def _stop(self, child: Child) -> None:
        if child.process is None or child.gone.is_set():
            child.state = State.STOPPED
            return
        child.state = State.STOPPING
        child.process.send(Shutdown())
        timeout_s = self.settings.supervisor.shutdown_timeout_s
        try:
            await asyncio.wait_for(child.gone.wait(), timeout_s)
        except TimeoutError:
            child.process.kill_hung(f"did not end within {timeout_s:g} s")
            await child.gone.wait()
        log.info("%s stopped", child)

    # What children do

    def _heard(self, process: ChildProcess, message: Message) -> None:
        child = self.children[process.birth.id]
        if process is not child.process:
            return
        child.heard_s = time.monotonic()
        match message:
            case Ready():
                if not child.ready.done():
                    child.ready.set_result(message)
            case Resumed():
                if child.died_s is not None and child.came_back_ms is None:
                    child.came_back_ms = (time.monotonic() - child.died_s) * 1000
                    log.info("%s works again %.0f ms after it died", child, child.came_back_ms)
            case Pong():
                child.figures = message.figures
                child.mailbox_bytes = message.mailbox_bytes
                waiting = child.pongs.pop(message.number, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.figures)
            case Drained():
                child.drained.set()
                if message.left:
                    log.warning("%s: %s", child, message.left)
            case _:
                raise AssertionError(f"not for a supervisor: {message!r}")

    def _exited(self, process: ChildProcess, exit: Exit) -> None:
        child = self.children[process.birth.id]
        if process is child.process:
            self._ended(child, exit, process.pid)

    def _ended(self, child: Child, exit: Exit, pid: int) -> None:
        told, child.state = child.state is State.STOPPING, State.STOPPED
        child.last_exit, child.died_s = exit, time.monotonic()
        child.gone.set()
        for waiting in child.pongs.values():
            waiting.cancel()
        child.pongs.clear()
        starting = not child.ready.done()
        if starting:
            child.ready.set_exception(StartFailed(f"{child} {exit} before it was ready"))
            child.ready.exception()  # whoever waits gets it; if nobody does, this line is enough
        if told:
            return
        self.exits.append(f"{time.strftime('%H:%M:%S')} {child} pid {pid} {exit}")
        log.warning("%s %s (pid %d)", child, exit, pid)
        if self._stopping or (starting and child.incarnation == 1):
            return  # nothing is restarted while stopping; a first start that fails is `start`'s to tell
        decision = self._restarts.exited(child.spec.id, exit, _now_ms())
        match decision:
            case Plan():
                self._spawn(self._carry_out(decision))
            case GiveUp():
                self._give_up(decision)

    async def _carry_out(self, plan: Plan) -> None:
        if not plan.stop:
            await asyncio.gather(*(self._restart(self.children[name]) for name in plan.start))
            return
        async with self._order:
            for name in plan.stop:
                await self._stop(self.children[name])
            for name in plan.start:
                await self._restart(self.children[name])

    async def _restart(self, child: Child) -> None:
        if self._stopping or child.state is not State.STOPPED:
            return
        try:
            await self._start(child)
        except StartFailed as error:
            log.warning("%s", error)  # its exit is decided upon like any other

    def _give_up(self, decision: GiveUp) -> None:
        if self._end.done():
            return
        log.error("restart intensity exceeded: %s", decision.reason)
        log.error("the exits so far:\n  %s", "\n  ".join(self.exits[-20:]))
        self._end.set_result(EXIT_INTENSITY)

    # Whether they live

    async def _watch(self) -> None:
        """Ping every child; kill one that has not answered for the liveness timeout."""
        timeout_s = self.settings.supervisor.liveness_timeout_s
        interval_s = min(PING_INTERVAL_S, timeout_s / 4)
        last_s = time.monotonic()
        while not self._end.done():
            await asyncio.sleep(interval_s)
            now_s = time.monotonic()
            stalled_s = now_s - last_s - interval_s
            last_s = now_s
            for child in self.children.values():
                if child.state is not State.RUNNING or child.process is None:
                    continue
                if stalled_s > interval_s:
                    child.heard_s += stalled_s  # we slept ourselves, so nobody is to blame
                elif now_s - child.heard_s > timeout_s:
                    child.process.kill_hung(f"no answer for {now_s - child.heard_s:.1f} s")
                self._pings += 1
                child.process.send(Ping(self._pings))

    async def _ping(self, child: Child) -> None:
        if child.state is not State.RUNNING or child.process is None:
            return
        self._pings += 1
        answer: asyncio.Future[Figures] = asyncio.get_running_loop().create_future()
        child.pongs[self._pings] = answer
        child.process.send(Ping(self._pings))
        await asyncio.wait([answer], timeout=POLL_TIMEOUT_S)
        child.pongs = {number: one for number, one in child.pongs.items() if one is not answer}

    def _spawn(self, work) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and not self._end.done():
            log.error("a bug in the supervisor", exc_info=task.exception())
            self._end.set_result(EXIT_FAILED)


class StartFailed(Exception):
    """A child ended, or hung, before it was ready."""


def _now_ms() -> int:
    return int(time.monotonic() * 1000)


