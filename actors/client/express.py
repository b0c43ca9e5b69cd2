"""Takes publishes that came in one piece, past tornado's handlers, at a fifth of the CPU.

Those that have come by the same time are committed together. `PlaysHandler` takes all others, and says
what is wrong with them. Both answer the same.
"""

import asyncio
from typing import NamedTuple

from ..core.client.promises import Publish
from ..system.exits import StoreFailure
from ..system.http_stream import Stream
from ..system.whole_requests import Kind, WholeRequest
from . import publishes
from .answers import Answer, answer_to, store_fails
from .errors import MalformedPublish
from .reference import Reference
from .together import Here

# No header that asks for anything: what to do with the connection, how the body is coded, which page asks.
PUBLISH = Kind(
    "POST /plays HTTP/1.1",
    frozenset(
        {
            "host",
            "user-agent",
            "accept",
            "authorization",
            "content-type",
            "content-length",
            "idempotency-key",
            "x-playtally-sent-at-ms",
            "x-playtally-held-up-ms",
            "x-playtally-signature",
            "x-playtally-timestamp",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
        }
    ),
)


class _Waiting(NamedTuple):
    stream: Stream
    publish: Publish
    held_up_ms: int
    here: Here


class Express:
    """The publishes of one reference client that came whole. Implements `http_server.Express`."""

    kind = PUBLISH

    def __init__(self, client: Reference) -> None:
        self._client = client
        self._waiting: list[_Waiting] = []

    def take(self, stream: Stream, request: WholeRequest) -> bool:
        """Take a request; it is answered soon. False for one that is not right: the server says why."""
        headers, body = request
        if self._client.signed.problem(body, headers):
            return False
        try:
            publish, held_up_ms = publishes.read(headers, body)
        except MalformedPublish:
            return False
        if not self._waiting:
            # Called when all connections are read that had something in this turn of the loop.
            asyncio.get_running_loop().call_soon(self._answer_all)
        self._waiting.append(_Waiting(stream, publish, held_up_ms, self._client.together.came()))
        return True

    def _answer_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            for one, answer in zip(waiting, self._answers(waiting), strict=True):
                one.stream.answer(answer.whole)
        except BaseException:
            for one in waiting:
                one.stream.close()  # a bug: no answer must be waited for
            raise
        finally:
            for one in waiting:
                self._client.together.gone(one.here)

    def _answers(self, waiting: list[_Waiting]) -> list[Answer]:
        try:
            receipts = self._client.receive_all(
                [(one.publish, one.held_up_ms, one.here.most) for one in waiting]
            )
        except StoreFailure as failure:
            self._client.store_failed(failure)
            return [store_fails(failure)] * len(waiting)
        return [answer_to(one.publish, receipt) for one, receipt in zip(waiting, receipts, strict=True)]
