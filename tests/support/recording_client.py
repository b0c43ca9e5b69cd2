"""A client of our publishes that keeps what it got, answers as told, and audits it by its own rules.

Written apart from the reference client and its audit, so that one checks the other.
"""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Received(NamedTuple):
    """One request: when (ns), its headers and body, and the status that it was answered with."""

    at_ns: int
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def publish(self) -> dict[str, Any]:
        """The publish in it."""
        return json.loads(self.body)


class RecordingClient:
    """Listens on 127.0.0.1. `answer` is asked for a status a request; 0 closes without an answer.

    Whatever it answers, `keeps` says whether it took the batch: by default when it answered 2xx.
    """

    def __init__(self, answer: Callable[[int, dict[str, Any]], int] = lambda number, publish: 200):
        self.received: list[Received] = []
        self.keys: dict[str, bytes] = {}
        self.totals: dict[str, int] = {}
        self.wrong: list[str] = []
        self._answer = answer
        self._lock = threading.Lock()
        client = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = client._take(dict(self.headers), body)
                if status == 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/plays"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def accepted(self) -> list[Received]:
        """The requests that were answered with 2xx, each key once."""
        found = {one.publish["batch"]: one for one in reversed(self.received) if one.status == 200}
        return sorted(found.values(), key=lambda one: one.at_ns)

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        with self._lock:
            publish = json.loads(body)
            number = len(self.received)
            status = self._answer(number, publish)
            # Closing without an answer after taking the batch is the worst that a client can do.
            takes = status == 200 or status == 0
            self.received.append(Received(time.time_ns(), headers, body, status))
            self._audit(headers, body, publish, takes)
        return status

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
        if publish["trigger"] not in ("realtime", "deadline", "overdue", "drain"):
            self.wrong.append(f"{key}: trigger {publish['trigger']}")
        if takes and key not in self._taken():
            for video in videos:
                before = self.totals.get(video["video_id"], 0)
                if video["plays"] <= before:
                    self.wrong.append(f"{key}: {video['video_id']} {before} -> {video['plays']}")
                self.totals[video["video_id"]] = video["plays"]
            self._taken().add(key)

    def _taken(self) -> set[str]:
        return self.__dict__.setdefault("_taken_keys", set())
