"""What the reference client answers to a publish, and the headers of all its answers."""

import functools
import time
from http.client import responses
from typing import NamedTuple

import msgspec
from tornado.httputil import format_timestamp

from ..core.client.audit import Receipt, Verdict
from ..core.client.promises import Publish
from ..system.exits import StoreFailure
from ..system.http_server import OWN_HEADERS

_SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS = OWN_HEADERS | {"Content-Security-Policy": _SECURITY_POLICY, "Referrer-Policy": "no-referrer"}
TYPE = "application/json"


class Answer(NamedTuple):
    """A status, and what becomes the JSON of the body."""

    status: int
    content: object

    @property
    def body(self) -> bytes:
        """The JSON."""
        return msgspec.json.encode(self.content) + b"\n"

    @property
    def whole(self) -> bytes:
        """All bytes of the answer."""
        head, body = _head(self.status, int(time.time())), self.body
        return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body)


def answer_to(publish: Publish, receipt: Receipt) -> Answer:
    """The answer to a publish that is committed."""
    if receipt.verdict is Verdict.CONFLICT:
        error = (
            f"batch: {publish.batch!r} was received before with other content, "
            "expected a new key for new content"
        )
        return Answer(409, {"error": error, "field": "batch"})
    return Answer(200, {"batch": publish.batch, "duplicate": receipt.verdict is Verdict.DUPLICATE})


def store_fails(failure: StoreFailure) -> Answer:
    """The answer to a publish that could not be committed. It is not lost: the service sends it again."""
    return Answer(503, {"error": str(failure)})


@functools.lru_cache(maxsize=8)
def _head(status: int, now_s: int) -> bytes:
    """The first line and the headers, but for the length."""
    headers = {"Content-Type": TYPE, "Date": format_timestamp(now_s), **HEADERS}
    lines = [f"HTTP/1.1 {status} {responses[status]}", *(f"{name}: {headers[name]}" for name in headers)]
    return "".join(f"{line}\r\n" for line in lines).encode()
