"""A forkserver that begins before anybody knows what it is for: imports take most of a start.

`begin` imports what this program and its children both need, once, and forks a process off. That one imports
what the first children need beside it, and waits. `forkserver.begin` gives it its socket (`take`), and only
then does it start children. Without that it ends with this process. While nobody asks it for a child, it
imports what the others need: the first children start meanwhile.

It is a copy of this process before anything has been opened or started. It has no environment variable but
those of `KEPT`: which ones are secret is not known yet. The others are overwritten in its memory, and
children get theirs with their start arguments. So nothing may read the environment's values before `begin`.

This file imports nothing that is heavy, and nothing at all fails if there can be no head start.
"""

import os
import selectors
import signal
import socket
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, Never

# What Python and the dynamic linker go by.
KEPT = frozenset(
    (
        *("PATH", "HOME", "TMPDIR", "TZ", "TZDIR", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE"),
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONHOME"),
        *("PYTHONUTF8", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONNOUSERSITE"),
        *("PYTHONHASHSEED", "PYTHONUNBUFFERED"),
    )
)
# What the forkserver imports before the modules of its program, and after them. What each child needs is
# among the first: else each child would import it by itself, at each start.
FIRST = (
    f"{__package__}.uncollected",
    f"{__package__}.actor_host",
    "multiprocessing.popen_forkserver",
    "runpy",
)
LAST = f"{__package__}.undisturbed"
TITLE = "multiprocessing.forkserver"  # as in the command line of multiprocessing's own: people look for that
# It imports the next module so long after it has started children, which are asked for one right after the
# other. Before that it waits until a child is asked for, but not for ever.
PAUSE_S = 0.005
IDLE_S = 0.2
_GO = b"g"
_END_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Started(NamedTuple):
    """A forkserver that imports. `alive`: our end of a pipe; it ends when that is closed."""

    pid: int
    listener: socket.socket
    alive: int


_started: list[Started] = []


def begin(shared: Iterable[str], preload: Sequence[str], name: str) -> None:
    """Fork a forkserver off that imports the modules of `preload`, once both have imported those of `shared`.

    It starts no child before it has the first of `preload`. It imports the others one by one in the pauses
    between children; a child that needs one before imports it by itself. `name` stands before its title in
    `ps`. Call it before this process opens or starts anything.
    """
    if not _is_usual():
        return
    _import([*FIRST, *shared])
    with suppress(OSError):
        listener = socket.socket(socket.AF_UNIX)
        theirs, ours = os.pipe()
        # Until `undisturbed.py`: else Ctrl-C, which reaches all, would end it in its imports.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _END_SIGNALS)
        try:
            pid = os.fork()
            if not pid:
                _serve(listener.detach(), theirs, [*preload, LAST], f"{name}: {TITLE}")
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(theirs)
        _started.append(Started(pid, listener, ours))


def take(withheld: Collection[str]) -> Started | None:
    """Return the process that `begin` started. The next call returns None.

    Returns None, too, if nothing was started, or if the process has a variable that is to be withheld.
    """
    if not _started:
        return None
    started = _started.pop()
    if KEPT.isdisjoint(withheld):
        return started
    started.listener.close()
    os.close(started.alive)
    return None


def let_go(started: Started) -> None:
    """Have it start children from now on: its listener is bound."""
    os.write(started.alive, _GO)
    started.listener.close()


def _serve(listener: int, alive: int, preload: list[str], title: str) -> Never:
    """Import, wait for `let_go`, and be multiprocessing's forkserver: all that the forked process does."""
    code = 1
    try:
        for number in _END_SIGNALS:
            signal.signal(number, signal.SIG_DFL)  # they are blocked; the program's handlers are not for it
        _forget_environment(title)
        _close_all_but(listener, alive)
        _import(preload[:1])
        if os.read(alive, 1) == _GO:  # else the other process has ended
            from multiprocessing import forkserver

            vars(forkserver)["selectors"] = _Selectors(preload[1:])
            forkserver.main(listener, alive, [])
        code = 0
    except SystemExit:  # how multiprocessing's ends
        code = 0
    except Exception:  # noqa: BLE001  # whatever it is, it must not go on as the program
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


class _Selectors:
    """What multiprocessing's forkserver uses of the module `selectors`, and imports `later` in its pauses."""

    EVENT_READ = selectors.EVENT_READ

    def __init__(self, later: list[str]):
        self._later = later

    def DefaultSelector(self) -> selectors.BaseSelector:  # noqa: N802  # as in `selectors`
        """A selector that imports one module after the other as long as nothing is ready."""
        return _SelectorWithImports(self._later)


class _SelectorWithImports(selectors.DefaultSelector):
    def __init__(self, later: list[str]):
        super().__init__()
        self._later = later
        self._pause_s = IDLE_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        while self._later:
            if ready := super().select(self._pause_s):
                self._pause_s = PAUSE_S
                return ready
            self._pause_s = IDLE_S
            _import([self._later.pop(0)])
        return super().select(timeout)


def _import(names: Iterable[str]) -> None:
    for name in names:
        with suppress(ImportError):  # as multiprocessing does: the child that needs it says why
            __import__(name)


def _forget_environment(title: str) -> None:
    """Drop the variables that are not kept, and overwrite their values wherever this process has them."""
    import ctypes
    import posix

    import setproctitle

    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    dropped = [(name, value) for name, value in posix.environ.items() if os.fsdecode(name) not in KEPT]
    for name, value in dropped:
        if place := getenv(name):  # the length stays: setproctitle looks for the end of all variables
            ctypes.memset(place, ord("x"), len(value))
        if len(value) > 1:  # Python has only one of each that is shorter
            ctypes.memset(id(value) + bytes.__basicsize__ - 1, ord("x"), len(value))
    setproctitle.setproctitle(title)  # into the place where the process got its environment
    for name, _ in dropped:
        del os.environ[os.fsdecode(name)]


def _is_usual() -> bool:
    """Whether all standard streams are open, no thread runs, and Python has such a forkserver.

    What is opened now must not get the number of a stream that is closed.
    """
    try:
        for stream in range(3):
            os.fstat(stream)
    except OSError:
        return False
    return hasattr(os, "fork") and sys.version_info < (3, 14) and len(sys._current_frames()) == 1


def _close_all_but(*kept: int) -> None:
    """Close all descriptors but those, and the standard streams."""
    for descriptor in [int(name) for name in os.listdir("/dev/fd")]:
        if descriptor > 2 and descriptor not in kept:
            with suppress(OSError):  # the one that the folder was read with
                os.close(descriptor)
