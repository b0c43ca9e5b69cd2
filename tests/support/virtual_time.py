"""An event loop with a clock of its own, which stands still while anything happens and goes on to the next
timer when nothing does. What is awaited costs no time, and what is measured is exact on any machine.

    took_s, answer = run_virtually(scene, peer)

Connections made on it, to whatever address, are answered by `peer`, a coroutine of (reader, writer) on the
same loop. They are socket pairs: what one end wrote is there for the other at once. Of TCP, bytes may be on
their way in the kernel while the clock goes on.

A thread's work is not waited for while there is a timer: it counts as nothing that happens.
"""

import asyncio
import selectors
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Result = TypeVar("Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Timers are due on its clock, which begins at 0."""

    def __init__(self, peer: Peer | None = None) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._peer = peer
        self._peers: set[asyncio.Task[None]] = set()

    def time(self) -> float:
        """Seconds on its clock."""
        return self._jumping.now_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio calls it so
        """Without the limit that `asyncio.run` gives since Python 3.12: on this clock it is over at once."""
        await super().shutdown_default_executor()

    async def create_connection(  # type: ignore[override]  # the forms of it that open a connection
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *address: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """A connection to the peer; without one it never comes about."""
        if "sock" in options:
            return await super().create_connection(protocol_factory, **options)
        if self._peer is None:
            await self.create_future()
        ours, theirs = socket.socketpair()
        task = self.create_task(self._serve(theirs))
        self._peers.add(task)
        task.add_done_callback(self._peers.discard)
        return await super().create_connection(protocol_factory, sock=ours)

    async def _serve(self, end: socket.socket) -> None:
        assert self._peer is not None
        reader, writer = await asyncio.open_connection(sock=end)
        try:
            await self._peer(reader, writer)
        except OSError:
            pass  # the other end closed it
        finally:
            writer.close()


class _JumpingSelector(selectors.DefaultSelector):
    """In place of waiting for the next timer it says that its time has come."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        found = super().select(0)
        if not found:
            self.now_s += max(0.0, timeout)
        return found


class LoopTime:
    """In place of the module `time` where code under test asks it: the running loop's clock.

    monkeypatch.setattr(consumer, "time", LoopTime())
    """

    def __init__(self, start_s: int = 0) -> None:
        """`start_s`: what the wall clock says when the loop's says 0."""
        self._start_s = start_s

    def monotonic(self) -> float:
        """Seconds."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Seconds of the wall clock."""
        return self._start_s + self.monotonic()

    def time_ns(self) -> int:
        """The same in ns."""
        return self._start_s * 1_000_000_000 + round(self.monotonic() * 1e9)


def run_virtually(scene: Callable[[], Coroutine[Any, Any, Result]], peer: Peer | None = None) -> Result:
    """What a scene returned, on a loop of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(peer)) as runner:
        return runner.run(scene())
