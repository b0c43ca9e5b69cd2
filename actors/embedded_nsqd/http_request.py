"""One complete HTTP request, and its answer in nsqd's form.

Knows the form of an answer and of an error (nsqd's internal/http_api), not the meaning of the paths.
"""

import json
from typing import Any
from urllib.parse import parse_qs

from tornado import httputil

from ..system import http_server
from .edge import Edge
from .journal_file import JournalError


class HttpError(Exception):
    """The error to answer a request with: its status, and the `message` of nsqd/http.go.

    `headers`: further headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status, self.message, self.headers = status, message, headers


class Request:
    """A complete request, and its answer. `path` is without the query. Implements `CommitWaiter`."""

    def __init__(
        self,
        edge: Edge,
        connection: httputil.HTTPConnection,
        start: httputil.RequestStartLine,
        body: bytes,
    ) -> None:
        self.edge = edge
        self.method = start.method
        self.path, _, self._query = start.path.partition("?")
        self.body = body
        self._connection = connection

    def arguments(self) -> dict[str, str]:
        """The arguments in the query, by name; the first value counts. Raises `HttpError`."""
        try:
            given = parse_qs(self._query, keep_blank_values=True)
        except ValueError:
            raise HttpError(400, "INVALID_REQUEST") from None
        return {name: values[0] for name, values in given.items()}

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: str = "text/plain; charset=utf-8",
        more: dict[str, str] | None = None,
    ) -> None:
        """Answer the request. Call it once. `more`: further headers."""
        respond(self._connection, self.method, status, body, content_type, more)

    def answer_json(self, value: dict[str, Any]) -> None:
        """Answer 200 with this as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        self.answer(200, body, "application/json; charset=utf-8")

    def settle(self, failure: JournalError | None) -> None:
        """See `CommitWaiter`: answer the publish."""
        if failure is None:
            self.answer(200, b"OK")
        else:
            # nsqd has one text for every reason why a publish does not reach its queue.
            self.answer(*error_answer(503, "EXITING"))


def error_answer(status: int, message: str) -> tuple[int, bytes, str]:
    """Status, body and content type of an error."""
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return status, body, "application/json; charset=utf-8"


def respond(
    connection: httputil.HTTPConnection,
    method: str,
    status: int,
    body: bytes,
    content_type: str,
    more: dict[str, str] | None = None,
) -> None:
    """Write the answer to a request, and end it. `more`: further headers."""
    headers = {"X-NSQ-Content-Type": "nsq; version=1.0"} | (more or {})
    http_server.respond(connection, method, status, body, content_type, headers)
