"""The page's live streams: Server-Sent Events with every change.

Promises that this process never holds more than one event for a stream: a stream asks for the
changes since the number that it has, so a slow browser gets fewer and larger events. A browser
that reads nothing for `SLOW_TIMEOUT_S` is dropped; it reconnects by itself and gets everything
again. Refuses to know what the figures mean.

An event is "snapshot" (replaces what the page has) or "change" (adds to what the page has), each with

    {"now_ms": …, "report": {…}, "videos": [["<GUID>", plays, received_at_ms], …]}
"""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec
from tornado.iostream import StreamClosedError

from ..core.client.audit import Audit
from ..system.exits import StoreFailure

# Each open page costs a connection and some encoding. Few pages are open at a time.
STREAMS_MAX = 64

# Ten events a second look live, and cost the same for ten publishes as for ten thousand.
EVENT_INTERVAL_S = 0.1

# An event at least this often, so that the page can tell silence from a dead connection.
PULSE_INTERVAL_S = 5

SLOW_TIMEOUT_S = 20
RECONNECT_MS = 1000

# An event has the videos with the most plays, at most this many: about a megabyte.
VIDEOS_PER_EVENT_MAX = 20_000

_NS_PER_MS = 1_000_000


class LiveStream(Protocol):
    """The browser's end of one stream. `waker` is set when there may be something to send."""

    is_closed: bool
    waker: asyncio.Event

    def write(self, chunk: str | bytes) -> None:
        """Add to what `flush` sends."""

    def flush(self) -> Awaitable[None]:
        """Send; done when the browser has room for more. Raises `StreamClosedError`."""

    def drop(self) -> None:
        """Close the connection at once."""


class ChangedVideos:
    """Video ids in the order of their last change, each with that change's `number`."""

    def __init__(self) -> None:
        self.number = 0
        self._numbers: dict[str, int] = {}

    def add(self, video_ids: Iterable[str]) -> None:
        """Record that the totals of these videos have changed. All of them get one number."""
        self.number += 1
        for video_id in video_ids:
            # Removed first, so that it moves to the end.
            self._numbers.pop(video_id, None)
            self._numbers[video_id] = self.number

    def since(self, number: int) -> list[str]:
        """The videos that changed after this number, newest first. 0 gives all videos."""
        newest = []
        for video_id in reversed(self._numbers):
            if self._numbers[video_id] <= number:
                break
            newest.append(video_id)
        return newest


class Streams:
    """All open streams of one reference client. `audit` returns its audit, or raises `StoreFailure`."""

    def __init__(self, audit: Callable[[], Audit]) -> None:
        self._audit = audit
        self._changes = ChangedVideos()
        self._wakers: set[asyncio.Event] = set()
        self._ending = False
        self._encoded: tuple[tuple[int, int], bytes] | None = None

    def count(self) -> int:
        """How many streams are open."""
        return len(self._wakers)

    def is_full(self) -> bool:
        """Whether no further stream may be opened."""
        return self._ending or len(self._wakers) >= STREAMS_MAX

    def changed(self, video_ids: Iterable[str]) -> None:
        """Wake every stream to send these videos. Other figures may have changed even if no video has."""
        self._changes.add(video_ids)
        for waker in self._wakers:
            waker.set()

    async def serve(self, stream: LiveStream) -> None:
        """Send events on this stream until either side ends it."""
        waker = stream.waker
        self._wakers.add(waker)
        sent = 0
        try:
            stream.write(f"retry: {RECONNECT_MS}\n\n")
            while not (self._ending or stream.is_closed):
                # Cleared before reading: a change in between is sent next time, not lost.
                waker.clear()
                number = self._changes.number
                stream.write(self._event(sent))
                sent = number
                await asyncio.wait_for(stream.flush(), SLOW_TIMEOUT_S)
                await asyncio.sleep(EVENT_INTERVAL_S)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(waker.wait(), PULSE_INTERVAL_S)
        except (TimeoutError, StreamClosedError, StoreFailure):
            # The browser is gone or too slow, or the store fails. The browser reconnects by itself.
            stream.drop()
        finally:
            self._wakers.discard(waker)

    async def end(self, timeout_s: float) -> None:
        """End all streams. Those still open after `timeout_s` end when their sockets are closed."""
        self._ending = True
        deadline = time.monotonic() + timeout_s
        while self._wakers and time.monotonic() < deadline:
            for waker in self._wakers:
                waker.set()
            await asyncio.sleep(0.01)

    def _event(self, since: int) -> bytes:
        # Streams that keep up ask for the same changes, so one encoding serves all of them.
        span = (since, self._changes.number)
        if self._encoded is None or self._encoded[0] != span:
            self._encoded = (span, self._encode(since))
        name = b"change" if since else b"snapshot"
        now_ms = time.time_ns() // _NS_PER_MS
        return b'event: %s\ndata: {"now_ms":%d,%s\n\n' % (name, now_ms, self._encoded[1][1:])

    def _encode(self, since: int) -> bytes:
        audit = self._audit()
        rows = [
            (video_id, audit.videos[video_id].plays, audit.videos[video_id].received_at_ns)
            for video_id in self._changes.since(since)
        ]
        if len(rows) > VIDEOS_PER_EVENT_MAX:
            rows = heapq.nlargest(VIDEOS_PER_EVENT_MAX, rows, key=lambda row: row[1])
        report = audit.report()
        # The page asks GET /report for these if there are any.
        del report["promises_broken"]
        videos = [(video_id, plays, at_ns // _NS_PER_MS) for video_id, plays, at_ns in rows]
        return msgspec.json.encode({"report": report, "videos": videos})
