"""What a service does first: it holds its state, and gives the forkserver, which imports already, its socket.

Meanwhile this process imports what the supervisor needs. So this file imports little, and the rest of the
service comes after it: see docs/decisions/0045.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from ..config import Settings
from ..store import begin_if_new
from ..supervision import forkserver
from ..supervision.log_format import configure_log
from ..supervision.pids import is_there
from ..system import ownership, runfile, temporary
from ..system.exits import EXIT_FAILED, Failure, StoreFailure
from ..system.installation import environment, service_command
from ..system.locks import make_folder
from ..tree import secret_variables

log = logging.getLogger(__name__)


def run(settings: Settings, log_level: str = "INFO", reread: Callable[[], Settings] | None = None) -> int:
    """Run the service until it is told to stop. Returns its exit code. `reread`: see `Reloading`."""
    configure_log("supervisor", log_level, settings.log.format)
    os.environ.update(environment())  # the forkserver does not get our sys.path
    forkserver.prepare(["actors.preload"], secret_variables(settings))
    try:
        hold(settings.supervisor.state_dir)
        forkserver.begin()
        begin_if_new(settings.supervisor.state_dir, settings.counters.shards)
        from . import lifecycle

        return lifecycle.run(settings, reread)
    except Failure as failure:
        log.error("%s", failure)
        return EXIT_FAILED


def hold(state_dir: str) -> None:
    """Lock the state folder until this process ends, and make it ready: its owner's alone, nothing left over.

    Raises `StoreFailure` if another service holds it, or if it is another user's.
    """
    ownership.check_owner(state_dir)
    running = runfile.read(state_dir)
    if running is None or (runfile.is_here(running) and not is_there(running["pid"])):
        make_folder(state_dir)
        ownership.mend(
            state_dir
        )  # before it is locked: another user may hold a lock of a state with wider modes
        running = None
    try:
        runfile.hold(state_dir, timeout_s=0.0 if running else 3.0)
    except StoreFailure as failure:
        if running:
            raise StoreFailure(
                f"a service runs already on {state_dir} (pid {running['pid']}); stop it with "
                f"`{service_command()} stop`, or set another supervisor.state_dir"
            ) from failure
        raise
    ownership.check_owner(state_dir)  # again: until it was mended, others may have been able to write there
    temporary.sweep()
    temporary.use_run_folder(Path(state_dir))
