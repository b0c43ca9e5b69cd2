"""What the other end says unasked is no answer to the next batch, even if the loop has not read it yet."""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading

import pytest

from actors.core.dispatcher.attempts import Outcome
from actors.core.dispatcher.outbox import Entry, make_batch
from actors.core.triggers import Trigger
from actors.sinks.nsq_topic import NsqSink
from actors.sources.discovery import Publishable
from tests.support.acting_clients import OK, http_sink
from tests.support.certificates import Authority
from tests.support.hostile_nsqd import HostileNsqd, frame
from tests.support.patience import PATIENCE_S

BATCHES = [make_batch("a-service", Trigger.REALTIME, [Entry(bytes([n]) * 16, n, n)]) for n in (1, 2)]


class Unasked:
    """A peer that answers the first question of a connection, and then says or does `more`.

    It answers no second question on that connection: its answer was given before.
    """

    def __init__(self, answer, more):
        self._answer = answer
        self._more = more
        self.asked = []  # the connection of each question
        self.may_speak = threading.Event()
        self.has_spoken = threading.Event()

    def serve(self, connection, read_question):
        read_question()
        self.asked.append(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent has come
        connection.sendall(self._answer)
        self.may_speak.wait(PATIENCE_S)
        if self._more:
            connection.sendall(self._more)
        else:
            connection.shutdown(socket.SHUT_WR)
        self.has_spoken.set()
        while read_question():
            self.asked.append(connection)


async def two_batches(sink, peer):
    """Send the first batch; then the loop stands still until the peer has spoken; then send the second."""
    first = await sink.deliver(BATCHES[0])
    peer.may_speak.set()
    assert peer.has_spoken.wait(PATIENCE_S)  # it holds up the loop: what came is with the system alone
    second = await sink.deliver(BATCHES[1])
    sink.close()
    return [first.outcome, second.outcome]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("more", [OK, b"x", b""], ids=["an answer", "a byte", "its end"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_a_client_says_between_two_batches_costs_the_connection_and_no_batch(scheme, more, authority):
    peer = Unasked(OK, more)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key, certificate = authority.issue("client")
    context.load_cert_chain(certificate, key)

    def run(plain):
        ends = context.wrap_socket(plain, server_side=True) if scheme == "https" else plain
        with ends as connection:
            peer.serve(connection, lambda: _read_request(connection))

    with HostileNsqd("", [run, run]) as server:
        sink = http_sink(f"{scheme}://{server.address}/", ca_file=str(authority.ca_file))
        assert asyncio.run(two_batches(sink, peer)) == [Outcome.ACCEPTED] * 2
    assert len(set(peer.asked)) == 2, "the second batch left on the connection that nobody read any more"


@pytest.mark.parametrize("more", [frame(0, b"OK"), b""], ids=["an answer", "its end"])
def test_what_an_nsqd_says_between_two_batches_costs_the_connection_and_no_batch(more):
    peer = Unasked(frame(0, b"OK"), more)

    def run(connection):
        lines = connection.makefile("rb")
        with contextlib.suppress(EOFError):
            assert lines.read(len("  V2IDENTIFY\n"))
            lines.read(struct.unpack(">I", lines.read(4))[0])
            connection.sendall(frame(0, b"OK"))
            peer.serve(connection, lambda: _read_pub(lines))

    with HostileNsqd("", [run, run]) as server:

        async def attempt():
            return await two_batches(
                NsqSink("totals", PATIENCE_S, Publishable([server.address], [], [])), peer
            )

        assert asyncio.run(attempt()) == [Outcome.ACCEPTED] * 2
    assert len(set(peer.asked)) == 2


def _read_request(connection):
    """Read one request, which comes in one piece of at most 64 KiB. False at the end."""
    return bool(connection.recv(1 << 16))


def _read_pub(lines):
    """Read one PUB. False at the end."""
    if not lines.readline():
        return False
    lines.read(struct.unpack(">I", lines.read(4))[0])
    return True
