"""The service as a whole: one supervisor, its tree, its admin HTTP, its run file; from start to end.

Promises: one service a state folder, a second is refused; what goes to stdout is publishes only; it
ends with one of the codes in `exits.py`.
"""

import asyncio
import logging
import os
import signal

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from . import admin, processes, runfile
from .behaviour import configure_log
from .config import Settings
from .exits import EXIT_FAILED, AddressFailure, Failure, StoreFailure
from .store import lock_file
from .supervision import StartFailed, Supervision

log = logging.getLogger(__name__)


def run(settings: Settings, log_level: str = "INFO") -> int:
    """Run the service until it is told to stop. The exit code."""
    configure_log("supervisor", log_level)
    processes.prepare()
    try:
        return asyncio.run(_live(settings))
    except Failure as failure:
        log.error("%s", failure)
        return EXIT_FAILED


async def _live(settings: Settings) -> int:
    state_dir = settings.supervisor.state_dir
    _hold(state_dir)
    server, address = None, settings.admin.address
    supervision = Supervision(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervision.ask_to_stop)
    server = HTTPServer(admin.application(supervision))
    address = _listen(server, address)
    supervision.admin_address = address
    starting = asyncio.ensure_future(supervision.start())
    ending = asyncio.ensure_future(supervision.wait())
    try:
        await asyncio.wait([starting, ending], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        elif starting.exception() is None:
            runfile.write(state_dir, {"pid": os.getpid(), **supervision.addresses()})
            log.info("all children run; status at http://%s/status, state in %s", address, state_dir)
        else:
            error = starting.exception()
            if not isinstance(error, StartFailed):
                raise error
            log.error("%s; its own lines above say why. Everything is stopped again", error)
            return EXIT_FAILED
        code = await ending
        await supervision.stop()
        log.info("stopped")
        return code
    finally:
        runfile.remove(state_dir)
        server.stop()


def _hold(state_dir: str) -> None:
    """Hold the state folder until this process ends."""
    running = runfile.read(state_dir)
    try:
        lock_file(runfile.lock_path(state_dir), timeout_s=0.0 if running else 3.0)
    except StoreFailure as failure:
        if running:
            raise StoreFailure(
                f"a service runs already on {state_dir} (pid {running['pid']}); stop it with "
                "`python supervisor.py stop`, or set another supervisor.state_dir"
            ) from failure
        raise


def _listen(server: HTTPServer, address: str) -> str:
    host, _, port = address.rpartition(":")
    try:
        sockets = bind_sockets(int(port), host.strip("[]"))
    except OSError as error:
        raise AddressFailure(
            f"admin.address = {address!r} can't be had ({error.strerror}); expected a free address: "
            "stop what listens there, or set another, port 0 for any free one"
        ) from error
    server.add_sockets(sockets)
    return f"{host}:{sockets[0].getsockname()[1]}"
