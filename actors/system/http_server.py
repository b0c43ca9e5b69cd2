"""Tornado's HTTP server with a bound on its connections; `connections.py` says why."""

from typing import Any

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
