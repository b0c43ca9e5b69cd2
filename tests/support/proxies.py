"""A small HTTP proxy, as in many companies: it passes requests on, and keeps what it was asked."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.patience import PATIENCE_S

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


class Proxy:
    """Listens on 127.0.0.1. `asked` has the first line of each request that came through.

    It takes every host for the one that listens on `leads_to`, a port of this machine; 0: it knows no host.
    """

    def __init__(self, leads_to: int):
        self.asked: list[str] = []
        self.url = ""
        self.leads_to = leads_to


@contextlib.contextmanager
def proxy_in_the_environment(monkeypatch: pytest.MonkeyPatch, leads_to: int = 0) -> Iterator[Proxy]:
    """Run a proxy which the environment names for everything, without NO_PROXY."""
    proxy = Proxy(leads_to)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(proxy))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    for name in _VARIABLES:
        monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv(name.upper(), proxy.url)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    try:
        yield proxy
    finally:
        monkeypatch.undo()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_of(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def do_CONNECT(self) -> None:
            self._pass_on()

        def _pass_on(self) -> None:
            proxy.asked.append(self.requestline)
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, content = 502, b""
            if proxy.leads_to and self.command != "CONNECT":
                connection = http.client.HTTPConnection("127.0.0.1", proxy.leads_to, timeout=PATIENCE_S)
                with contextlib.closing(connection):
                    connection.request(self.command, self.path, body, dict(self.headers.items()))
                    answer = connection.getresponse()
                    status, content = answer.status, answer.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
