"""Sends an answer part by part, so that however large it is, this process holds one part of it."""

import asyncio
from collections.abc import AsyncIterable, Mapping

import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

SLOW_TIMEOUT_S = 20  # a reader that takes nothing for so long is dropped


async def send_parts(handler: RequestHandler, parts: AsyncIterable[Mapping[str, int]]) -> None:
    """Answer with all parts as one object. Raises what `parts` raises, if nothing is sent yet.

    A reader whose answer can't be completed has its connection closed before the end of the answer.
    """
    handler.set_header("Content-Type", "application/json")
    held = b""
    try:
        async for part in parts:
            if not part:
                continue
            if held:
                handler.write(held)
                await asyncio.wait_for(handler.flush(), SLOW_TIMEOUT_S)
            held = (b"," if held else b"{") + msgspec.json.encode(part)[1:-1]
    except (TimeoutError, StreamClosedError):  # the other end is gone, or does not read
        close(handler)
        return
    handler.write((held or b"{") + b"}\n")


async def send_bytes(handler: RequestHandler, parts: AsyncIterable[bytes], content_type: str) -> None:
    """Answer with all parts, one after the other. Raises and closes as `send_parts`."""
    handler.set_header("Content-Type", content_type)
    try:
        async for part in parts:
            handler.write(part)
            await asyncio.wait_for(handler.flush(), SLOW_TIMEOUT_S)
    except (TimeoutError, StreamClosedError):  # the other end is gone, or does not read
        close(handler)


def close(handler: RequestHandler) -> None:
    """Close the connection of a request, in the middle of its answer."""
    connection = handler.request.connection
    assert isinstance(connection, HTTP1Connection)  # our servers speak HTTP/1 only
    connection.close()
