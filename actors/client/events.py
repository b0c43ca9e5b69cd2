"""The page's live streams: Server-Sent Events with every change.

Promises that this process never holds more than one event for a stream: a stream asks for the
changes since the number that it has, so a slow browser gets fewer and larger events. If these are
too many for an event, it gets a snapshot again, so it never keeps an old total. A browser that reads
nothing for `SLOW_TIMEOUT_S` is dropped; it reconnects by itself and gets a snapshot. A snapshot is made in
parts (`listing.py`), once for all streams that want one meanwhile. Refuses to know what the figures mean.

An event is "snapshot" (replaces what the page has) or "change" (adds to what the page has), each with

    {"now_ms": …, "counted": 123 or null, "last_minute": 5, "report": {…},
     "videos": [["<GUID>", plays, received_at_ms], …],
     "marks": [[number, received_at_ms, "<trigger>", videos, late, excused], …]}

`counted`: the plays that the service has counted, if one has told. `last_minute`: publishes. `marks`: the
last publishes in a snapshot, and in a change those since the event before, maybe with some of it again.
"""

import asyncio
import collections
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

import msgspec
from tornado.iostream import StreamClosedError

from ..core.client.audit import Audit
from ..system.exits import StoreFailure
from .finding import rows_of_page
from .listing import PART_VIDEOS, Listing

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

    waker: asyncio.Event

    @property
    def is_closed(self) -> bool:
        """Whether nothing more may be sent."""

    def write(self, chunk: str | bytes) -> None:
        """Add to what `flush` sends."""

    def flush(self) -> Awaitable[None]:
        """Send; done when the browser has room for more. Raises `StreamClosedError`."""

    def drop(self) -> None:
        """Close the connection at once."""


class ChangedVideos:
    """The videos that changed last, as many as an event holds, each with its last change's `number`."""

    def __init__(self) -> None:
        self.number = 0
        self._forgotten = 0  # the newest change of a video that is not here any more
        # An OrderedDict: a plain dict walks over all deleted keys to find its oldest.
        self._numbers: collections.OrderedDict[str, int] = collections.OrderedDict()

    def add(self, video_ids: Iterable[str]) -> None:
        """Record that the totals of these videos have changed. All of them get one number."""
        self.number += 1
        for video_id in video_ids:
            self._numbers[video_id] = self.number
            self._numbers.move_to_end(video_id)
        while len(self._numbers) > VIDEOS_PER_EVENT_MAX:
            _, self._forgotten = self._numbers.popitem(last=False)

    def pass_over(self) -> None:
        """Record a change of any videos, without which."""
        self.number += 1
        self._forgotten = self.number
        self._numbers.clear()

    def since(self, number: int) -> list[str] | None:
        """The videos that changed after this number, newest first; None if an event does not hold them."""
        if number < self._forgotten:
            return None
        newest = []
        for video_id in reversed(self._numbers):
            if self._numbers[video_id] <= number:
                break
            newest.append(video_id)
        return newest


class At(NamedTuple):
    """How far a stream is: the newest change, and the newest publish, that are in its events for certain."""

    change: int
    publish: int


class Streams:
    """All open streams of one reference client. `audit` returns its audit, or raises `StoreFailure`."""

    def __init__(self, audit: Callable[[], Audit], listing: Listing) -> None:
        self._audit, self._listing = audit, listing
        self._changes = ChangedVideos()
        self._wakers: set[asyncio.Event] = set()
        self._ending = False
        self._encoded: tuple[tuple[At, At], bytes] | None = None  # what changed between two places
        self._snapshot: tuple[At, asyncio.Future[bytes]] | None = None  # with the place where it began
        self._counted: int | None = None

    def count(self) -> int:
        """How many streams are open."""
        return len(self._wakers)

    def is_full(self) -> bool:
        """Whether no further stream may be opened."""
        return self._ending or len(self._wakers) >= STREAMS_MAX

    def changed(self, video_ids: Iterable[str]) -> None:
        """Wake every stream to send these videos. Other figures may have changed even if no video has."""
        if not self._wakers:
            self._changes.pass_over()  # a new stream begins with everything
            return
        self._changes.add(video_ids)
        for waker in self._wakers:
            waker.set()

    def show_counted(self, plays: int) -> None:
        """Show how many plays the service has counted."""
        self._counted = plays
        self.changed(())

    async def serve(self, stream: LiveStream) -> None:
        """Send events on this stream until either side ends it."""
        waker = stream.waker
        self._wakers.add(waker)
        sent: At | None = None
        try:
            stream.write(f"retry: {RECONNECT_MS}\n\n")
            while not (self._ending or stream.is_closed):
                # Cleared before reading: a change in between is sent next time, not lost.
                waker.clear()
                sent, event = await self._event(sent)
                stream.write(event)
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

    async def _event(self, since: At | None) -> tuple[At, bytes]:
        """The next event of a stream, and how far the stream is with it.

        `since`: how far it was with the event before; None for a stream that had none.
        """
        changed = None if since is None else self._changes.since(since.change)
        if since is None or changed is None:
            name, (at, encoded) = b"snapshot", await self._newest_snapshot()
        else:
            # Streams that keep up ask for the same changes, so one encoding serves all of them.
            name, at = b"change", self._at()
            if self._encoded is None or self._encoded[0] != (since, at):
                self._encoded = ((since, at), self._encode(self._rows_of(changed), since.publish))
            encoded = self._encoded[1]
        now_ns = time.time_ns()
        head = {
            "now_ms": now_ns // _NS_PER_MS,
            "counted": self._counted,
            "last_minute": self._audit().recent.last_minute(now_ns),
        }
        return at, b"event: %b\ndata: %b,%b\n\n" % (name, msgspec.json.encode(head)[:-1], encoded[1:])

    async def _newest_snapshot(self) -> tuple[At, bytes]:
        """The snapshot that is being made, or was made after the last change; else a new one."""
        if self._snapshot is not None:
            at, made = self._snapshot
            if at == self._at() or not made.done():
                return at, await asyncio.shield(made)
        at, made = self._at(), asyncio.ensure_future(self._made_snapshot())
        self._snapshot = at, made
        return at, await asyncio.shield(made)

    async def _made_snapshot(self) -> bytes:
        rows = await self._listing.most_played(VIDEOS_PER_EVENT_MAX)
        parts = []
        for start in range(0, len(rows), PART_VIDEOS):
            await self._listing.turn()
            parts.append(msgspec.json.encode(rows_of_page(rows[start : start + PART_VIDEOS]))[1:-1])
        return self._encode(msgspec.Raw(b"[%b]" % b",".join(parts)), 0)

    def _rows_of(self, video_ids: Iterable[str]) -> list[tuple[str, int, int]]:
        videos = self._audit().videos
        found = ((one, videos[one]) for one in video_ids)
        return [(one, video.plays, video.received_at_ns // _NS_PER_MS) for one, video in found]

    def _at(self) -> At:
        return At(self._changes.number, self._audit().recent.number)

    def _encode(self, videos: list[tuple[str, int, int]] | msgspec.Raw, publish: int) -> bytes:
        """The event of these videos, and of the publishes after number `publish`."""
        audit = self._audit()
        report = audit.report()
        # The page asks GET /report for these if there are any.
        del report["promises_broken"], report["latest_late"]
        return msgspec.json.encode({"report": report, "videos": videos, "marks": audit.recent.since(publish)})
