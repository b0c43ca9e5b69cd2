"""Signals that ask a process for something and never end it: SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2.

A thread of its own waits for them, and they are blocked in all other threads. So a process whose main thread
hangs still tells where it hangs. What this process starts has them blocked too: they end no helper process of
multiprocessing.
"""

import logging
import math
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

from .printable import Lines

log = logging.getLogger(__name__)

WATCHED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# `timeout`, and other programs that end a process and its group, send one request as two signals.
ONE_REQUEST_S = 0.05
STACKS_INTERVAL_S = 1.0  # Ctrl-\ reaches a child, and its supervisor sends the child one more: that is one


def signal_of(name: str) -> signal.Signals:
    """Return the signal that `name` means: a signal's name, with or without SIG, or its number.

    Raises `ValueError`.
    """
    text = name.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(text)) if text.isdecimal() else signal.Signals[f"SIG{text}"]
    except (KeyError, ValueError):
        raise ValueError(f"no signal {name!r}, expected a name like KILL, TERM, STOP or CONT") from None


def watch(on_hangup: Callable[[], None], on_quit: Callable[[], None] = lambda: None) -> None:
    """Take these signals from now on. Call it once, in the main thread, before other threads are started.

    SIGHUP calls `on_hangup`. SIGQUIT logs the stacks of all threads, at most once in `STACKS_INTERVAL_S`, and
    calls `on_quit`. Both are called in the thread that waits. SIGUSR1 and SIGUSR2 do nothing, and the log
    says so the first time.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    thread = threading.Thread(target=_Watcher(on_hangup, on_quit).run, name="signals", daemon=True)
    thread.start()
    assert thread.ident is not None
    waiting: int = thread.ident
    for number in WATCHED:
        # A library's thread that was there before may be given one. It must not end the process.
        signal.signal(number, lambda came, _: signal.pthread_kill(waiting, came))


def once_a_request(call: Callable[[], None]) -> Callable[[], None]:
    """Return a handler that calls that for each signal but those within `ONE_REQUEST_S` after another one."""
    came_s = -math.inf

    def handle() -> None:
        nonlocal came_s
        before_s, came_s = came_s, time.monotonic()
        if came_s - before_s >= ONE_REQUEST_S:
            call()

    return handle


def stacks() -> str:
    """Where each thread of this process is now, the innermost call last."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    return "\n".join(
        f"thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame)).rstrip()}"
        for ident, frame in sys._current_frames().items()
        if ident != own
    )


class _Watcher:
    """Does what each signal asks for."""

    def __init__(self, on_hangup: Callable[[], None], on_quit: Callable[[], None]):
        self._on_hangup = on_hangup
        self._on_quit = on_quit
        self._ignored: set[int] = set()
        self._stacks_s: float | None = None

    def run(self) -> None:
        """Wait for signals, for ever."""
        while True:
            self.came(signal.sigwait(WATCHED))

    def came(self, number: int) -> None:
        """A signal came. A bug in what it asks for ends neither this thread nor the process."""
        try:
            self._take(number)
        except Exception:  # noqa: BLE001 - whatever it is, the next signal has to be taken too
            log.error("%s: %s", signal.Signals(number).name, Lines(traceback.format_exc().rstrip()))

    def _take(self, number: int) -> None:
        match number:
            case signal.SIGHUP:
                self._on_hangup()
            case signal.SIGQUIT:
                self._tell_stacks()
                self._on_quit()
            case _ if number not in self._ignored:
                self._ignored.add(number)
                log.info("%s means nothing here: ignored, now and later", signal.Signals(number).name)

    def _tell_stacks(self) -> None:
        now_s = time.monotonic()
        if self._stacks_s is None or now_s - self._stacks_s >= STACKS_INTERVAL_S:
            self._stacks_s = now_s
            log.warning("SIGQUIT: the stacks of this process, which goes on:\n%s", Lines(stacks()))
