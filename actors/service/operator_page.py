"""The operator's page at the admin address: its files, as they were when the service started, the stream of
events that keeps it live, and the history that its charts show.

The page asks by relative links, so it works under any path of a reverse proxy. Its policy allows no inline
script or style, and no text that becomes markup: a client's answer, which the page shows, can't run anything.
"""

import asyncio
import pathlib
import time
from typing import Any

import tornado.web
from tornado.http1connection import HTTP1Connection

from ..system.http_server import OwnHandler
from .history import SPANS
from .live import EVENT_STREAMS_MAX
from .status import ServiceView

_PATH = pathlib.Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


def routes(service: ServiceView) -> list[tuple[str, type[tornado.web.RequestHandler], dict[str, Any]]]:
    """Return the routes, for tornado."""
    files = [path for path in sorted(_PATH.rglob("*")) if path.suffix in _TYPES]
    return [
        (r"/events", _Events, {"service": service}),
        (r"/history", _History, {"service": service}),
        *((_link_to(path), _File, _content_of(path)) for path in files),
    ]


def _link_to(path: pathlib.Path) -> str:
    name = path.relative_to(_PATH).as_posix()
    return "/" if name == "index.html" else f"/{name}"


def _content_of(path: pathlib.Path) -> dict[str, Any]:
    return {"content": path.read_bytes(), "content_type": _TYPES[path.suffix]}


class _File(OwnHandler):
    def initialize(self, content: bytes, content_type: str) -> None:
        self._content, self._content_type = content, content_type

    def get(self) -> None:
        # The browser asks each time whether the file has changed; tornado compares the Etag, and answers 304.
        self.set_header("Cache-Control", "no-cache")
        self.set_header("Content-Type", self._content_type)
        self.set_header("Content-Security-Policy", _SECURITY_POLICY)
        self.set_header("Referrer-Policy", "no-referrer")
        self.write(self._content)


class _Asked(OwnHandler):
    def initialize(self, service: ServiceView) -> None:
        self.service = service

    def refuse(self, status: int, why: str) -> None:
        """Answer with an error."""
        self.set_status(status)
        self.write({"error": why})


class _History(_Asked):
    """GET /history?span=hour."""

    def get(self) -> None:
        span = self.get_query_argument("span", "hour")
        if span not in SPANS:
            self.refuse(400, f"span={span[:20]}, expected {' or '.join(SPANS)}")
        else:
            self.write(self.service.history.shown(span, time.time()))


class _Events(_Asked):
    """GET /events: one stream. Implements `EventStream`."""

    def initialize(self, service: ServiceView) -> None:
        super().initialize(service)
        self.waker = asyncio.Event()
        self._is_gone = False

    async def head(self, *arguments: str) -> None:
        """Answer at once: a stream without events would only hold a place."""
        self._set_type()

    async def get(self) -> None:
        """Returns when the stream ends."""
        if self.service.live.is_full():
            why = f"{EVENT_STREAMS_MAX} streams of events are open, the most that the service serves"
            self.refuse(503, f"{why}: close a page, and try again")
            return
        self._set_type()
        # Else the kernel holds a small event back until the browser has confirmed the one before it.
        self._connection.stream.set_nodelay(True)
        await self.service.live.serve(self, self.request.headers.get("Last-Event-ID", ""))

    @property
    def is_closed(self) -> bool:
        """Whether the browser is gone, or its session or the token is over."""
        return self._is_gone or not self.is_admitted

    @property
    def _connection(self) -> HTTP1Connection:
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)  # our server speaks nothing else
        return connection

    def _set_type(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("X-Accel-Buffering", "no")  # else a proxy holds events back until it has many

    def drop(self) -> None:
        """See `EventStream`."""
        self._connection.close()

    def on_connection_close(self) -> None:
        self._is_gone = True
        self.waker.set()
