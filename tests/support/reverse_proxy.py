"""A small reverse proxy."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.patience import PATIENCE_S


@contextlib.contextmanager
def reverse_proxy(prefix: str, address: str) -> Iterator[str]:
    """A proxy that hands what is asked for under a path to the service; all else is 404. Its "host:port"."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(prefix):
                self.send_error(404)
                return
            behind = http.client.HTTPConnection(address, timeout=PATIENCE_S)
            behind.request("GET", "/" + self.path.removeprefix(prefix))
            answer = behind.getresponse()
            self.send_response(answer.status)
            for name in ("Content-Type", "Content-Security-Policy"):
                if value := answer.headers[name]:
                    self.send_header(name, value)
            self.end_headers()
            with contextlib.closing(behind), contextlib.suppress(ConnectionError):
                while chunk := answer.read1(1 << 16):  # as it comes, for a stream
                    self.wfile.write(chunk)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
