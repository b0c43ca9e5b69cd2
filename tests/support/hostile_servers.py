"""Servers whose every word is hostile: an HTTP server for what a service asks, a proxy, and a TLS server."""

import contextlib
import http.server
import itertools
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator


class RawHttp:
    """Answers each request with the next of `answers`, over and over: whole answers, as bytes.

    `asked`: how many requests were answered.
    """

    def __init__(self, answers: Iterable[bytes], tls: ssl.SSLContext | None = None):
        self.asked = 0
        rest, owner = itertools.cycle(answers), self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.wfile.write(next(rest))
                self.close_connection = True
                owner.asked += 1

            do_GET = do_POST = do_CONNECT = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.address = f"127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Answer until `close`. Called in a thread."""
        self._server.serve_forever(0.02)

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: who asks hangs up on such answers."""


@contextlib.contextmanager
def raw_http(*answers: bytes, tls: ssl.SSLContext | None = None) -> Iterator[RawHttp]:
    """A `RawHttp` that serves while the context is open."""
    server = RawHttp(answers, tls)
    threading.Thread(target=server.serve, daemon=True).start()
    try:
        yield server
    finally:
        server.close()


def answer(status: str, body: str | bytes = b"", *headers: str) -> bytes:
    """A whole HTTP answer. `status`: the number and the reason."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + content


def send(address: str, *pieces: bytes) -> socket.socket:
    """Connect and send. Returns the connection, whose other side may have ended."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), 60)
    with contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
    return connection


def told(address: str, request: bytes) -> bytes:
    """Send a request and an end, and return all that comes back until the other side ends."""
    with send(address, request) as connection, contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))
    return b""
