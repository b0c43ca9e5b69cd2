"""A cluster from start to end: its folder, its ports, its tree of nodes, and the commands of other terminals.

Promises: stdout gets the section [nsq] alone, once every node answers; a node that is killed is started again
on the same port and data; no node outlives the cluster, however that ends.
"""

import asyncio
import logging
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ..core.words import counted
from ..supervision import forkserver
from ..supervision.application import Application
from ..supervision.log_format import configure_log
from ..supervision.printable import Lines
from ..supervision.program import PAUSE, RESUME
from ..supervision.restarts import ChildSpec, Exit, SpecError, SupervisorSpec
from ..supervision.signals import once_a_request
from ..supervision.states import State
from ..supervision.supervisor import Supervisor
from ..supervision.worker import StartFailed, Worker
from ..system import lifeline, temporary
from ..system.exits import EXIT_DONE, EXIT_FAILED, EXIT_INTENSITY, AddressFailure, Failure
from ..system.installation import INSTALLED, environment, service_command
from ..system.locks import is_locked
from ..system.ownership import check_owner_of, take_from_writers
from .certificates import make_certificates
from .control import LOCK, Control, lock
from .node import NodeStats
from .paste import config_of
from .plan import HOST, Plan, Wanted, plan_of, ports_of, programs_of

log = logging.getLogger(__name__)

# Somebody who tries kills out must not end the cluster with them.
RESTARTS_MAX, RESTARTS_MS = 20, 10_000
SHUTDOWN_MS = 10_000
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LIVENESS_S = 10.0
CALL_TIMEOUT_S = 10.0
HOLD_TRIES, HOLD_PAUSE_S = 100, 0.02
# Below the ports that systems choose by themselves.
FREE_PORTS = range(20_000, 32_000)


def default_folder() -> Path:
    """The folder of a cluster without --data-dir: one for each user, so that its commands find it."""
    return temporary.cluster_folder(Path(tempfile.gettempdir()))


def run(wanted: Wanted, data_dir: Path | None, log_level: str = "INFO", log_format: str = "text") -> int:
    """Run the cluster until it is told to stop. Returns its exit code. Raises `Failure` before it logs.

    `data_dir`: where the data is kept; None throws the data away. `log_format`: as `log.format`.
    """
    missing = [program for program in programs_of(wanted) if shutil.which(program) is None]
    if missing:
        raise Failure(f"no {', '.join(missing)} on PATH, expected NSQ's programs: {_how_to_get_them()}")
    configure_log("cluster", log_level, log_format)
    try:
        for number in STOPPING:
            signal.signal(number, _stop_early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # see `early_signals.py`
        return _run(wanted, data_dir)
    except _StoppedEarly:
        log.info("stopped by a signal before any node was started")
        return EXIT_DONE
    except Failure as failure:
        log.error("%s", failure)
        return EXIT_FAILED


class _StoppedEarly(BaseException):
    """A signal came while the cluster was being prepared."""


def _stop_early(*_: object) -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_DFL)  # a second one ends this at once
    raise _StoppedEarly


def _run(wanted: Wanted, data_dir: Path | None) -> int:
    os.environ.update(environment())
    forkserver.prepare(["actors.cluster.node"])
    folder = _claim(data_dir)
    try:
        certificates = make_certificates(folder / "tls") if wanted.tls else None
        plan = plan_of(wanted, folder, _free_ports(), certificates)
        check_ports(plan)
        for node in plan.nodes:
            (folder / node.name).mkdir(exist_ok=True)
        temporary.use_run_folder(folder)
        return asyncio.run(_live(plan, folder))
    finally:
        if data_dir is None:
            _empty(folder)


def _how_to_get_them() -> str:
    if INSTALLED:
        return "get them from https://nsq.io"
    return 'build them with Go: export PATH="$(make -s nsqd):$PATH"; or get them from https://nsq.io'


def _claim(data_dir: Path | None) -> Path:
    """Make and lock the folder. It is emptied if nothing is kept."""
    folder = (data_dir or default_folder()).absolute()
    try:
        folder.mkdir(mode=0o700, parents=data_dir is not None, exist_ok=True)
        check_owner_of(folder)
        take_from_writers(folder)
    except OSError as error:
        raise Failure(f"{folder} can't be used ({error.strerror}): see --data-dir") from error
    if data_dir is None:
        _hold(folder)
    lock(folder)
    if data_dir is None:
        _empty(folder)  # what a cluster that was killed has left
    return folder


def _hold(folder: Path) -> None:
    """Hold the folder until this process ends: a service that starts removes it otherwise (`sweep`)."""
    for _ in range(HOLD_TRIES):
        folder.mkdir(mode=0o700, exist_ok=True)
        if temporary.hold(folder) is not None:
            return
        if is_locked(folder / LOCK):  # by another cluster
            return
        time.sleep(HOLD_PAUSE_S)  # a sweep goes on


def _empty(folder: Path) -> None:
    """Remove the nodes' data. What multiprocessing has in `RUN` is removed when Python ends."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != temporary.RUN:
            shutil.rmtree(path, ignore_errors=True)


def _free_ports() -> Iterator[int]:
    ports = random.SystemRandom().sample(FREE_PORTS, len(FREE_PORTS))
    return (port for port in ports if not _is_taken(port))


def check_ports(plan: Plan) -> None:
    """Raise `AddressFailure` with a line for each port that another program has."""
    taken = [f"{HOST}:{port} ({node.name}, {flag})" for node, flag, port in ports_of(plan) if _is_taken(port)]
    if taken:
        raise AddressFailure(
            f"taken: {', '.join(taken)}, expected free ports: stop what listens there, another cluster or an "
            "NSQ of its own, or set --port (0 takes free ones)"
        )


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as NSQ's programs do
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return True
    return False


async def _live(plan: Plan, folder: Path) -> int:
    cluster = Cluster(plan)
    control = Control(folder, cluster.act)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(cluster.broken)
    ask_to_stop = once_a_request(cluster.ask_to_stop)
    for number in STOPPING:
        loop.add_signal_handler(number, ask_to_stop)
    lifeline.hold()
    try:
        return await cluster.live(control)
    finally:
        await cluster.stop()  # else Python waits for the children before it ends


class Cluster:
    """One life of a cluster."""

    def __init__(self, plan: Plan):
        children = tuple(
            ChildSpec(one.name, "actors.cluster.node:NodeActor", shutdown_ms=SHUTDOWN_MS)
            for one in plan.nodes
        )
        rules = SupervisorSpec(children, max_restarts=RESTARTS_MAX, max_ms=RESTARTS_MS)
        root = ChildSpec("root", shutdown_ms=None, supervisor=rules)
        self._plan = plan
        self._application = Application("playtally cluster", plan, root, lambda plan, _: plan, self._ended)
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def live(self, control: Control) -> int:
        """Start all nodes, print the addresses, and run until the end. Returns the exit code."""
        watching = asyncio.ensure_future(self._application.watch(LIVENESS_S))
        starting = asyncio.ensure_future(self._application.root.start())
        both: list[asyncio.Future[None] | asyncio.Future[int]] = [starting, self._end]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return self._end.result()
        if isinstance(starting.exception(), StartFailed):
            log.error("%s. The cluster ends", starting.exception())
            return EXIT_FAILED
        starting.result()
        await control.open()
        try:
            print(Lines(config_of(self._plan)), end="", flush=True)
            nodes = len(self._plan.nodes)
            log.info("%s; Ctrl-C ends all", counted(nodes, "node answers", "nodes answer"))
            return await self._end
        finally:
            control.close()
            watching.cancel()

    async def stop(self) -> None:
        """Stop the nodes in reverse order."""
        await self._application.root.stop()
        log.info("stopped")

    async def act(self, action: str, name: str) -> str:
        """Carry out a command. Returns what was done. Raises `Failure`."""
        workers = {one.spec.id: one for one in self._application.workers()}
        if action == "status":
            await asyncio.gather(*(one.refresh() for one in workers.values()))
            return "\n".join(self._line(one) for one in workers.values())
        if name not in workers:
            raise Failure(f"no node {name!r}, expected one of {', '.join(workers)}")
        root = self._application.root
        try:
            match action:
                case "stop":
                    await root.terminate_child(name)
                case "start":
                    await _check_not_paused(workers[name])
                    await root.restart_child(name)
                    await workers[name].refresh()
                case "pause" | "resume":
                    await _signal(workers[name], PAUSE if action == "pause" else RESUME)
                case _:
                    raise Failure(f"no action {action!r}, expected stop, start, pause, resume or status")
        except (SpecError, StartFailed) as error:
            raise Failure(str(error)) from error
        log.info("%s, because a command said so: %s", name, action)
        return self._line(workers[name])

    def ask_to_stop(self) -> None:
        """End in order; a second call kills what is left."""
        if self._end.done():
            for worker in self._application.workers():
                worker.kill_for_good()
        else:
            self._end.set_result(EXIT_DONE)

    def broken(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Handle an exception that no code catches: a bug of ours, so the cluster ends."""
        error = context.get("exception")
        log.error("%s", context["message"], exc_info=error if isinstance(error, BaseException) else None)
        self._end_with(EXIT_FAILED)

    def _ended(self, root: Supervisor, exit: Exit) -> None:
        log.error("the exits so far: %s", Lines("\n".join(self._application.exits)))
        self._end_with(EXIT_INTENSITY if root.gave_up else EXIT_FAILED)

    def _end_with(self, code: int) -> None:
        if not self._end.done():
            self._end.set_result(code)

    def _line(self, worker: Worker) -> str:
        node = self._plan.node(worker.spec.id)
        stats = _stats(worker)
        words = [node.name, "paused" if stats and stats.paused else str(worker.state)]
        if stats:
            words.append(f"pid {stats.pid}")
        words += [f"{flag.removesuffix('-address')} {address}" for flag, address in node.addresses]
        return "  ".join(words)


def _stats(worker: Worker) -> NodeStats | None:
    ran = worker.state is State.RUNNING and worker.stats
    return msgspec.json.decode(worker.stats, type=NodeStats) if ran and worker.stats else None


async def _check_not_paused(worker: Worker) -> None:
    await worker.refresh()
    stats = _stats(worker)
    if stats and stats.paused:
        again = f"`{service_command()} cluster resume {worker.spec.id}`"
        raise Failure(f"{worker.spec.id} is paused, expected stopped: {again} lets it go on")


async def _signal(worker: Worker, request: bytes) -> None:
    if worker.state is not State.RUNNING:
        raise Failure(f"{worker.spec.id} is {worker.state}, expected running: start it first")
    if await worker.call(request, CALL_TIMEOUT_S) is None:
        raise Failure(f"{worker.spec.id} did not answer within {CALL_TIMEOUT_S:g} s; see its log")
    await worker.refresh()
