"""Finds the processes of a service from outside, and signals them."""

import contextlib
import os
import signal

import psutil

from actors.cli.launch import Service
from actors.supervision.pids import send_signal

from .faults import FORKSERVER, QUEUE, SERVICE

_TITLE = "playtally: "
_OF_THE_QUEUE = "nsqd"


def find(service: Service) -> dict[str, int]:
    """Pids by name. All of them, and orphans too, are in the session of the service's top process."""
    assert service.process is not None
    found = {} if service.ended else {SERVICE: service.process.pid}
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.Error):
            if pid > 1 and pid != service.process.pid and os.getsid(pid) == service.process.pid:
                words = psutil.Process(pid).cmdline()
                if any("multiprocessing.forkserver" in word for word in words):
                    found[FORKSERVER] = pid
                elif words and words[0].startswith(_TITLE):
                    name = words[0].removeprefix(_TITLE).strip()
                    found[QUEUE if name == _OF_THE_QUEUE else name] = pid
    return found


def kill(pid: int) -> None:
    """Send SIGKILL."""
    send_signal(pid, signal.SIGKILL)


def halt(pid: int) -> None:
    """Send SIGSTOP."""
    send_signal(pid, signal.SIGSTOP)


def resume(pid: int) -> None:
    """Send SIGCONT."""
    send_signal(pid, signal.SIGCONT)
