"""The service as a whole, from start to end: one supervisor, its tree, its admin HTTP, its run file.

Promises: a second service on a state folder is refused; stdout gets publishes only; the service ends with one
of the codes in `exits.py`.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer

from ..config import Settings, token_of
from ..core.stats import CounterStats, decode
from ..core.words import counted
from ..sources.security import Security
from ..supervision import processes, signals
from ..supervision.application import Application
from ..supervision.printable import Lines
from ..supervision.restarts import Exit
from ..supervision.supervisor import Supervisor
from ..supervision.worker import StartFailed, Worker
from ..system import lifeline, runfile, temporary
from ..system.addresses import with_port
from ..system.exits import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTENSITY,
    EXIT_STORE,
    Failure,
)
from ..system.host_name import host_name
from ..system.listeners import open_listeners
from ..system.logs import quiet_libraries
from ..tree import (
    children_of,
    groups_to_poll,
    publishes_to_client,
    root_spec,
    with_addresses,
)
from . import admin, descriptors, exposed, sampling, summary
from .action_log import ActionLog
from .channel_watch import ChannelWatch
from .counted import CountedTeller
from .disks import DiskWatch, disks
from .figures import Figures
from .history import History
from .live import Live
from .queue_look import Looks
from .reloading import Reloaded, Reloading
from .resources import Resources
from .running_changes import RunningChanges
from .state_watch import StateWatch
from .status import status

log = logging.getLogger(__name__)


def run(settings: Settings, reread: Callable[[], Settings] | None = None) -> int:
    """Run the service until it is told to stop. Its state is held already (`opening.py`).

    Returns its exit code. `reread`: see `Reloading`. Raises `Failure`.
    """
    quiet_libraries()
    gc.freeze()  # what was imported stays, and need not be looked through
    gc.enable()  # see `cli/head_start.py`
    return asyncio.run(_live(settings, reread))


async def _live(settings: Settings, reread: Callable[[], Settings] | None) -> int:
    state_dir = settings.supervisor.state_dir
    service = Lifecycle(settings, Reloading(settings, reread))
    if lowered := descriptors.check(settings, service.asked_for):
        log.warning("%s", lowered)
    for line in exposed.warnings_of(settings):
        log.warning("%s", line)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(service.broken)
    signals.watch(lambda: _call_soon(loop, service.hang_up), lambda: _call_soon(loop, service.ask_for_stacks))
    service.actions.load()
    ask_to_stop = signals.once_a_request(service.ask_to_stop)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop)
    lifeline.hold()
    own = settings.admin
    server = admin.server(service, own.address, own.allowed_hosts, service.token.value)
    service.admin_address = _listen(server, settings.admin.address)
    try:
        return await service.run()
    except BaseException:
        await service.application.root.stop()  # else Python waits for the children before it ends
        raise
    finally:
        with contextlib.suppress(OSError):  # nobody believes it once this process is gone
            runfile.remove(state_dir)
        server.stop()


class Lifecycle:
    """One life of the service: starts the tree, runs it, and stops it. A `ServiceView`."""

    def __init__(self, settings: Settings, reloading: Reloading):
        root = root_spec(settings)
        self.application = Application("playtally", settings, root, with_addresses, self._root_ended)
        self.asked_for = children_of(root)
        self.figures, self.resources = Figures(), Resources()
        self._reloading = reloading
        self._security = Security(settings.nsq)
        self.token = token_of(settings, "admin")
        self.looks = Looks(self.application, groups_to_poll(settings), self._security)
        self._counted = CountedTeller(self.application)
        self.application.on_stats = self._told
        self.history = History(Path(settings.supervisor.state_dir))
        self.live = Live(self._picture)
        self.changes = RunningChanges(self.application)
        self.actions = ActionLog(settings.supervisor.state_dir)
        self.admin_address = settings.admin.address
        self.pid = os.getpid()
        self.secret = secrets.token_urlsafe(32)
        self.started_s = time.monotonic()
        self._state_dir = settings.supervisor.state_dir
        self._ending: asyncio.Future[None] | None = None
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Start all children, run until the end, stop all. Returns the exit code."""
        rules = self.application.options.supervisor
        self._state = StateWatch(self.application.options, self._lost)
        processes.before_each_start(self._state.look, temporary.renew_sockets_folder)
        watches = (
            self._state.run(),
            self.application.watch(rules.liveness_timeout_s),
            DiskWatch(lambda: disks(self.application.options)).run(),
            summary.run(self),
            sampling.run(self),
        )
        watching = [asyncio.ensure_future(one) for one in watches]
        channel_watch = ChannelWatch(self.application.options, self.looks.fresh)
        watching_channel = asyncio.ensure_future(channel_watch.run())
        starting = asyncio.ensure_future(self.application.root.start())
        either: list[asyncio.Future[None] | asyncio.Future[int]] = [starting, self._end]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        elif starting.exception() is None:
            # nsqd knows our connections by the host, and `check` by how many there are.
            known = {"hostname": host_name(), "consumers": self.application.options.nsq.consumers}
            facts = {"pid": self.pid, "secret": self.secret, **known, **self.addresses()}
            runfile.write(self._state_dir, facts)
            self._state.all_made(facts)
            self._say_that_all_run()
        elif isinstance(starting.exception(), StartFailed):
            log.error("%s. The service ends", _why_not_started(starting.exception()))
            return self._start_code()
        else:
            starting.result()
        code = await self._end
        watching_channel.cancel()  # a connection of ours that ends would look like another's
        if code == EXIT_DONE:
            await self._drain()
            await self._say_what_waits()
        await self.application.root.stop()
        self._state.close()
        for one in watching:
            one.cancel()
        log.info("stopped")
        return code

    def ask_to_stop(self) -> None:
        """Stop in order; a second call kills what is left."""
        if self._end.done():
            log.warning("asked to stop again: killing what is left")
            self._ending = asyncio.ensure_future(self.application.root.stop())  # so that none comes back
            for worker in self.application.workers():
                worker.kill_for_good()
            return
        log.info("stopping: finishing what is held, then the children in reverse order")
        self._end_with(EXIT_DONE)

    def hang_up(self) -> None:
        """Do what SIGHUP asks for: a reload."""
        self.reload("SIGHUP")

    def reload(self, who: str) -> Reloaded:
        """Have the children read the files again that may change while they run. `who`: asks for it."""
        named = self._reloading.named()
        what = f"reading {', '.join(named)} again" if named else "no setting names a file to read again"
        log.info("%s: %s; a changed config.toml needs a restart", who, what)
        self.application.reload()
        for one in (self._security, self.token):
            with contextlib.suppress(Failure):
                one.reload()
        found = self._reloading.look()  # says what is wrong, once for all processes that read the same files
        for line in (*found.in_force, *found.need_restart, *found.not_read):
            log.info("%s", line)
        for line in found.refused:
            log.error("%s", line)
        return found

    def ask_for_stacks(self) -> None:
        """Have each child log its stacks, also one that hangs."""
        self.application.signal(signal.SIGQUIT)

    def addresses(self) -> dict[str, str]:
        """Return the "host:port" of each part that listens, with the ports that were really taken."""
        settings = self.application.options
        addresses = {"admin_address": self.admin_address}
        if settings.embedded:
            addresses["nsqd_tcp_address"] = settings.embedded_nsqd.tcp_address
            addresses["nsqd_http_address"] = settings.embedded_nsqd.http_address
        if settings.client.enabled:
            addresses["client_address"] = settings.client.address
        return addresses

    def _told(self, worker: Worker) -> None:
        self.looks.told(worker)
        self._counted.told(worker)

    def broken(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an exception that no code catches: a bug of ours, so the service ends."""
        log.error("%s", context["message"], exc_info=context.get("exception"))
        self._end_with(EXIT_FAILED)

    def _root_ended(self, root: Supervisor, exit: Exit) -> None:
        log.error("the exits so far: %s", Lines("\n".join(self.application.exits)))
        if lost := self._state.lost():
            self._lost(lost)
        self._end_with(EXIT_INTENSITY if root.gave_up else EXIT_FAILED)

    def _lost(self, what: str) -> None:
        """End at once: nothing may be finished on the queue that is lost with the state."""
        if not self._end.done():
            log.error("%s", what)
            self._end_with(EXIT_STORE)

    def _end_with(self, code: int) -> None:
        if not self._end.done():
            for worker in self.application.workers():
                worker.say_stopping()
            self._end.set_result(code)

    def _say_that_all_run(self) -> None:
        settings = self.application.options
        log.info(
            "all children run; status at http://%s/status, state in %s", self.admin_address, self._state_dir
        )
        if settings.client.enabled and not publishes_to_client(settings):
            log.info(
                "publishes do not go to the reference client: its page at http://%s/ stays empty; "
                "client.enabled = false switches it off",
                settings.client.address,
            )

    async def _picture(self) -> dict[str, Any]:
        return status(self, await self.looks.fresh())

    async def _drain(self) -> None:
        timeout_s = self.application.options.supervisor.shutdown_timeout_s
        for worker in await self.application.drain(timeout_s):
            log.warning(
                "%s still holds something after %g s (supervisor.shutdown_timeout_s); it stays in the "
                "ledgers and on the queue, and the next start goes on with it",
                worker,
                timeout_s,
            )

    async def _say_what_waits(self) -> None:
        """Log how many totals the client does not have: the next start publishes them."""
        counters = groups_to_poll(self.application.options)[1]
        heard = await self.application.poll([counters])
        stats = [decode(one) for one in heard.values()]
        waiting = sum(one.pending_videos for one in stats if isinstance(one, CounterStats))
        if waiting:
            totals = counted(waiting, "total is", "totals are")
            why = ", because publishing is paused" if self.changes.paused["publishing"] else ""
            log.warning("%s not published%s, and kept in the ledgers for the next start", totals, why)
        started = [one.spec.id for one in self.application.workers() if one.incarnation]
        if silent := [one for one in counters if one in started and one not in heard]:
            log.warning(
                "no answer from %s: what is pending there waits for the next start", ", ".join(silent)
            )

    def _start_code(self) -> int:
        """Return the exit code after a failed start: `EXIT_STORE` if a child ended with it."""
        exits = [worker.last_exit for worker in self.application.workers() if worker.last_exit]
        return EXIT_STORE if any(exit.code == EXIT_STORE for exit in exits) else EXIT_FAILED


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call that in the loop, from another thread; dropped when the loop is closed: the process ends."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _why_not_started(error: BaseException | None) -> str:
    logged = isinstance(error, StartFailed) and error.logged
    return f"{error}; its own log lines above say why" if logged else str(error)


def _listen(server: HTTPServer, address: str) -> str:
    """Listen on `address`. Returns it with the port that was taken."""
    sockets = open_listeners("admin.address", address)
    server.add_sockets(sockets)
    return with_port(address, sockets[0].getsockname()[1])
