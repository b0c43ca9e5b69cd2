"""Clients over HTTP that do on their socket what a test wants, and what becomes of batches sent to them."""

import asyncio
import contextlib
import socket
import struct

import pytest

from actors.config import PublishSection
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks import HttpSink
from tests.support.patience import PATIENCE_S
from tests.support.virtual_time import run_virtually

BATCH = make_batch("a-service", Trigger.REALTIME, [Entry(bytes(range(16)), 7, 1_795_502_904_123_456_789)])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def http_sink(url, timeout_s=PATIENCE_S, secret=None, **settings):
    """A sink to that URL."""
    with pytest.MonkeyPatch.context() as patch:
        if secret is not None:
            patch.setenv("PLAYTALLY_TEST_SECRET", secret.decode())
            settings["secret_env"] = "PLAYTALLY_TEST_SECRET"
        return HttpSink(PublishSection(url=url, timeout_s=timeout_s, **settings))


async def attempt(sink, batch):
    """What became of a batch, sent as the dispatcher does it: at once if that can be done."""
    found = asyncio.get_running_loop().create_future()
    return await found if sink.begin(batch, 0, found.set_result) else await sink.deliver(batch)


async def delivered(sink, *batches):
    """What became of these batches, one after the other; then the sink lets go of its connection."""
    try:
        return [await attempt(sink, batch) for batch in batches]
    finally:
        sink.close()


async def read_request(reader):
    """The head and the body of one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    return head, await reader.readexactly(int(length.split(b":")[1]))


@contextlib.asynccontextmanager
async def client_that(act, tls=None):
    """A listener that does `act(reader, writer)` with each connection. Its port."""
    serving = set()

    async def serve(reader, writer):
        serving.add(asyncio.current_task())
        try:
            await act(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*serving, return_exceptions=True)  # the sink has closed its connection


def outcome_of(act, secret=None):
    """What one attempt at a client that acts so becomes."""
    (delivery,) = deliveries_to(act, 1, secret=secret)
    return delivery


def deliveries_to(
    act, count=2, batch=BATCH, tls=None, url="http://127.0.0.1:{port}/", secret=None, **settings
):
    """So many attempts at one client that acts so, one after the other."""

    async def attempt():
        async with client_that(act, tls) as port:
            sink = http_sink(url.format(port=port), secret=secret, **settings)
            return await delivered(sink, *[batch] * count)

    return asyncio.run(attempt())


def timed(act, count=1, timeout_s=10.0):
    """The same, and how long it took by the clock of their loop."""

    async def attempt():
        sink = http_sink("http://127.0.0.1:8080/", timeout_s)
        deliveries = await delivered(sink, *[BATCH] * count)
        return deliveries, asyncio.get_running_loop().time()

    return run_virtually(attempt, act)


def answering(*pieces):
    """A client that reads the whole request, then says these bytes and closes."""

    async def act(reader, writer):
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return act


def recording(asked, *answers):
    """A client that notes each request in `asked` as (connection, head, body), and answers in turn."""

    async def act(reader, writer):
        me = object()
        while True:
            try:
                asked.append((me, *await read_request(reader)))
            except asyncio.IncompleteReadError:
                return
            writer.write(answers[min(len(asked), len(answers)) - 1])
            await writer.drain()

    return act


async def reset(writer):
    """Close as a machine that crashed does: RST, not FIN."""
    end = writer.get_extra_info("socket")
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
