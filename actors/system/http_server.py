"""tornado's HTTP server, holding no more connections than it may (`connections.py` says why)."""

from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from .connections import connections_max


class BoundedHTTPServer(HTTPServer):
    """tornado's, with `connections_max`."""

    def initialize(self, *arguments: Any, **named: Any) -> None:
        """As tornado's."""
        super().initialize(*arguments, **named)
        self._connections_max = connections_max()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection, or close it."""
        if len(self._connections) < self._connections_max:
            super().handle_stream(stream, address)
        else:
            stream.close()
