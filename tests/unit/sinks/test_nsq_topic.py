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
from tests.support.patience import PATIENCE_S
from tests.support.queues import open_queue

BATCH = make_batch("a-service", Trigger.REALTIME, [Entry(bytes(16), 1, 1)])


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
