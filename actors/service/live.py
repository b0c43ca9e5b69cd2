"""The live stream of the operator's page: Server-Sent Events, each with the whole picture that /status gives.

Promises: an event is complete by itself, so a reader that missed some has lost nothing but their moments; at
most one a second is made, once for all streams, and only if something has changed, else one each five
seconds. Nothing is made while no stream is open. A stream holds one event at most: a slow reader gets fewer,
and one that reads nothing for `SLOW_TIMEOUT_S` is dropped. Refuses to know what the figures mean.

An event's id is the time when it was made, in ms since 1970. A reader that comes back with `Last-Event-ID` is
told in its first event, as `missed_ms`, for how long it was away.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgspec
from tornado.iostream import StreamClosedError

from ..supervision.loop import until_next

EVENT_STREAMS_MAX = 32  # each open page costs a connection; few people look at a time
INTERVAL_S = 1.0
PULSE_INTERVAL_S = 5.0  # an event at least this often, so that a page can tell silence from a dead connection
SLOW_TIMEOUT_S = 20.0
RECONNECT_MS = 1000
# What differs at each look though nothing has happened. Memory is a page more or less all the time, and `at`
# of an exit is counted back from now.
_NEVER_STILL = frozenset(
    (
        *("uptime_s", "cpu_s", "cpu_share", "memory_bytes", "ago_s", "at"),
        *("next_attempt_s", "free_bytes", "full", "last_age_ms"),
    )
)


class EventStream(Protocol):
    """The browser's end of one stream. `waker` is set when there may be something to send."""

    waker: asyncio.Event

    @property
    def is_closed(self) -> bool:
        """Whether there is nobody to send to any more."""

    def write(self, chunk: str | bytes) -> None:
        """Add to what `flush` sends."""

    def flush(self) -> Awaitable[None]:
        """Send; done when the browser has room for more. Raises `StreamClosedError`."""

    def drop(self) -> None:
        """Close the connection at once."""


class _Event(NamedTuple):
    made_ms: int
    picture: bytes  # the JSON

    def text(self, missed_ms: int | None, is_first: bool) -> bytes:
        more = b"" if not is_first else b',"missed_ms":%s' % msgspec.json.encode(missed_ms)
        head = b'{"now_ms":%d%s,' % (self.made_ms, more)
        return b"id: %d\nevent: figures\ndata: %s%s\n\n" % (self.made_ms, head, self.picture[1:])


class Live:
    """All open streams of one service. `picture`: looks, and returns what /status gives."""

    def __init__(self, picture: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._picture = picture
        self._wakers: set[asyncio.Event] = set()
        self._newest: _Event | None = None
        self._lasting: object = None  # of the newest picture, what only changes if something happens
        self._looking: asyncio.Task[None] | None = None

    def is_full(self) -> bool:
        """Whether no further stream may be opened."""
        return len(self._wakers) >= EVENT_STREAMS_MAX

    async def serve(self, stream: EventStream, last_id: str = "") -> None:
        """Send events on this stream until the browser ends it. `last_id`: of the event that it had last."""
        self._wakers.add(stream.waker)
        sent: _Event | None = None
        try:
            stream.write(f"retry: {RECONNECT_MS}\n\n")
            await stream.flush()
            await self._look()  # what this stream begins with is not older than its beginning
            if self._looking is None:
                self._looking = asyncio.ensure_future(self._look_on())
            while not stream.is_closed:
                stream.waker.clear()
                if self._newest is not None and self._newest is not sent:
                    is_first, sent = sent is None, self._newest
                    stream.write(sent.text(_missed_ms(last_id, sent.made_ms), is_first))
                    await asyncio.wait_for(stream.flush(), SLOW_TIMEOUT_S)
                await stream.waker.wait()
        except (TimeoutError, StreamClosedError):
            stream.drop()  # the browser is gone or too slow; it comes back by itself
        finally:
            self._wakers.discard(stream.waker)
            if not self._wakers and self._looking is not None:
                self._looking.cancel()
                self._looking = self._newest = self._lasting = None

    async def _look_on(self) -> None:
        """Look each second, while there are streams."""
        while True:
            await asyncio.sleep(until_next(INTERVAL_S, time.monotonic()))
            await self._look()

    async def _look(self) -> None:
        """Look, and wake the streams if there is something to send."""
        picture = await self._picture()
        now_ms = time.time_ns() // 1_000_000
        lasting = _lasting(picture)
        is_old = self._newest is None or abs(now_ms - self._newest.made_ms) >= PULSE_INTERVAL_S * 1000 - 100
        if is_old or lasting != self._lasting:
            self._newest, self._lasting = _Event(now_ms, msgspec.json.encode(picture)), lasting
            for waker in self._wakers:
                waker.set()


def _lasting(value: object) -> object:
    """What is left of a picture without what is never still."""
    match value:
        case dict():
            return {name: _lasting(one) for name, one in value.items() if name not in _NEVER_STILL}
        case list():
            return [_lasting(one) for one in value]
    return value


def _missed_ms(last_id: str, now_ms: int) -> int | None:
    """For how long a reader was away; None if it was never here, or if its clock or ours was set."""
    with contextlib.suppress(ValueError):
        return missed if (missed := now_ms - int(last_id[:20])) >= 0 else None
    return None
