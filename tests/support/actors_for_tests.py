"""Actors that do what a test of the supervisor needs, as real processes."""

import os
import signal
import sys
from pathlib import Path
from typing import Never

from actors.supervision.actor import Actor
from actors.supervision.protocol import Ready


class Calm(Actor[Never, str]):
    """Starts, and waits. Writes its id to a file whenever it starts or ends."""

    async def init(self) -> Ready:
        self.note("start")
        return Ready()

    async def terminate(self) -> None:
        self.note("end")

    def note(self, what: str) -> None:
        with open(Path(self.options) / "story", "a") as file:
            file.write(f"{what} {self.start_args.id}\n")


class Refused(Exception):
    """Ends an actor in one line."""

    exit_code = 1


class Broken(Calm):
    """Never starts."""

    async def init(self) -> Ready:
        raise Refused("this child never starts")


class BrokenOnce(Calm):
    """Starts the first time, and not the second."""

    async def init(self) -> Ready:
        if self.start_args.incarnation == 2:
            os._exit(9)
        return await super().init()


class Ends(Calm):
    """Ends by itself, well, when it is told SIGUSR1."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGUSR1, lambda *_: os._exit(0))
        return await super().init()


class Stubborn(Calm):
    """Does not end when it is told to."""

    async def terminate(self) -> None:
        while True:
            signal.pause()


class Garbled(Calm):
    """Says what is no message to its supervisor when it is told SIGUSR1."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGUSR1, self.garble)
        return await super().init()

    def garble(self, *_: object) -> None:
        self.host._control._end.send(b"\xc1" * 50)  # type: ignore[attr-defined]


class Busy(Calm):
    """Spins for ever when it is told SIGUSR1."""

    async def init(self) -> Ready:
        signal.signal(signal.SIGUSR1, self.spin)
        return await super().init()

    def spin(self, *_: object) -> None:
        while True:
            sys.getsizeof(self)
