"""Keeps multiprocessing's forkserver from being ended in its imports, and from holding up its supervisor.

A forkserver that is halted (SIGSTOP, a debugger) starts nothing and tells of no exit. It is killed: its
children go on, and the next start makes a new one (docs/decisions/0007). So is a forkserver whose socket
somebody has removed.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker

from . import forkserver_ahead

log = logging.getLogger(__name__)

_lost: set[int] = set()  # the forkservers whose end was logged
LOOK_S = 0.5  # from one look to the next; one that is halted for a moment only is left alone
_withheld: set[str] = set()


def prepare(preload: Iterable[str], withheld: Iterable[str] = ()) -> None:
    """Have the forkserver import these modules. Call this before the first start.

    `withheld`: environment variables that no helper process and no child gets, unless its spec names them
    (`ChildSpec.environment`).
    """
    _without_tracker()
    forkserver.set_forkserver_preload([*forkserver_ahead.FIRST, *preload, forkserver_ahead.LAST])
    _withheld.update(withheld)


def begin() -> None:
    """Start the forkserver now, so that it imports while this process does something else.

    Without this, the first start of a child starts it. If it can't be started now, that one says why.
    """
    started = forkserver_ahead.take(_withheld)
    with suppress(OSError), without_withheld(), undisturbed():
        if started is None:
            forkserver.ensure_running()
        else:
            _adopt(started)


def _adopt(started: forkserver_ahead.Started) -> None:
    """Make it multiprocessing's forkserver, as `ensure_running` makes its own."""
    address: str = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]  # typeshed lacks it
    started.listener.bind(address)
    os.chmod(address, 0o600)
    started.listener.listen()
    forkserver_ahead.let_go(started)
    vars(forkserver._forkserver).update(
        _forkserver_address=address, _forkserver_alive_fd=started.alive, _forkserver_pid=started.pid
    )


def environment_for(names: Iterable[str]) -> dict[str, str]:
    """The environment of a child: what is not withheld, and these variables."""
    hidden = _withheld - set(names)
    return {name: value for name, value in os.environ.items() if name not in hidden}


@contextmanager
def without_withheld() -> Iterator[None]:
    """While the block lasts, this process's environment lacks what is withheld, and what it starts too."""
    kept = {name: os.environ.pop(name) for name in _withheld if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def kill_if_halted() -> bool:
    """Kill the forkserver if it runs and is halted. Returns whether it was halted."""
    if not _is_halted():
        return False
    log.warning("the forkserver is halted, so it starts nothing and tells of no exit: killing it")
    with suppress(ProcessLookupError):
        os.kill(pid(), signal.SIGKILL)
    return True


def kill_if_unreachable() -> None:
    """Kill the forkserver if somebody has removed its socket."""
    address: str | None = getattr(forkserver._forkserver, "_forkserver_address", None)
    if not address or os.path.exists(address):
        return
    present = pid()
    if present and not _is_dead(present):
        log.warning("the forkserver's socket %s was removed, so it starts nothing: killing it", address)
        with suppress(ProcessLookupError):
            os.kill(present, signal.SIGKILL)
        end_s = time.monotonic() + LOOK_S
        while not _is_dead(present) and time.monotonic() < end_s:  # multiprocessing looks whether it is
            time.sleep(0.001)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Start the forkserver with SIGINT and SIGTERM blocked, until it has done its imports.

    Else Ctrl-C, which reaches the whole process group, ends it in the middle of them. `undisturbed.py`
    unblocks them in the forkserver. A signal for this process waits until the block is over.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _without_tracker() -> None:
    """Have multiprocessing start no resource tracker: it would track semaphores and shared memory alone.

    It finds one that takes whatever is written to it.
    """
    tracker = vars(resource_tracker._resource_tracker)
    if tracker["_fd"] is None:
        tracker["_fd"] = os.open(os.devnull, os.O_WRONLY)


def why_not_started(error: Exception) -> str:
    """Say why a child could not be started. `error`: what multiprocessing raised, without any path."""
    if isinstance(error, EOFError):
        return (
            "the forkserver ended while it forked: no more processes (ulimit -u) or memory, or it was killed"
        )
    address = getattr(forkserver._forkserver, "_forkserver_address", None)
    where = f" at {address}, its socket" if address and isinstance(error, OSError) else ""
    return f"the forkserver can't be reached{where} ({getattr(error, 'strerror', None) or error})"


def say_lost(forkserver_pid: int) -> None:
    """Log that a forkserver has ended, once, however many children it had."""
    if forkserver_pid not in _lost:
        _lost.add(forkserver_pid)
        log.warning(
            "the forkserver has ended: its children go on, and the next start makes another one; how a child "
            "of this one ends will not be known"
        )


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


def pid() -> int:
    """The pid of the present forkserver; 0 without one."""
    found: int | None = getattr(forkserver._forkserver, "_forkserver_pid", None)
    return found or 0


def _is_dead(pid: int) -> bool:
    import psutil  # here and below: it is heavy, and `begin` does without it

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.Error:  # it is gone
        return True


def _is_halted() -> bool:
    present = pid()
    if not present:
        return False
    import psutil

    try:
        return psutil.Process(present).status() == psutil.STATUS_STOPPED
    except psutil.Error:  # it is gone
        return False
