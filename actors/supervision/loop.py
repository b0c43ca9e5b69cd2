"""The loop of a process: it waits for descriptors, timers and signals, and calls who asked for them.

It is asyncio's, or a `PlainLoop`, without futures and tasks, for an actor with no other I/O than its pipes.
"""

import asyncio
import heapq
import selectors
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, Protocol, TypeAlias, TypeVar

Result = TypeVar("Result")
Period = TypeVar("Period", int, float)


class Timer(Protocol):
    """What is called later, unless it is cancelled before."""

    def cancel(self) -> None:
        """Don't call it."""


def until_next(period: Period, now: Period) -> Period:
    """How long until the next whole multiple of the period: timers that share one wake a process once.

    A multiple that is nearer than a hundredth of the period counts as over: a timer may be a little early.
    """
    left = period - now % period
    return left if left > period / 100 else left + period


class PlainLoop:
    """The methods of asyncio's loop that supervision needs, over one selector. Descriptors are ints."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: dict[int, dict[int, Callable[[], None]]] = {}
        self._timers: list[tuple[float, int, _PlainTimer]] = []
        self._sequence = count()
        self._signals: dict[int, Callable[[], None]] = {}
        self._stopped = False
        self._wakeup: tuple[socket.socket, socket.socket] | None = None

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call that whenever the descriptor can be read."""
        self._add(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int) -> None:
        """Take back `add_reader`."""
        self._remove(fd, selectors.EVENT_READ)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Call that whenever the descriptor can be written."""
        self._add(fd, selectors.EVENT_WRITE, callback)

    def remove_writer(self, fd: int) -> None:
        """Take back `add_writer`."""
        self._remove(fd, selectors.EVENT_WRITE)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call that once, after this many seconds."""
        timer = _PlainTimer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._sequence), timer))
        return timer

    def add_signal_handler(self, sig: int, callback: Callable[[], None]) -> None:
        """Call that when the signal comes, in turn with everything else."""
        if self._wakeup is None:
            self._wakeup = socket.socketpair()
            for end in self._wakeup:
                end.setblocking(False)
            self.add_reader(self._wakeup[0].fileno(), self._on_signal)
            signal.set_wakeup_fd(self._wakeup[1].fileno(), warn_on_full_buffer=False)
        self._signals[sig] = callback
        signal.signal(sig, lambda *_: None)  # the byte in the pipe is what counts
        signal.siginterrupt(sig, False)

    def set_exception_handler(self, handler: Callable[[Any, dict[str, Any]], object]) -> None:
        """Never called: what a call raises leaves `run_forever`."""

    def run_until_complete(self, future: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine that waits for nothing."""
        return run_at_once(future)

    def run_forever(self) -> None:
        """Run until `stop`. Raises what a call raises."""
        self._stopped = False
        while not self._stopped:
            for key, ready in self._selector.select(self._timeout_s()):
                for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                    # One call may have removed the next, or put another in its place.
                    call = self._calls.get(key.fd, {}).get(event) if ready & event else None
                    if call is not None:
                        call()
            now_s = time.monotonic()
            while self._timers and self._timers[0][0] <= now_s:
                timer = heapq.heappop(self._timers)[2]
                if not timer.cancelled:
                    timer.call()

    def stop(self) -> None:
        """Let `run_forever` return."""
        self._stopped = True

    def _timeout_s(self) -> float | None:
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _add(self, fd: int, event: int, callback: Callable[[], None]) -> None:
        calls = self._calls.setdefault(fd, {})
        known = sum(calls)
        calls[event] = callback
        if not known:
            self._selector.register(fd, event)
        elif sum(calls) != known:
            self._selector.modify(fd, sum(calls))

    def _remove(self, fd: int, event: int) -> None:
        calls = self._calls.get(fd, {})
        if calls.pop(event, None) is None:
            return
        if calls:
            self._selector.modify(fd, sum(calls))
        else:
            del self._calls[fd]
            self._selector.unregister(fd)

    def _on_signal(self) -> None:
        assert self._wakeup is not None
        for number in self._wakeup[0].recv(4096):
            if number in self._signals:
                self._signals[number]()


class _PlainTimer:
    def __init__(self, call: Callable[[], None]):
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


Loop: TypeAlias = asyncio.AbstractEventLoop | PlainLoop


def run_at_once(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that waits for nothing, and so needs no loop. Raises `RuntimeError` if it waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    coroutine.close()
    raise RuntimeError(
        f"{coroutine!r} waits for something, and there is no asyncio loop: see `needs_asyncio`"
    )
