"""One HTTP request that is complete, and the way back to its client, in nsqd's form.

Knows what an answer and an error look like (nsq/internal/http_api), not what is asked.
"""

import json
from http.client import responses
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tornado import httputil

from .journal_file import JournalError

if TYPE_CHECKING:
    from .server import EmbeddedNsqd


class HttpError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


class Request:
    """A request that is complete, its arguments, and the way back to its client."""

    def __init__(
        self,
        server: "EmbeddedNsqd",
        connection: httputil.HTTPConnection,
        start: httputil.RequestStartLine,
        body: bytes,
    ) -> None:
        self.server = server
        self.method = start.method
        self.path, _, self._query = start.path.partition("?")
        self.body = body
        self._connection = connection

    def arguments(self) -> dict[str, str]:
        try:
            given = parse_qs(self._query, keep_blank_values=True, errors="surrogateescape")
        except ValueError:
            raise HttpError(400, "INVALID_REQUEST") from None
        return {name: values[0] for name, values in given.items()}

    def answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        respond(self._connection, status, body, content_type)

    def answer_json(self, value: dict[str, Any]) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        self.answer(200, body, "application/json; charset=utf-8")

    def settle(self, failure: JournalError | None) -> None:
        """A publish has been committed, or failed to be."""
        if failure is None:
            self.answer(200, b"OK")
        else:
            # nsqd has one text for whatever keeps a publish from its queue.
            self.answer(*error_answer(503, "EXITING"))


def error_answer(status: int, message: str) -> tuple[int, bytes, str]:
    body = json.dumps({"message": message}, separators=(",", ":")).encode()
    return status, body, "application/json; charset=utf-8"


def respond(connection: httputil.HTTPConnection, status: int, body: bytes, content_type: str) -> None:
    headers = httputil.HTTPHeaders(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "X-NSQ-Content-Type": "nsq; version=1.0",
        }
    )
    reason = responses.get(status, "Unknown")
    start = httputil.ResponseStartLine("HTTP/1.1", status, reason)
    _ = connection.write_headers(start, headers, body)
    connection.finish()
