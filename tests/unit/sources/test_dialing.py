"""A name with several addresses, some of which are dead or hang, leads to one that answers."""

import asyncio
import contextlib
import socket

import pytest

from actors.sinks.nsq_topic import NsqSink
from actors.sources import dialing, nsqd_http
from actors.sources.dialing import STAGGER_S, dial, living_address
from actors.sources.discovery import Publishable
from producer.writer import PublishOutcome, Writer, frame, mpub
from tests.support.patience import PATIENCE_S
from tests.support.queues import QUEUES, open_queue
from tests.support.virtual_time import run_virtually

NAME = "several.example"
DEAD = "127.0.0.2"


@pytest.fixture
def named(monkeypatch):
    """Lets a name have these addresses."""
    real = socket.getaddrinfo

    def named(*addresses):
        def found(host, port, *more):
            hosts = addresses if host == NAME else [host]
            return [row for one in hosts for row in real(one, port, *more)]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    return named


@pytest.fixture
def port():
    """The port of a listener on 127.0.0.1 alone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def reached(host, port):
    _, writer = await dial(host, port)
    with contextlib.closing(writer):
        return writer.get_extra_info("peername")[0]


@pytest.mark.parametrize(
    "addresses", [(DEAD, "127.0.0.1"), ("127.0.0.1", DEAD), (DEAD, "127.0.0.3", "127.0.0.1")]
)
def test_the_address_that_answers_is_used(named, port, addresses):
    named(*addresses)
    assert asyncio.run(reached(NAME, port)) == "127.0.0.1"
    assert asyncio.run(living_address(NAME, port)) == "127.0.0.1"


def test_if_none_answers_the_reason_is_that_of_one(named, port):
    named(DEAD, "127.0.0.3")
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(reached(NAME, port))


def test_addresses_that_hang_hold_up_the_next_ones_for_a_moment_and_are_given_up(named, monkeypatch):
    """Only a network that loses packets makes a connection hang, so asyncio's part is replaced."""
    given_up = []

    class Writer:
        closed = False

    async def open_connection(address, _):
        if address != "127.0.0.4":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                given_up.append(address)
        return None, Writer

    async def resolve(_):
        return ["127.0.0.2", "127.0.0.3", "127.0.0.4"]

    async def scene():
        _, writer = await dial(NAME, 1)
        took_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0)
        return writer, took_s

    monkeypatch.setattr(dialing, "resolve", resolve)
    monkeypatch.setattr(dialing.asyncio, "open_connection", open_connection)
    writer, took_s = run_virtually(scene)
    assert writer is Writer
    assert took_s == pytest.approx(2 * STAGGER_S)
    assert sorted(given_up) == ["127.0.0.2", "127.0.0.3"]


@pytest.fixture(params=QUEUES)
def queue(request, tmp_path):
    allowed = ["--allowed-hosts", NAME] if request.param == "embedded" else []
    with open_queue(request.param, tmp_path, *allowed) as queue:
        yield queue


def test_a_look_reaches_an_nsqd_by_whichever_address_answers(queue, named):
    named(DEAD, "127.0.0.1")
    found = asyncio.run(nsqd_http.tcp_port(f"{NAME}:{queue.http_port}"))
    assert found == queue.tcp_port


def test_a_publish_reaches_an_nsqd_by_whichever_address_answers(queue, named):
    named(DEAD, "127.0.0.1")

    async def scene():
        sink = NsqSink("totals", PATIENCE_S, Publishable([f"{NAME}:{queue.tcp_port}"], [], []))
        with contextlib.closing(sink):
            await asyncio.wait_for(sink.reach(), PATIENCE_S)

    asyncio.run(scene())


def test_the_producer_reaches_an_nsqd_by_whichever_address_answers(queue, named):
    named(DEAD, "127.0.0.1")
    address = f"{NAME}:{queue.tcp_port}"

    async def scene():
        opened, settled = asyncio.Event(), asyncio.Event()
        outcomes = []

        def on_settled(_, outcome):
            outcomes.append(outcome)
            settled.set()

        writer = Writer(on_settled, lambda _: opened.set(), lambda *_: None, lambda *_: None)
        writer.connect_to([address])
        writer.connect_to([address])
        await asyncio.wait_for(opened.wait(), PATIENCE_S)
        assert list(writer.conns) == [address]
        writer.publish(mpub("plays", [frame(b"x")], 1), None)
        await asyncio.wait_for(settled.wait(), PATIENCE_S)
        writer.close()
        return outcomes

    assert asyncio.run(scene()) == [PublishOutcome.ACKNOWLEDGED]
    assert queue.topic("plays")["message_count"] == 1
