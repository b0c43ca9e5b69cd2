"""GET /totals at the admin address: the plays counted of a video, of those with the most, or of all.

The running counters are asked, in small pieces, and answer from memory what is committed to their ledgers. So
no lookup holds up the counting or this process, however many videos there are. At most `ONE_MAX` lookups of a
video and `LISTS_MAX` of several go on at a time. A counter that can't be asked is named in a 503.
"""

import contextlib
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Protocol

import tornado.web

from ..config import Settings
from ..core import totals
from ..core.guids import text
from ..core.messages import NO_ROW
from ..core.shards import counter_of, shard_of
from ..core.totals import Bounds, FoundTotals, TotalsCall
from ..supervision.application import Application
from ..supervision.states import State
from ..system.http_server import OwnHandler
from ..system.json_parts import close, send_parts
from .advice import why_down

ONE_MAX = 64
LISTS_MAX = 4
CALL_TIMEOUT_S = 10


class TotalsView(Protocol):
    """The part of a service that has its totals."""

    application: Application[Settings]


class NoAnswer(Exception):
    """The totals can't be told now, and why, in words."""


def routes(service: TotalsView) -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]]:
    """Return the routes, for tornado."""
    arguments = {"lookups": Lookups(service)}
    return [(r"/totals", _Totals, arguments), (r"/totals/(.*)", _Total, arguments)]


class Lookups:
    """All lookups that go on. Each raises `NoAnswer`, also if there are too many."""

    def __init__(self, service: TotalsView) -> None:
        self._service = service
        self._going_on = {ONE_MAX: 0, LISTS_MAX: 0}

    async def one(self, video: bytes) -> dict[str, int]:
        """The total of a video (16 bytes) by its GUID; nothing if no play of it was counted."""
        with self._place(ONE_MAX, "lookups of a video"):
            shard = shard_of(video, self._shards())
            return totals.by_guid(await self._ask(shard, TotalsCall(video)))

    async def top(self, bounds: Bounds) -> dict[str, int]:
        """The greatest totals within these bounds, greatest first."""
        with self._place(LISTS_MAX, "lookups of several videos"):
            best: dict[str, int] = {}
            async for found in self._pieces(bounds):
                best = totals.greatest_of([*best.items(), *totals.by_guid(found).items()], bounds.top)
            return best

    async def parts(self, bounds: Bounds) -> AsyncGenerator[dict[str, int]]:
        """All totals within these bounds, some at a time. A later part may be newer."""
        with self._place(LISTS_MAX, "lookups of several videos"):
            async for found in self._pieces(bounds):
                yield totals.by_guid(found)

    async def _pieces(self, bounds: Bounds) -> AsyncGenerator[FoundTotals]:
        for shard in range(self._shards()):
            row = 0
            while row != NO_ROW:
                found = await self._ask(shard, TotalsCall(b"", row, *bounds))
                yield found
                row = found.next_row

    async def _ask(self, shard: int, call: TotalsCall) -> FoundTotals:
        application, child_id = self._service.application, counter_of(shard)
        if why := why_down(application.parent_of(child_id), child_id):
            raise NoAnswer(why)
        running = [one for one in application.workers() if one.spec.id == child_id]
        answer = await running[0].call(totals.encode(call), CALL_TIMEOUT_S)
        if answer is None:
            told = (
                "ended" if running[0].state is not State.RUNNING else f"did not answer in {CALL_TIMEOUT_S} s"
            )
            raise NoAnswer(f"{child_id} {told}, expected its totals; try again in a moment")
        found = totals.decode_found(answer)
        if found.problem:
            raise NoAnswer(found.problem)
        return found

    def _shards(self) -> int:
        return self._service.application.options.counters.shards

    @contextlib.contextmanager
    def _place(self, most: int, what: str) -> Iterator[None]:
        if self._going_on[most] >= most:
            raise NoAnswer(f"{most} {what} go on already, the most at a time; try again in a moment")
        self._going_on[most] += 1
        try:
            yield
        finally:
            self._going_on[most] -= 1


class _Handler(OwnHandler):
    def initialize(self, lookups: Lookups) -> None:
        self.lookups = lookups

    def _refuse(self, status: int, error: Exception | str) -> None:
        self.set_status(status)
        self.write({"error": str(error)})


class _Total(_Handler):
    async def get(self, written: str) -> None:
        try:
            video = totals.video_of(written)
            found = await self.lookups.one(video)
        except ValueError as error:
            self._refuse(400, error)
        except NoAnswer as error:
            self._refuse(503, error)
        else:
            if found:
                self.write(found)
            else:
                self._refuse(404, f"no play of {text(video)} was counted")


class _Totals(_Handler):
    async def get(self) -> None:
        try:
            bounds = totals.bounds_of(self.request.query_arguments)
            if bounds.top:
                self.write(await self.lookups.top(bounds))
            else:
                await self._send_all(bounds)
        except ValueError as error:
            self._refuse(400, error)
        except NoAnswer as error:
            self._refuse(503, error)

    async def _send_all(self, bounds: Bounds) -> None:
        async with contextlib.aclosing(self.lookups.parts(bounds)) as parts:
            try:
                await send_parts(self, parts)
            except NoAnswer:
                if not self._headers_written:
                    raise
                close(self)  # the reader sees that the end is missing

    async def head(self, *arguments: str) -> None:
        """Answer without making what `get` would send, if that may be all totals."""
        with contextlib.suppress(ValueError):
            if not totals.bounds_of(self.request.query_arguments).top:
                self.set_header("Content-Type", "application/json")
                return
        await self.get()
