"""A forkserver that does its imports before anybody knows what it is for: they take most of a start.

`begin` starts it, as the first thing that a program does. It gets no environment variable but those of
`KEPT`: which ones are secret is not known yet. `forkserver.begin` gives it its socket (`take`), and only then
does it start children. They get the other variables with their start arguments. Without that it ends with
this process.

This file imports nothing that is heavy, and nothing at all fails if there can be no head start.
"""

import os
import signal
import socket
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

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
_GO = b"g"
# The name of multiprocessing's own is in it, as in the command line of its own: people look for that.
_CODE = "from multiprocessing.forkserver import main; from {module} import serve; serve(main, {arguments!r})"


class Started(NamedTuple):
    """A forkserver that imports. `alive`: our end of a pipe; it ends when that is closed."""

    pid: int
    listener: socket.socket
    alive: int


_started: list[Started] = []


def begin(preload: Iterable[str], environment: Mapping[str, str]) -> None:
    """Start a forkserver that imports these modules. `environment`: the `KEPT` are taken from it."""
    if not _is_usual():
        return
    with suppress(OSError):
        listener = socket.socket(socket.AF_UNIX)
        theirs, ours = os.pipe()
        arguments = (listener.fileno(), theirs, [*FIRST, *preload, LAST])
        code = _CODE.format(module=__name__, arguments=arguments)
        for one in arguments[:2]:
            os.set_inheritable(one, True)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", code],
                {name: value for name, value in environment.items() if name in KEPT},
                file_actions=[(os.POSIX_SPAWN_CLOSE, one) for one in _inherited(arguments[:2])],
                # Until `undisturbed.py`: else Ctrl-C, which reaches all, would end it in its imports.
                setsigmask=[*signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.SIGINT, signal.SIGTERM],
            )
        finally:
            os.set_inheritable(listener.fileno(), False)
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


def serve(main: Any, arguments: tuple[int, int, list[str]]) -> None:
    """Import, wait for `let_go`, and be multiprocessing's forkserver: the main function of the process."""
    listener, alive, preload = arguments
    for name in preload:
        with suppress(ImportError):  # as multiprocessing does: the child that needs it says why
            __import__(name)
    if os.read(alive, 1) == _GO:  # else the other process has ended
        main(listener, alive, [])


def _is_usual() -> bool:
    """Whether this is a Python without options, with all standard streams open, and with such a forkserver.

    What is opened now must not get the number of a stream that is closed.
    """
    try:
        for stream in range(3):
            os.fstat(stream)
    except OSError:
        return False
    return hasattr(os, "posix_spawn") and sys.version_info < (3, 14) and sys.orig_argv[1:2] == sys.argv[:1]


def _inherited(but: Collection[int]) -> list[int]:
    """The descriptors that a new process would have, but those, and the standard streams."""
    found = [int(name) for name in os.listdir("/dev/fd")]
    return [one for one in found if one > 2 and one not in but and _is_inheritable(one)]


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # the one that the folder was read with
        return False
