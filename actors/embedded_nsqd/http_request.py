"""One complete HTTP request, and its answer in nsqd's form.

Knows the form of an answer and of an error (nsqd's internal/http_api), not the meaning of the paths.
"""

import json
import re
from typing import Any
from urllib.parse import parse_qs, unquote

from tornado import httputil

from ..system import http_server
from .edge import Edge
from .journal_file import JournalError

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
_V1 = {"X-NSQ-Content-Type": "nsq; version=1.0"}
_BAD_QUERY = re.compile(r";|%(?![0-9A-Fa-f]{2})")  # what Go's url.ParseQuery refuses


class HttpError(Exception):
    """The error to answer a request with: its status, and the `message` of nsqd/http.go.

    `headers`: further headers.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, message)
        self.status, self.message, self.headers = status, message, headers


class Request:
    """A complete request, and its answer. `path`: decoded, without the query. Implements `CommitWaiter`."""

    def __init__(
        self,
        edge: Edge,
        connection: httputil.HTTPConnection,
        start: httputil.RequestStartLine,
        body: bytes,
    ) -> None:
        self.edge = edge
        self.method = start.method
        self.path, self.query = split_path(start.path)
        self.body = body
        self._connection = connection

    def arguments(self) -> dict[str, str]:
        """The arguments in the query, by name; the first value counts. Raises `HttpError`."""
        if _BAD_QUERY.search(self.query):
            raise HttpError(400, "INVALID_REQUEST")
        try:
            given = parse_qs(self.query, keep_blank_values=True)
        except ValueError:
            raise HttpError(400, "INVALID_REQUEST") from None
        return {name: values[0] for name, values in given.items()}

    def answer(
        self, status: int, body: bytes, content_type: str = TEXT_TYPE, more: dict[str, str] | None = None
    ) -> None:
        """Answer the request, in nsqd's form "V1". Call it once. `more`: further headers."""
        respond(self._connection, self.method, status, body, content_type, more)

    def answer_plainly(
        self, status: int, body: bytes = b"", content_type: str = "", more: dict[str, str] | None = None
    ) -> None:
        """Answer the request as nsqd does where it says nothing of NSQ: without its header."""
        http_server.respond(self._connection, self.method, status, body, content_type, more)

    def answer_json(self, value: dict[str, Any]) -> None:
        """Answer 200 with this as JSON."""
        body = json.dumps(value, separators=(",", ":")).encode()
        self.answer(200, body, JSON_TYPE)

    def settle(self, failure: JournalError | None) -> None:
        """See `CommitWaiter`: answer the publish."""
        if failure is None:
            self.answer(200, b"OK")
        else:
            # nsqd has one text for every reason why a publish does not reach its queue.
            self.answer(*error_answer(503, "EXITING"))


def split_path(target: str) -> tuple[str, str]:
    """The path of a request's target, decoded, and the query as it is."""
    path, _, query = target.partition("?")
    return unquote(path), query


def error_answer(status: int, message: str) -> tuple[int, bytes, str]:
    """Status, body and content type of an error."""
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return status, body, JSON_TYPE


def respond(
    connection: httputil.HTTPConnection,
    method: str,
    status: int,
    body: bytes,
    content_type: str,
    more: dict[str, str] | None = None,
) -> None:
    """Write the answer to a request, and end it. `more`: further headers."""
    http_server.respond(connection, method, status, body, content_type, _V1 | (more or {}))
