"""What `actors/sinks/delivery.py` promises, of every sink that there is. A new one is added to `WAYS`."""

import asyncio
import contextlib
import json
import os

import pytest

from actors.config import NsqSection, PublishSection, Settings
from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.outbox import Entry, make_batch, payload
from actors.core.triggers import Trigger
from actors.sinks import MirroredSink, StdoutSink, open_sink
from tests.support.acting_clients import attempt
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, RawClient, open_queue
from tests.support.recording_client import RecordingClient

BATCHES = [
    make_batch("a-service", Trigger.REALTIME, [Entry(bytes([number]) * 16, number, number)])
    for number in range(1, 4)
]
MANY = [
    make_batch("a-service", Trigger.REALTIME, [Entry(bytes([number]) * 16, number, number)])
    for number in range(100, 120)
]


class Http:
    """The client over HTTP."""

    in_order = False

    def __init__(self, stack, path):
        self._client = RecordingClient()
        self._listening = stack.enter_context(contextlib.ExitStack())
        self._listening.enter_context(self._client)
        self.sink = open_sink(Settings(publish=PublishSection(url=self._client.url, timeout_s=PATIENCE_S)))

    def received(self):
        return [one.publish for one in self._client.received]

    def end(self):
        self._listening.close()


class Topic:
    """A topic of one nsqd."""

    in_order = True

    def __init__(self, stack, path, kind="embedded"):
        self._queue = stack.enter_context(open_queue(kind, path))
        self._queue.post("/topic/create?topic=totals")
        self._queue.post("/channel/create?topic=totals&channel=reader")
        publish = PublishSection(nsq_topic="totals", timeout_s=PATIENCE_S)
        nsq = NsqSection(nsqd_tcp_addresses=[self._queue.tcp_address])
        self.sink = open_sink(Settings(nsq=nsq, publish=publish))

    def received(self):
        count = self._queue.unfinished("totals", "reader")
        with RawClient(self._queue.tcp_address) as client:
            client.subscribe("totals", "reader", ready=count)
            return [json.loads(message.body) for message in client.messages(count)]

    def end(self):
        self._queue.kill()


class Stdout:
    """Lines of a pipe."""

    in_order = True

    def __init__(self, stack, path):
        self._reads, writes = os.pipe()
        self._ends = stack.enter_context(contextlib.ExitStack())
        self._ends.callback(os.close, self._reads)
        stack.callback(os.close, writes)
        self.sink = StdoutSink(writes)

    def received(self):
        return [json.loads(line) for line in os.read(self._reads, 65_536).splitlines()]

    def end(self):
        self._ends.close()


class Mirrored(Http):
    """The client over HTTP, and stdout beside it."""

    def __init__(self, stack, path):
        super().__init__(stack, path)
        self._reads, writes = os.pipe()
        stack.callback(os.close, self._reads)
        stack.callback(os.close, writes)
        self.sink = MirroredSink(self.sink, writes)

    def received(self):
        found = super().received()
        lines = [json.loads(line) for line in os.read(self._reads, 65_536).splitlines()]
        assert sorted(line["batch"] for line in lines) == sorted(one["batch"] for one in found)
        return lines


WAYS = {
    "http": Http,
    **{f"topic, {kind}": lambda stack, path, kind=kind: Topic(stack, path, kind) for kind in QUEUES},
    "stdout": Stdout,
    "mirrored": Mirrored,
}


@pytest.fixture(params=WAYS)
def way(request, tmp_path):
    with contextlib.ExitStack() as stack:
        yield WAYS[request.param](stack, tmp_path)


def deliver(sink, *batches):
    async def send():
        try:
            await sink.reach()
            found = [await attempt(sink, batch) for batch in batches]
            await sink.flush(PATIENCE_S)
            return found
        finally:
            sink.close()

    return asyncio.run(send())


def test_a_batch_that_is_accepted_was_received_once_as_it_is(way):
    assert [one.outcome for one in deliver(way.sink, *BATCHES)] == [Outcome.ACCEPTED] * 3
    received = {one["batch"]: one for one in way.received()}
    for batch in BATCHES:
        found, expected = received.pop(batch.key), payload(batch)
        found.pop("published_at_ns", None), expected.pop("published_at_ns", None)
        assert found == expected
    assert not received


def test_batches_that_are_on_their_way_at_once_are_each_received_once(way):
    async def send():
        try:
            found = await asyncio.gather(*(way.sink.deliver(batch) for batch in MANY))
            await way.sink.flush(PATIENCE_S)
            return found
        finally:
            way.sink.close()

    assert [one.outcome for one in asyncio.run(send())] == [Outcome.ACCEPTED] * len(MANY)
    received, sent = [one["batch"] for one in way.received()], [batch.key for batch in MANY]
    assert (received if way.in_order else sorted(received)) == (sent if way.in_order else sorted(sent))


def test_what_can_not_be_sent_is_not_accepted_says_why_and_raises_nothing(way):
    way.end()

    async def send():
        try:
            return await way.sink.deliver(BATCHES[0])
        finally:
            way.sink.close()

    delivery = asyncio.run(send())
    assert delivery.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
    assert delivery.why


def test_a_sink_has_a_name_and_is_closed_twice_without_harm(way):
    assert way.sink.name
    deliver(way.sink, BATCHES[0])
    way.sink.close()
