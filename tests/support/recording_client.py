"""A client that keeps the publishes it gets, answers as a test wants, and audits them by its own rules.

Written independently of the reference client and its audit, so that each checks the other.
"""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple, Self

from actors.core.triggers import Trigger


class Received(NamedTuple):
    """One request: its time (ns), its headers, its body, and the status of the answer."""

    at_ns: int
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def publish(self) -> dict[str, Any]:
        """The publish in it."""
        publish: dict[str, Any] = json.loads(self.body)
        return publish


class Reply(NamedTuple):
    """An answer that is more than a status.

    `status` 0 closes the connection without an answer. `after_s`: the delay of the answer, in seconds. `raw`:
    any bytes to write in place of an answer; then the connection is closed.
    """

    status: int
    headers: Mapping[str, str] = MappingProxyType({})
    after_s: float = 0.0
    raw: Iterable[bytes] | None = None


Answer = Callable[[int, dict[str, Any]], int | Reply]


class RecordingClient:
    """Listens on 127.0.0.1. Calls `answer` for each request, which returns a status or a `Reply`.

    It accepts a batch when it answers 2xx. It also accepts a batch when it closes without an answer (status
    0): the worst that a client can do. If its context is left and entered again, it is a client that was
    down: it listens at the same port and still knows its totals.
    """

    def __init__(
        self,
        answer: Answer = lambda number, publish: 200,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ):
        self.received: list[Received] = []
        self.keys: dict[str, bytes] = {}
        self.totals: dict[str, int] = {}
        self.wrong: list[str] = []
        self._answer = answer
        self._tls = tls
        self._lock = threading.Lock()
        self._taken: set[str] = set()
        self._server: _Server | None = None
        self.port = port
        if not port:  # any free port; this client keeps it
            self._server = self._listen(0)
            self.port = self._server.server_port
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/plays"

    def __enter__(self) -> Self:
        if self._server is None:
            self._server = self._listen(self.port)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()
        self._server = None

    def accepted(self) -> list[Received]:
        """The requests that were answered with 200, one for each key, in order."""
        found = {one.publish["batch"]: one for one in reversed(self.received) if one.status == 200}
        return sorted(found.values(), key=lambda one: one.at_ns)

    def _listen(self, port: int) -> "_Server":
        server = _Server(("127.0.0.1", port), _Handler)
        server.take = self._take
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        return server

    def _take(self, headers: dict[str, str], body: bytes) -> Reply:
        with self._lock:
            publish = json.loads(body)
            answer = self._answer(len(self.received), publish)
            reply = answer if isinstance(answer, Reply) else Reply(answer)
            takes = reply.status == 0 or 200 <= reply.status < 300
            self.received.append(Received(time.time_ns(), headers, body, reply.status))
            self._audit(headers, body, publish, takes)
        return reply

    def _audit(self, headers: dict[str, str], body: bytes, publish: dict[str, Any], takes: bool) -> None:
        key, videos = publish["batch"], publish["videos"]
        if headers.get("Idempotency-Key") != key:
            self.wrong.append(f"{key}: the key in the header is {headers.get('Idempotency-Key')}")
        if headers.get("Content-Type") != "application/json":
            self.wrong.append(f"{key}: the content type is {headers.get('Content-Type')}")
        content = json.dumps(videos).encode()
        if self.keys.setdefault(key, content) != content:
            self.wrong.append(f"{key}: its content differs from before")
        ids = [video["video_id"] for video in videos]
        if not 1 <= len(ids) <= 20 or len(set(ids)) != len(ids):
            self.wrong.append(f"{key}: {len(ids)} videos, {len(set(ids))} distinct")
        if publish["trigger"] not in list(Trigger):
            self.wrong.append(f"{key}: trigger {publish['trigger']}")
        if takes and key not in self._taken:
            for video in videos:
                before = self.totals.get(video["video_id"], 0)
                if video["plays"] <= before and publish["trigger"] != Trigger.REPUBLISH:
                    self.wrong.append(f"{key}: {video['video_id']} {before} -> {video['plays']}")
                self.totals[video["video_id"]] = video["plays"]
            self._taken.add(key)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with 5, one of many connections at once waits a second for its next SYN
    take: Callable[[dict[str, str], bytes], Reply]

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore it: tests hang up on this client on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        reply = self.server.take(dict(self.headers), body)
        if reply.after_s:
            time.sleep(reply.after_s)
        if reply.raw is not None or reply.status == 0:
            for piece in reply.raw or ():
                self.wfile.write(piece)
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": "0", **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
