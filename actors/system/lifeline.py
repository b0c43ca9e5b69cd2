"""A process that must not outlive the one that started it, however that one ends.

The starter keeps one end of a pipe open for as long as it lives. What it starts holds the other end. When the
pipe closes, it gets a SIGTERM, and ends as on any other.
"""

import functools
import os
import signal
import threading
from collections.abc import Mapping

VARIABLE = "PLAYTALLY_LIFELINE"


@functools.cache
def _pipe() -> tuple[int, int]:
    return os.pipe()


def descriptor() -> int:
    """Return the end of this process's pipe that what it starts has to inherit (`pass_fds`)."""
    return _pipe()[0]


def hand_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a process that inherits `descriptor()`."""
    return {**environment, VARIABLE: str(descriptor())}


def hold() -> None:
    """End this process, with SIGTERM, when its starter has ended. Call it once SIGTERM is handled.

    Does nothing if the starter handed on no lifeline.
    """
    named = os.environ.pop(VARIABLE, "")
    if named.isdecimal():
        threading.Thread(target=_wait, args=(int(named),), name="lifeline", daemon=True).start()


def _wait(pipe: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals are for the main thread
    try:
        os.set_inheritable(pipe, False)
        os.read(pipe, 1)  # nobody writes: it ends when the other end is closed
    except OSError:  # not our pipe
        return
    os.kill(os.getpid(), signal.SIGTERM)
