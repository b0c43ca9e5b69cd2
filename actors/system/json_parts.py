"""Sends an answer part by part, so that however large it is, this process holds one part of it."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Mapping

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

SLOW_TIMEOUT_S = 20  # a reader that takes nothing for so long is dropped


async def send_parts(handler: RequestHandler, parts: AsyncIterable[Mapping[str, int]]) -> None:
    """Answer with all parts as one object. Raises what `parts` raises, if nothing is sent yet.

    A reader whose answer can't be completed has its connection closed before the end of the answer.
    """
    await send_bytes(handler, _of_object(parts), "application/json")


async def _of_object(parts: AsyncIterable[Mapping[str, int]]) -> AsyncIterator[bytes]:
    held = b""
    async for part in parts:
        if part:
            if held:
                yield held
            held = (b"," if held else b"{") + msgspec.json.encode(part)[1:-1]
    yield (held or b"{") + b"}\n"


async def send_bytes(handler: RequestHandler, parts: AsyncIterable[bytes], content_type: str) -> None:
    """Answer with all parts. Raises and closes as `send_parts`."""
    handler.set_header("Content-Type", content_type)
    held = b""
    try:
        async for part in parts:
            if held:
                handler.write(held)
                await asyncio.wait_for(handler.flush(), SLOW_TIMEOUT_S)
            held = part
    except (TimeoutError, StreamClosedError):  # the other end is gone, or does not read
        close(handler)
        return
    handler.write(held)


def close(handler: RequestHandler) -> None:
    """Close the connection of a request, in the middle of its answer."""
    connection = handler.request.connection
    assert isinstance(connection, HTTP1Connection)  # our servers speak HTTP/1 only
    connection.close()
