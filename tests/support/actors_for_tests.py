"""Actors for the tests of the supervisor, which run as real processes."""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Never

from actors.supervision.actor import Actor
from actors.supervision.program import Program
from actors.supervision.protocol import Ready


class Calm(Actor[Never, str]):
    """Starts and waits. Writes its id to a file when it starts and when it ends."""

    async def init(self) -> Ready:
        self.note("start")
        return Ready()

    async def terminate(self) -> None:
        self.note("end")

    def note(self, what: str) -> None:
        with open(Path(self.options) / "story", "a") as file:
            file.write(f"{what} {self.start_args.id}\n")


class Obedient(Calm):
    """Notes which orders it starts with, and which come while it runs. Is not ready while a file is there."""

    async def init(self) -> Ready:
        self.note(f"starts with {self.start_args.orders.decode()}:")
        while (Path(self.options) / "hold").exists():
            await asyncio.sleep(0.01)
        return Ready()

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        self.note(f"is told {request.decode()}:")
        reply(b"yes")


class Refused(Exception):
    """Ends an actor with one line in the log."""

    exit_code = 1


class Broken(Calm):
    """Never starts."""

    async def init(self) -> Ready:
        raise Refused("this child never starts")


class Killed(Calm):
    """Is killed before it is ready, and so says nothing."""

    async def init(self) -> Ready:
        os.kill(os.getpid(), signal.SIGKILL)
        return Ready()


class BrokenOnce(Calm):
    """Starts the first time, and fails to start the second time."""

    async def init(self) -> Ready:
        if self.start_args.incarnation == 2:
            os._exit(9)
        return await super().init()


class Ends(Calm):
    """Ends by itself, with exit code 0, on SIGALRM."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        return await super().init()


class Tells(Calm):
    """Says its stats by itself, once it is called."""

    def stats(self) -> bytes:
        return b"told"

    def handle_call(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        self.host.say_stats()


class Loads(Calm):
    """Says how far it is, and starts when a file `go on` is there."""

    async def init(self) -> Ready:
        self.host.say_loading(5, 10, "rows")
        self.host.say_loading(6, 10, "rows")  # too soon after the first to be told
        while not (Path(self.options) / "go on").exists():
            await asyncio.sleep(0.01)
        return await super().init()


class Stubborn(Calm):
    """Does not end when its supervisor tells it to."""

    async def terminate(self) -> None:
        while True:
            signal.pause()


class Garbled(Calm):
    """Sends its supervisor bytes that are no message, on SIGALRM."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGALRM, self.garble)
        return await super().init()

    def garble(self, *_: object) -> None:
        self.host._control._end.send(b"\xc1" * 50)  # type: ignore[attr-defined]


class Busy(Calm):
    """Spins for ever, on SIGALRM."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGALRM, self.spin)
        return await super().init()

    def spin(self, *_: object) -> None:
        while True:
            sys.getsizeof(self)


class Sleeper(Program[str]):
    """Runs a program that says a line and then sleeps for long. Says no more than its options: a folder."""

    def command(self) -> list[str]:
        script = f"echo $$ > {self.options}/pid; echo 'one\x1b[2J line'; exec sleep 600"
        return [shutil.which("sh") or "/bin/sh", "-c", script]

    def said(self, line: str) -> None:
        logging.getLogger(__name__).warning("%s", line)  # the level that tests log


class NeverReady(Sleeper):
    """Its program never says that it is ready."""

    async def answers(self) -> bool:
        return False
