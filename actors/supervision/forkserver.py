"""A forkserver that is halted (SIGSTOP, a debugger) would hold up its supervisor for ever.

It starts nothing then, and tells of no exit. It is killed: its children go on, and the next start makes a new
one (docs/decisions/0007).
"""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver

import psutil

log = logging.getLogger(__name__)

LOOK_S = 0.5  # from one look to the next; one that is halted for a moment only is left alone


def kill_if_halted() -> bool:
    """Kill the forkserver if it runs and is halted. Returns whether it was halted."""
    if not _is_halted():
        return False
    log.warning("the forkserver is halted, so it starts nothing and tells of no exit: killing it")
    with suppress(ProcessLookupError):
        os.kill(_pid(), signal.SIGKILL)
    return True


@contextmanager
def watched() -> Iterator[None]:
    """While the caller waits for the forkserver: kill it if two looks in a row find it halted."""
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(done,), name="forkserver", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def _watch(done: threading.Event) -> None:
    was_halted = False
    while not done.wait(LOOK_S):
        is_halted = _is_halted()
        if is_halted and was_halted:
            kill_if_halted()
        was_halted = is_halted


def _pid() -> int:
    pid: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return pid or 0


def _is_halted() -> bool:
    pid = _pid()
    if not pid:
        return False
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:  # it is gone
        return False
