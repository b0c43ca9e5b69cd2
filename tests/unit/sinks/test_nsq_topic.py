"""Publishes to an NSQ topic while one of several nsqds does not answer."""

import asyncio
import contextlib
import socket
import time

import pytest

from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks.nsq_topic import NsqSink
from actors.sources.discovery import Publishable
from tests.support.acting_clients import client_that
from tests.support.patience import PATIENCE_S
from tests.support.queues import open_queue

BATCH = make_batch("a-service", Trigger.REALTIME, [Entry(bytes(16), 1, 1)])


def test_one_connection_carries_all_batches_until_nsqd_refuses_one():
    """`E_…` for the third of five: that connection is closed, and the next batch has another."""
    commands = []

    async def act(reader, writer):
        me = object()
        with contextlib.suppress(EOFError):
            assert await reader.readexactly(4) == b"  V2"
            while True:
                name = (await reader.readline()).split(b" ")[0].strip()
                await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big"))
                if name == b"PUB":
                    commands.append(me)
                answer = b"E_BAD_MESSAGE no" if name == b"PUB" and len(commands) == 3 else b"OK"
                kind = int(answer != b"OK").to_bytes(4, "big")
                writer.write((len(answer) + 4).to_bytes(4, "big") + kind + answer)

    async def scene():
        async with client_that(act) as port:
            sink = NsqSink("totals", PATIENCE_S, Publishable([f"127.0.0.1:{port}"], [], []))
            with contextlib.closing(sink):
                return [(await sink.deliver(BATCH)).outcome for _ in range(5)]

    yes, no = Outcome.ACCEPTED, Outcome.REFUSED
    assert asyncio.run(scene()) == [yes, yes, no, yes, yes]
    first, last = commands[:3], commands[3:]
    assert len(set(first)) == len(set(last)) == 1
    assert first[0] is not last[0]


@pytest.mark.parametrize("timeout_s", [1.0, 10.0])
def test_an_nsqd_that_hangs_leaves_time_for_the_next_one(tmp_path, timeout_s):
    """A listener that nobody accepts from: the system connects, and no answer comes."""
    with open_queue("embedded", tmp_path) as queue, socket.create_server(("127.0.0.1", 0)) as hung:
        nsqds = [f"127.0.0.1:{hung.getsockname()[1]}", queue.tcp_address]

        async def scene():
            ends_s = time.monotonic() + PATIENCE_S
            sink = NsqSink("totals", timeout_s, Publishable(nsqds, [], []))
            with contextlib.closing(sink):
                while (delivery := await sink.deliver(BATCH)).outcome is not Outcome.ACCEPTED:
                    assert time.monotonic() < ends_s, delivery

        asyncio.run(scene())
        assert queue.topic("totals") is not None
