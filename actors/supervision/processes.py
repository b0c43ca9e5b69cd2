"""Child processes. This is the only place that starts or awaits one, and with `pids.py` that signals one.

Children are forked by a `forkserver` that has done the imports, never by a plain `fork`: a sibling that
inherits a copy of a pipe end would hide that the end was closed. A child is dead when its control pipe is
closed; its exit status comes from the forkserver. If the forkserver is killed, multiprocessing takes all its
children for dead, although they go on. The next start makes a new forkserver. For a child of the old one,
only the end is known then, not the exit status.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from msgspec import Struct

from . import forkserver
from .actor import StartArgs
from .actor_host import run
from .control import ControlPipe, PeerLost, PeerStuck
from .mailbox import BadMail, end_of
from .pids import send_signal
from .protocol import SupervisorInbox
from .restarts import Exit

log = logging.getLogger(__name__)

REAP_TIMEOUT_S = 5.0
STATUS_TIMEOUT_S = 1.0  # from the end of a child until the forkserver is looked at, if it has not told it
# The forkserver may be killed while it does its imports, or while it forks. It refuses connections before the
# operating system says that it is dead, and only then does multiprocessing make a new one.
START_PAUSES_S = (
    0.0,
    0.01,
    0.05,
    0.1,
    0.2,
    0.4,
    0.0,
)  # after each try; this process does nothing else meanwhile
LOST_STATUS = 255  # what multiprocessing says when the forkserver, and the status with it, is gone
_context = multiprocessing.get_context("forkserver")


_before_start: list[Callable[[], None]] = []


def before_each_start(*calls: Callable[[], None]) -> None:
    """Call these before each start from now on. If one raises `OSError`, nothing is started."""
    _before_start[:] = calls


class ChildProcess:
    """One incarnation of one child: its process and its control pipe."""

    def __init__(
        self,
        start_args: StartArgs,
        on_message: Callable[[SupervisorInbox], None],
        on_exit: Callable[[Exit], None],
    ):
        """Starts the process. `on_exit` is called once, when the process is gone and reaped."""
        self.start_args = start_args
        self.started_s = time.monotonic()
        self.alive = True  # and False once it is reaped
        self.hung = ""
        self._on_message = on_message
        self._on_exit = on_exit
        self._closed = False
        self._code: int | None = None
        self._reaper: asyncio.TimerHandle | None = None
        self._asker: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._process, control = _start(start_args)
        self._forkserver = forkserver.pid()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._control: ControlPipe[SupervisorInbox] = ControlPipe(control, SupervisorInbox)
        self._sentinel = self._process.sentinel
        self._loop.add_reader(self._control.fileno(), self._on_readable)
        self._loop.add_reader(self._sentinel, self._status)

    def send(self, message: Struct, descriptor: int | None = None) -> None:
        """Send a message to the child; dropped if the child is gone, or stuck: the watchdog notices."""
        with contextlib.suppress(PeerLost, PeerStuck):
            self._control.send(message, descriptor)

    def signal(self, number: int) -> None:
        """Send it a signal; ignored if the process is gone."""
        if self.alive:
            send_signal(self.pid, number)

    def kill(self) -> None:
        """SIGKILL; ignored if the process is gone."""
        self.signal(signal.SIGKILL)

    def kill_hung(self, why: str) -> None:
        """SIGKILL for a child that does not answer."""
        self.hung = why
        self.kill()

    def _on_readable(self) -> None:
        try:
            for message, _ in self._control.receive():
                self._on_message(message)
        except PeerLost:
            self._closed = True
            self._loop.remove_reader(self._control.fileno())
            # It may hang in exiting: make sure of its death.
            self._reaper = self._loop.call_later(REAP_TIMEOUT_S, self.kill)
            self._asker = self._loop.call_later(STATUS_TIMEOUT_S, self._ask_again)
            self._end_if_gone()
        except BadMail as error:
            self.kill_hung(str(error))  # what follows in the pipe can't be read any more

    def _ask_again(self) -> None:
        """Look whether the forkserver is halted and does not tell the status: then nobody will."""
        if self.alive:
            forkserver.kill_if_halted()
            self._asker = self._loop.call_later(STATUS_TIMEOUT_S, self._ask_again)

    def _status(self) -> None:
        """Take the exit status from the forkserver, which may be gone itself."""
        self._process.join(0)
        self._code = self._process.exitcode
        if self._code is None:
            return
        self._loop.remove_reader(self._sentinel)
        if self._code == LOST_STATUS and not self._closed:
            forkserver.say_lost(self._forkserver)
        self._end_if_gone()

    def _end_if_gone(self) -> None:
        if not self.alive or not self._closed or self._code is None:
            return
        self.alive = False
        for timer in (self._reaper, self._asker):
            if timer is not None:
                timer.cancel()
        self._control.close()
        self._process.close()
        self._on_exit(_exit(self._code, self.hung))


def _start(start_args: StartArgs) -> tuple[BaseProcess, socket.socket]:
    """Start a child. Returns the process and our end of its control pipe. Raises `OSError`."""
    for call in _before_start:
        call()
    for tries, pause_s in enumerate(START_PAUSES_S, start=1):
        ours, theirs = multiprocessing.Pipe()
        process = _context.Process(target=run, args=(start_args, theirs), name=start_args.id)
        try:
            with forkserver.without_withheld(), forkserver.watched(), forkserver.undisturbed():
                process.start()  # this may start the forkserver
            return process, end_of(ours)
        except (OSError, EOFError) as error:
            ours.close()
            why = forkserver.why_not_started(error)
            if tries == len(START_PAUSES_S):
                raise OSError(f"{start_args.name} cannot be started: {why}") from error
            log.warning("%s could not be started (%s): trying again", start_args.name, why)
            forkserver.kill_if_unreachable()
        finally:
            theirs.close()  # at once: a copy of the child's end here would hide its death
        time.sleep(pause_s)
    raise AssertionError("not reached")


def pipe() -> tuple[int, int]:
    """The two descriptors of a fresh pipe for a link, open in this process until closed."""
    one, other = multiprocessing.Pipe()
    return end_of(one).detach(), end_of(other).detach()


def _exit(code: int, hung: str) -> Exit:
    if code == LOST_STATUS:
        return Exit(hung=hung)
    if code >= 0:
        return Exit(code=code, hung=hung)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return Exit(signal=name, hung=hung)
