"""An event loop with a virtual clock. The clock stands still while any callback or I/O is ready; otherwise it
jumps to the next timer. So waiting takes no real time, and measured times are exact on any machine.

    took_s, answer = run_virtually(scene, peer)

`peer`, a coroutine of (reader, writer) on the same loop, answers every connection made on the loop, to any
address. Such a connection is a socket pair: one end can read at once what the other end wrote. With a real
TCP connection the clock may go on while bytes are still in the kernel.

The loop does not wait for the work of a thread while there is a timer: the clock jumps.
"""

import asyncio
import selectors
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Result = TypeVar("Result")


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop. Its clock begins at 0."""

    def __init__(self, peer: Peer | None = None) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._peer = peer
        self._peers: set[asyncio.Task[None]] = set()

    def time(self) -> float:
        """Seconds on the virtual clock."""
        return self._jumping.now_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncio calls it so
        """Ignore the timeout that asyncio sets since Python 3.12: on this clock it would end at once."""
        await super().shutdown_default_executor()

    async def create_connection(  # type: ignore[override]  # only the forms that open a connection
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *address: Any, **options: Any
    ) -> tuple[asyncio.BaseTransport, asyncio.BaseProtocol]:
        """Connect to the peer. Without a peer this waits for ever."""
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
    """Does not wait for the next timer, but moves the clock to it."""

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
    """Replaces the module `time` in code under test by the running loop's clock.

    monkeypatch.setattr(consumer, "time", LoopTime())
    """

    def __init__(self, start_s: int = 0) -> None:
        """`start_s`: the time of the wall clock when the loop's clock is 0."""
        self._start_s = start_s

    def monotonic(self) -> float:
        """Seconds of the loop's clock."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Seconds of the wall clock."""
        return self._start_s + self.monotonic()

    def time_ns(self) -> int:
        """Nanoseconds of the wall clock."""
        return self._start_s * 1_000_000_000 + round(self.monotonic() * 1e9)


def run_virtually(scene: Callable[[], Coroutine[Any, Any, Result]], peer: Peer | None = None) -> Result:
    """Run a scene on a new virtual loop. Returns the result of the scene."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(peer)) as runner:
        return runner.run(scene())
