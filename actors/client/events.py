"""The page's live streams: Server-Sent Events of what changed.

Promises that a stream never makes this process hold more than one event for it: a stream asks for
what changed since the number that it has, so a slow browser gets fewer and wider events, and one
that takes nothing for `SLOW_TIMEOUT_S` is dropped (it reconnects by itself and gets everything
anew). Refuses to know what the figures mean.

An event is "snapshot" (forget what you have) or "change" (lay over what you have), each with

    {"now_ms": …, "report": {…}, "videos": [["<GUID>", plays, received_at_ms], …]}
"""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from tornado.iostream import StreamClosedError

from .errors import StoreError

if TYPE_CHECKING:
    from .handlers import EventsHandler
    from .server import ReferenceClient

# Each open page costs a connection and an encoding now and then; a browser has few of them.
STREAMS_MAX = 64

# Ten a second look live, and cost the same whether ten or ten thousand publishes came meanwhile.
EVENT_INTERVAL_S = 0.1

# So often even when nothing changes: the page tells silence from a dead connection by it.
PULSE_INTERVAL_S = 5

SLOW_TIMEOUT_S = 20
RECONNECT_MS = 1000

# Those with the most plays. It bounds an event to about a megabyte.
VIDEOS_PER_EVENT_MAX = 20_000

_NS_PER_MS = 1_000_000


class Changes:
    """Video ids, each with the number of its last change, in that order."""

    def __init__(self) -> None:
        self.number = 0
        self._numbers: dict[str, int] = {}

    def add(self, video_ids: Iterable[str]) -> None:
        self.number += 1
        for video_id in video_ids:
            # Taken out first, so that it goes to the end.
            self._numbers.pop(video_id, None)
            self._numbers[video_id] = self.number

    def since(self, number: int) -> list[str]:
        """Those that changed after this number, the newest first. All of them since 0."""
        newest = []
        for video_id in reversed(self._numbers):
            if self._numbers[video_id] <= number:
                break
            newest.append(video_id)
        return newest


class Streams:
    """All open streams of one client."""

    def __init__(self, client: "ReferenceClient") -> None:
        self._client = client
        self._changes = Changes()
        self._wakers: set[asyncio.Event] = set()
        self._ending = False
        self._encoded: tuple[tuple[int, int], bytes] | None = None

    def count(self) -> int:
        return len(self._wakers)

    def is_full(self) -> bool:
        return self._ending or len(self._wakers) >= STREAMS_MAX

    def changed(self, video_ids: Iterable[str]) -> None:
        """Tells every stream, soon. Figures may have changed even where no video has."""
        self._changes.add(video_ids)
        for waker in self._wakers:
            waker.set()

    async def serve(self, handler: "EventsHandler") -> None:
        """Writes events to this handler until either side ends the stream."""
        waker = handler.waker
        self._wakers.add(waker)
        told = 0
        try:
            handler.write(f"retry: {RECONNECT_MS}\n\n")
            while not (self._ending or handler.is_closed):
                # Cleared before reading: a change in between is told next time, not lost.
                waker.clear()
                number = self._changes.number
                handler.write(self._event(told))
                told = number
                await asyncio.wait_for(handler.flush(), SLOW_TIMEOUT_S)
                await asyncio.sleep(EVENT_INTERVAL_S)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(waker.wait(), PULSE_INTERVAL_S)
        except (TimeoutError, StreamClosedError, StoreError):
            # Gone, too slow, or nothing to show: the browser comes back by itself.
            handler.connection.close()
        finally:
            self._wakers.discard(waker)

    async def end(self, timeout_s: float) -> None:
        """Ends all streams; those not ended in time are left to the closing of their sockets."""
        self._ending = True
        deadline = time.monotonic() + timeout_s
        while self._wakers and time.monotonic() < deadline:
            for waker in self._wakers:
                waker.set()
            await asyncio.sleep(0.01)

    def _event(self, since: int) -> bytes:
        name = b"change" if since else b"snapshot"
        now_ms = time.time_ns() // _NS_PER_MS
        return b'event: %s\ndata: {"now_ms":%d,%s\n\n' % (name, now_ms, self._content(since)[1:])

    def _content(self, since: int) -> bytes:
        # Streams that read along ask for the same span, so one encoding serves all of them.
        span = (since, self._changes.number)
        if self._encoded is None or self._encoded[0] != span:
            self._encoded = (span, self._encode(since))
        return self._encoded[1]

    def _encode(self, since: int) -> bytes:
        audit = self._client.audit
        rows = [
            (video_id, audit.videos[video_id].plays, audit.videos[video_id].received_at_ns)
            for video_id in self._changes.since(since)
        ]
        if len(rows) > VIDEOS_PER_EVENT_MAX:
            rows = heapq.nlargest(VIDEOS_PER_EVENT_MAX, rows, key=lambda row: row[1])
        report = audit.report()
        # The page asks for these when there are any.
        del report["promises_broken"]
        videos = [(video_id, plays, at_ns // _NS_PER_MS) for video_id, plays, at_ns in rows]
        return msgspec.json.encode({"report": report, "videos": videos})
