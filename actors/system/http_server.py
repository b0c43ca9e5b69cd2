"""What our HTTP servers share: a bound on connections (`connections.py` says why), headers, and HEAD."""

from typing import Any

import tornado.web
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from .connections import connections_max


class BoundedHTTPServer(HTTPServer):
    """Holds at most `connections_max` connections."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection, or close it if there are too many."""
        if len(self._connections) < connections_max():
            super().handle_stream(stream, address)
        else:
            stream.close()


class OwnHandler(tornado.web.RequestHandler):
    """Answers with our headers, HEAD as GET, and errors in JSON."""

    def set_default_headers(self) -> None:
        """Name no server, and let nobody keep the answer or guess its type."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def head(self) -> None:
        """Answer as `get` does; tornado leaves the body out."""
        answered = self.get()
        if answered is not None:
            await answered

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say what is wrong. Called by tornado, for a method that a path does not take and for a bug."""
        wrong = f"{self.request.path[:200]} does not take {self.request.method}"
        _ = self.finish({"error": wrong if status_code == 405 else self._reason})
