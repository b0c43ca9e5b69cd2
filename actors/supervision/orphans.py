"""Processes that a container's first process inherits. Nobody else waits for them: they would stay zombies.

The first process (pid 1) becomes the parent of every process whose own parent has ended: children of ours
whose forkserver was killed, and whatever else was started in the container.
"""

import os
from contextlib import suppress

from . import forkserver


def reap_inherited() -> None:
    """Wait for those that have ended, if this is the first process. Returns at once."""
    if os.getpid() == 1:
        reap_unknown(_own())


def reap_unknown(own: set[int]) -> None:
    """Wait for the children that have ended, but for those in `own`: who started them asks how they ended."""
    import psutil  # here: it is heavy, and only the first process of a container needs it

    with suppress(ChildProcessError):  # there are no children
        # Looks whether anyone has ended, and leaves them as they are.
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    for child in psutil.Process().children():
        with suppress(psutil.Error, ChildProcessError):
            if child.pid not in own and child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)


def _own() -> set[int]:
    """What multiprocessing has started in this process, and asks for itself."""
    present = forkserver.pid()
    return {present} if present else set()
