"""An actor that runs an external program: it starts it, logs what it says, and ends when it ends.

Promise: the program does not outlive its actor, however that one ends, a SIGKILL included. A small shell, the
guard, reads a pipe that only the actor holds. When the pipe closes, the guard kills the program. The program
is not executed before the guard knows its pid. This works on every Unix.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable
from typing import Never

from .actor import Actor, Options
from .protocol import Ready
from .restarts import Exit

log = logging.getLogger(__name__)

ANSWER_PAUSE_S = 0.05  # between two questions whether the program is ready
LAST_LINES_S = 1.0  # for what an ended program has said; a process that it started may hold the pipe
READ_BYTES = 65_536
LINE_BYTES_MAX = 16_384  # a longer line is logged in pieces
_GUARD = 'read -r pid && { read -r done || kill -KILL "$pid"; }'
_WAITING = 'read -r go && exec "$@" </dev/null'
PAUSE, RESUME = b"pause", b"resume"


class ProgramEnded(Exception):
    """The program ended, or can't be started: the text says which, and how."""

    exit_code = 1


class Program(Actor[Never, Options]):
    """Runs one program. Subclass it, and say which.

    Takes two calls: `PAUSE` halts the program with SIGSTOP, and `RESUME` lets it go on. The reply is empty.
    """

    def command(self) -> list[str]:
        """The program's path and its arguments."""
        raise NotImplementedError  # only a subclass knows its program

    async def answers(self) -> bool:
        """Whether the program is ready. It is asked until it says so, or until the program has ended."""
        return True

    def said(self, line: str) -> None:
        """Log a line of the program's stdout or stderr, without its newline."""
        log.info("%s", line)

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._program.pid

    async def init(self) -> Ready:
        """Start the program, and wait until it is ready. Raises `ProgramEnded`."""
        self.paused = False
        self._name = os.path.basename(self.command()[0])
        self._guard = await _spawn(["sh", "-c", _GUARD])
        self._program = await _spawn(["sh", "-c", _WAITING, "sh", *self.command()], stdout=PIPE)
        # First the guard: who dies between these two lines has started nothing that lives on.
        _write(self._guard, f"{self.pid}\n")
        _write(self._program, "go\n")
        self._talk = asyncio.ensure_future(self._log_lines())
        end = asyncio.ensure_future(self._end())
        while not await self.answers():
            await asyncio.wait([end], timeout=ANSWER_PAUSE_S)
            if end.done():
                break
            _check_supervisor()
        self.host.spawn(end, lambda _: None)
        if end.done():
            end.result()
        self.host.say_resumed()
        return Ready(note=f"{self._name}, pid {self.pid}")

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """See `Program`."""
        self.paused = {PAUSE: True, RESUME: False}[request]
        self._signal(signal.SIGSTOP if self.paused else signal.SIGCONT)
        reply(b"")

    async def terminate(self) -> None:
        """End the program with SIGTERM. The supervisor kills this, and so the program, if that takes long."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # a program that is halted ends when it goes on
        await self._program.wait()
        await self._said_all()

    async def _end(self) -> None:
        """Wait until the program, or its guard, has ended. Always raises `ProgramEnded`."""
        ends = [asyncio.ensure_future(one.wait()) for one in (self._program, self._guard)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not ends[0].done():
            self._signal(signal.SIGKILL)
            raise ProgramEnded(f"the guard of {self._name} (pid {self.pid}) was killed, so {self._name} ends")
        _write(self._guard, "done\n")  # the pid may soon be another process's
        await self._said_all()
        raise ProgramEnded(f"{self._name} (pid {self.pid}) {_exit(ends[0].result())}")

    async def _log_lines(self) -> None:
        assert self._program.stdout is not None
        rest = b""
        while chunk := await self._program.stdout.read(READ_BYTES):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_BYTES_MAX:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self.said(_text(line))
        if rest:
            self.said(_text(rest))

    async def _said_all(self) -> None:
        await asyncio.wait([self._talk], timeout=LAST_LINES_S)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._program.send_signal(number)


async def _spawn(words: list[str], stdout: int = DEVNULL) -> Process:
    """Start a process that Ctrl-C at the terminal does not reach; we hold the other end of its stdin."""
    stderr = STDOUT if stdout == PIPE else DEVNULL
    blocked = signal.pthread_sigmask(signal.SIG_SETMASK, [])  # what it starts must not inherit our own mask
    try:
        return await asyncio.create_subprocess_exec(
            *words, stdin=PIPE, stdout=stdout, stderr=stderr, start_new_session=True
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _write(process: Process, text: str) -> None:
    assert process.stdin is not None
    process.stdin.write(text.encode())


def _check_supervisor() -> None:
    supervisor = multiprocessing.parent_process()
    if supervisor is not None and not supervisor.is_alive():
        raise ProgramEnded("the supervisor is gone, so this process ends too")


def _exit(code: int) -> Exit:
    return Exit(code=code) if code >= 0 else Exit(signal=signal.Signals(-code).name)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip()
