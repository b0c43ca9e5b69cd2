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
    """Answers with our headers, and HEAD as GET."""

    def set_default_headers(self) -> None:
        """Name no version, and let nobody keep the answer."""
        self.set_header("Server", "playtally")
        self.set_header("Cache-Control", "no-store")

    async def head(self) -> None:
        """Answer as `get` does; tornado leaves the body out."""
        answered = self.get()
        if answered is not None:
            await answered
