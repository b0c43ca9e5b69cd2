"""The reference client over HTTP, one handler per path.

    POST /plays     a publish                      GET /          the page
    GET  /totals    {"<GUID>": 123, …}             GET /events    what changed, live
    GET  /totals/<GUID>, and /totals?top=<number>&below=<number>   of one video, of some
    GET  /report    what the audit found           GET /healthz   200 while it serves
    GET  /videos?start=<start of a GUID>           {"found": 2, "videos": [["<GUID>", plays, at_ms], …]}

A GET of all videos is made in parts (`listing.py`), so that it holds up nothing.
Promises that everything but the page answers in JSON, errors too (one line that says what is wrong), and that
no request makes it hold more than `publishes.BODY_BYTES_MAX`. It decides nothing about publishes: it turns
requests into calls of `Reference`, and results into answers.
"""

import asyncio
import logging
import pathlib
from typing import Any, NoReturn, TypeAlias

from tornado.http1connection import HTTP1Connection
from tornado.web import Application, Finish, HTTPError, RequestHandler, stream_request_body

from ..core.total_columns import RECORDS
from ..core.totals import Bounds, bounds_of
from ..system.exact_paths import by_path
from ..system.exits import StoreFailure
from ..system.http_server import OwnHandler
from ..system.installation import producer_command
from ..system.json_parts import send_bytes, send_parts
from . import publishes
from .answers import HEADERS, TYPE, Answer, answer_to, store_fails
from .errors import MalformedPublish
from .events import STREAMS_MAX
from .finding import find
from .reference import Reference
from .totals import records_within, sum_within, total_of, totals_within

log = logging.getLogger(__name__)

HEALTH = "/healthz"
_PAGE_PATH = pathlib.Path(__file__).parent / "page"
_SCRIPTS = ("economy", "lists", "page", "stream", "strip", "words", "worker")
_PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    **{f"/{name}.css": (f"{name}.css", "text/css; charset=utf-8") for name in ("economy", "page")},
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


Routes: TypeAlias = list[tuple[str, type[RequestHandler], dict[str, Any]]]


def application(client: Reference, more: Routes) -> Application:
    """The tornado application that serves this client and its page. `more`: further routes."""
    routes: Routes = [
        (r"/plays", PlaysHandler, {"client": client}),
        (r"/totals", TotalsHandler, {"client": client}),
        (r"/totals/(.*)", TotalHandler, {"client": client}),
        (r"/videos", VideosHandler, {"client": client}),
        (r"/report", ReportHandler, {"client": client}),
        (r"/events", EventsHandler, {"client": client}),
        (HEALTH, HealthHandler, {"client": client}),
        *more,
    ]
    for path, (name, content_type) in _PAGE_FILES.items():
        content = (_PAGE_PATH / name).read_bytes()
        content = content.replace(b"python -m producer", producer_command().encode())
        routes.append((path, PageHandler, {"content": content, "content_type": content_type}))
    return Application(by_path(routes), default_handler_class=UnknownPathHandler, log_function=_log_request)


class AnswerHandler(OwnHandler):
    """What all answers have in common: their headers, and errors as JSON."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        for name, value in HEADERS.items():
            self.set_header(name, value)

    def answer(self, content: object, status: int = 200) -> None:
        """Answer with this as JSON."""
        self.set_status(status)
        self.set_header("Content-Type", TYPE)
        _ = self.finish(Answer(status, content).body)  # sent by itself

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, StoreFailure):
            failed = store_fails(error)
            self.answer(failed.content, failed.status)
        elif status_code == 404:
            self.answer({"error": f"nothing at {self.request.path[:200]}"}, 404)
        else:
            self.answer({"error": self.what_is_wrong()}, self.get_status())

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a traceback for a bug."""
        if not isinstance(value, HTTPError):
            key = self.request.headers.get("Idempotency-Key", "")
            about = {"batch": key} if key else {}
            log.error("client failed%s", key and f", batch {key}", exc_info=(typ, value, tb), extra=about)


class ReferenceHandler(AnswerHandler):
    """A handler that asks the client."""

    def initialize(self, client: Reference) -> None:
        self.client = client

    @property
    def connection(self) -> HTTP1Connection:
        """The connection of this request: our server speaks HTTP/1 only."""
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        return connection

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a store that fails once a minute, and each bug."""
        if isinstance(value, StoreFailure):
            self.client.store_failed(value)
        else:
            super().log_exception(typ, value, tb)


@stream_request_body
class PlaysHandler(ReferenceHandler):
    """POST /plays: takes publishes. 200 means that the publish is committed.

    Most publishes come in one piece. These go past this handler: see `express.py`.
    """

    def prepare(self) -> None:
        self._body = bytearray()
        self._together = self.client.together.came()

    def on_finish(self) -> None:
        super().on_finish()
        self.client.together.gone(self._together)

    def on_connection_close(self) -> None:
        self.client.together.gone(self._together)

    def data_received(self, chunk: bytes) -> None:
        # Keep one byte more than the limit: it shows that the body is too long. Read the rest and drop it, so
        # that the sender gets the answer.
        room = publishes.BODY_BYTES_MAX + 1 - len(self._body)
        self._body += chunk[:room]

    def post(self) -> None:
        body = bytes(self._body)
        if len(body) > publishes.BODY_BYTES_MAX:
            self._refuse(MalformedPublish("body", f"at most {publishes.BODY_BYTES_MAX} bytes", "is longer"))
        headers = self.request.headers
        if problem := self.client.signed.problem(body, headers):
            self.answer({"error": problem}, 401)
            return
        try:
            publish, held_up_ms = publishes.read(headers, body)
        except MalformedPublish as error:
            self._refuse(error)
        receipt = self.client.receive(publish, held_up_ms, self._together.most)
        answer = answer_to(publish, receipt)
        self.answer(answer.content, answer.status)

    def _refuse(self, error: MalformedPublish) -> NoReturn:
        self.answer({"error": str(error), "field": error.field, "expected": error.expected}, 400)
        raise Finish


class TotalsHandler(ReferenceHandler):
    """GET /totals: all, or with `top` or `below` some. As records for who accepts them: our service does.

    It asks for their sum first (`sum`).
    """

    async def get(self) -> None:
        bounds = self._bounds()
        if bounds is None:
            return
        if (factors := self.get_query_argument("sum", None)) is not None:
            await self._answer_sum(factors)
        elif RECORDS in self.request.headers.get("Accept", "") and not bounds.top:
            await send_bytes(self, records_within(self.client.listing, bounds), RECORDS)
        else:
            await send_parts(self, totals_within(self.client.listing, bounds))

    async def head(self, *arguments: str) -> None:
        """Answer without making what `get` would send."""
        if self._bounds() is not None:
            self.set_header("Content-Type", "application/json")

    async def _answer_sum(self, factors: str) -> None:
        try:
            self.answer({"sum": await sum_within(self.client.listing, factors)})
        except ValueError as error:
            self.answer({"error": str(error)}, 400)

    def _bounds(self) -> Bounds | None:
        """The bounds in the query; None if it is refused. Other words in it always were, and are, ignored."""
        given = self.request.query_arguments
        try:
            return bounds_of({name: given[name] for name in Bounds._fields if name in given})
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return None


class TotalHandler(ReferenceHandler):
    """GET /totals/<GUID>."""

    def get(self, written: str) -> None:
        try:
            found = total_of(self.client.listing, written)
        except ValueError as error:
            self.answer({"error": str(error)}, 400)
            return
        if found:
            self.answer(found)
        else:
            self.answer({"error": f"no play of {written.strip()} was published"}, 404)


class VideosHandler(ReferenceHandler):
    """GET /videos: how many videos' GUIDs begin with `start`, and those of them with the most plays."""

    async def get(self) -> None:
        found, videos = await find(self.client.listing, self.get_query_argument("start", ""))
        self.answer({"found": found, "videos": videos})


class ReportHandler(ReferenceHandler):
    """GET /report."""

    def get(self) -> None:
        self.answer(self.client.audit.report())


class HealthHandler(ReferenceHandler):
    """GET /healthz: 200, or 503 if the store can't be read."""

    def get(self) -> None:
        _ = self.client.audit  # raises if the store can't be read
        self.answer({"healthy": True})


class EventsHandler(ReferenceHandler):
    """GET /events: one stream. Implements `LiveStream`."""

    def initialize(self, client: Reference) -> None:
        super().initialize(client)
        self.waker = asyncio.Event()
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the other end is gone, or may read no more: its session or the token has ended."""
        return self._is_closed or not self.is_admitted

    async def head(self, *arguments: str) -> None:
        """Answer at once: a stream without events would only hold a place."""
        self._set_type()

    async def get(self) -> None:
        """Returns when the stream ends."""
        if self.client.streams.is_full():
            self.client.has_no_room()
            self.answer(
                {"error": f"{STREAMS_MAX} pages are open, the most that this client serves; close some"}, 503
            )
            return
        self._set_type()
        # Without this, the kernel holds a small event back until the browser's machine has confirmed the
        # event before it.
        self.connection.stream.set_nodelay(True)
        await self.client.streams.serve(self)

    def _set_type(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        # Without this header, a proxy in front holds events back until it has many of them.
        self.set_header("X-Accel-Buffering", "no")

    def drop(self) -> None:
        """See `LiveStream`."""
        self.connection.close()

    def on_connection_close(self) -> None:
        self._is_closed = True
        self.waker.set()


class PageHandler(AnswerHandler):
    """One file of the page, as it was when the client started."""

    def initialize(self, content: bytes, content_type: str) -> None:
        self._content, self._content_type = content, content_type

    def get(self) -> None:
        # The browser keeps the file, but asks each time whether it has changed; tornado compares the Etag and
        # answers 304 if not. So the page always has the same version as its client.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Type", self._content_type)
        _ = self.finish(self._content)


class UnknownPathHandler(AnswerHandler):
    """Every other path: 404."""

    def prepare(self) -> None:
        raise HTTPError(404)


def _log_request(handler: RequestHandler) -> None:
    """Log no request: a line for each publish would hide all others. What fails logs its reason."""
