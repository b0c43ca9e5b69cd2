"""Child processes: the only place that starts, waits for or signals one.

Children come from a `forkserver` that has the imports done, never from a plain `fork`: a sibling that
inherited a copy of a pipe end would hide its closing. The closing of the control pipe is a child's
death; the exit status comes from the forkserver a moment later.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from .behaviour import Birth, run
from .control import ControlPipe, PeerLost, PeerStuck
from .core.messages import Message, SupervisorInbox
from .core.restarts import Exit
from .mailbox import end_of

REAP_TIMEOUT_S = 5.0
_context = multiprocessing.get_context("forkserver")


def prepare() -> None:
    """Let the forkserver import what actors need. Call it before the first start."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # the forkserver does not get our sys.path
    _context.set_forkserver_preload(["actors.preload"])


class ChildProcess:
    """One incarnation of one child: its process and its control pipe."""

    def __init__(
        self,
        birth: Birth,
        on_message: Callable[["ChildProcess", Message], None],
        on_exit: Callable[["ChildProcess", Exit], None],
    ):
        """Starts it. `on_exit` is called once, when the process is gone and reaped."""
        self.birth = birth
        self.started_s = time.monotonic()
        self.hung = ""
        self._on_message = on_message
        self._on_exit = on_exit
        self._exited = False
        self._loop = asyncio.get_running_loop()
        ours, theirs = multiprocessing.Pipe()
        self._process = _context.Process(
            target=run, args=(birth, theirs), name=birth.id, daemon=False
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        theirs.close()  # at once: a copy of the child's end here would hide its death
        self._control = ControlPipe(end_of(ours), SupervisorInbox)
        self._loop.add_reader(self._control.fileno(), self._hear)
        self._sentinel = self._process.sentinel
        self._loop.add_reader(self._sentinel, self._reap)

    @property
    def alive(self) -> bool:
        """Whether it has not been reaped yet."""
        return not self._exited

    def send(self, message: Message, descriptor: int | None = None) -> None:
        """Tell the child something. One that is gone or stuck is dealt with when that shows."""
        with contextlib.suppress(PeerLost, PeerStuck):
            self._control.send(message, descriptor)

    def signal(self, number: int) -> None:
        """Send a signal; nothing when it is gone already."""
        if not self._exited:
            send_signal(self.pid, number)

    def kill_hung(self, why: str) -> None:
        """SIGKILL for a child that does not answer."""
        self.hung = why
        self.signal(signal.SIGKILL)

    def _hear(self) -> None:
        try:
            for message, _ in self._control.receive():
                self._on_message(self, message)
        except PeerLost:
            # Its death. It may hang in exiting, or have closed the pipe only: make sure of it.
            self._loop.remove_reader(self._control.fileno())
            self._loop.call_later(REAP_TIMEOUT_S, self.signal, signal.SIGKILL)

    def _reap(self) -> None:
        if self._exited:
            return
        self._process.join(0)
        code = self._process.exitcode
        if code is None:
            return
        self._exited = True
        self._loop.remove_reader(self._sentinel)
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        self._process.close()
        self._on_exit(self, _exit(code, self.hung))


def send_signal(pid: int, number: int) -> bool:
    """Send a signal to a process. Whether there was one."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def pipe() -> tuple[int, int]:
    """The two descriptors of a fresh pipe for a link, open in this process until closed."""
    one, other = multiprocessing.Pipe()
    return end_of(one).detach(), end_of(other).detach()


def _exit(code: int, hung: str) -> Exit:
    if code >= 0:
        return Exit(code=code, hung=hung)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return Exit(signal=name, hung=hung)
