"""A client that answers each publish after a fixed time, in its own process. It costs little CPU.

Owns the process and its notes: when each publish came, and how much CPU time the processes of the service had
used by then. It answers 200 to everything and judges nothing. Its clock and the queue's clock are both this
machine's.
"""

import asyncio
import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from actors.core.client.promises import Publish

from .processes import cpu_s, waited_s

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
START_TIMEOUT_S = 60.0


class Noted(NamedTuple):
    """One publish: when it came, in ns since 1970; CPU seconds so far of each watched process; its body.

    `waited_s`: how many seconds the first of them was ready to run so far, and had no core.
    """

    at_ns: int
    cpu_s: list[float]
    body: bytes
    waited_s: float = 0.0

    @property
    def publish(self) -> Publish:
        """The publish in it."""
        return msgspec.json.decode(self.body, type=Publish)


class SlowClient:
    """The client. It runs while the context is open. `url`: where it takes publishes.

    `answer_s`: how long it takes to answer. `hang`: (number, seconds): it takes that long to answer the
    publish with this number, from 1.
    """

    def __init__(self, answer_s: float, hang: tuple[int, float] = (0, 0.0)):
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(theirs, answer_s, hang), daemon=True
        )
        self.url = ""

    def __enter__(self) -> Self:
        self._process.start()
        if not self._ours.poll(START_TIMEOUT_S):
            raise TimeoutError(f"the client did not start in {START_TIMEOUT_S:g} s")
        self.url = f"http://127.0.0.1:{self._ours.recv()}/plays"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.join()

    def watch(self, pids: list[int]) -> None:
        """From now on note the CPU time of these processes with each publish."""
        self._ask(("watch", pids))

    def count(self) -> int:
        """How many publishes have come."""
        found: int = self._ask(("count", []))
        return found

    def take(self) -> list[Noted]:
        """The notes, in the order in which the publishes came."""
        found: list[Noted] = self._ask(("take", []))
        return found

    def _ask(self, question: tuple[str, list[int]]) -> Any:
        self._ours.send(question)
        return self._ours.recv()


class _Client:
    """The client in its own process."""

    def __init__(self, pipe: Connection, answer_s: float, hang: tuple[int, float]):
        self._pipe = pipe
        self._answer_s = answer_s
        self._hang_number, self._hang_s = hang
        self._watched: list[int] = []
        self._notes: list[Noted] = []

    async def serve(self) -> None:
        """Serve until the process is ended."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(self._take), "127.0.0.1", 0, backlog=512)
        self._pipe.send(server.sockets[0].getsockname()[1])
        loop.add_reader(self._pipe.fileno(), self._answer_question)
        await server.serve_forever()

    def _answer_question(self) -> None:
        try:
            what, pids = self._pipe.recv()
        except EOFError:  # who asks is gone
            os._exit(1)
        if what == "watch":
            self._watched = pids
        self._pipe.send(self._notes if what == "take" else len(self._notes))

    def _take(self, body: bytes) -> float:
        """Note a publish. Returns after how many seconds it is answered."""
        waited = waited_s(self._watched[0]) if self._watched else 0.0
        self._notes.append(Noted(time.time_ns(), [cpu_s(pid) for pid in self._watched], body, waited))
        return self._hang_s if len(self._notes) == self._hang_number else self._answer_s


class _Connection(asyncio.Protocol):
    """One request after the other, each with a Content-Length."""

    def __init__(self, take: Callable[[bytes], float]) -> None:
        self._take = take
        self._held = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        head, found, body = self._held.partition(b"\r\n\r\n")
        length = head.lower().rpartition(b"content-length:")[2].partition(b"\r\n")[0]
        if not found or len(body) < int(length):
            return
        self._held = b""
        after_s = self._take(body)
        if after_s:
            asyncio.get_running_loop().call_later(after_s, self._transport.write, ANSWER)
        else:
            self._transport.write(ANSWER)


def _run(pipe: Connection, answer_s: float, hang: tuple[int, float]) -> None:
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_Client(pipe, answer_s, hang).serve())
