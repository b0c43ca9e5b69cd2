"""A conversation with a queue: what is said by TCP and HTTP, and a transcript of what comes back.

A conversation is a function of a `Talk`. Each has its own topic, "{topic}" in what it says, of the same name
on both sides. A message id that came is "{id0}", "{id1}" … from then on. What is masked is in `masks.py`.
"""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.conformance.masks import masked, shown_headers
from tests.conformance.wire import HttpWire, Wire
from tests.support.queues import ERROR, MESSAGE, Message, QueueProcess, sized

MAGIC = b"  V2"
# A command that nsqd does not know. It is answered and ends the connection; unless the connection had ended.
GOODBYE = b"GOODBYE\n"
# What does not come within this time never comes. Only a difference costs it, and a few conversations.
PATIENCE_S = 10.0
TOPIC = "conversation-"  # the topic of each begins with it
_KINDS = {0: "response", ERROR: "error"}


class Conversation(NamedTuple):
    """One conversation. Its name stands in the table if the two queues differ in it.

    `waits`: it waits for seconds, so it is played beside the others that do.
    """

    name: str
    play: "Callable[[Talk], None]"
    waits: bool = False


class Client:
    """A TCP connection of a talk. It answers heartbeats unless told not to."""

    def __init__(self, talk: "Talk", name: str, magic: bytes) -> None:
        self._talk, self._name = talk, name
        self._wire = Wire(talk.queue.tcp_address)
        self.answers_heartbeats = True
        self.say(magic)

    def say(self, *pieces: bytes) -> "Client":
        """Send these bytes in one write each."""
        for piece in pieces:
            self._wire.send(self._talk.filled(piece))
        return self

    def hears(self, count: int = 1, patience_s: float = PATIENCE_S) -> "Client":
        """Write down the next `count` frames, or that they do not come."""
        for _ in range(count):
            if not self._hear(patience_s):
                break
        return self

    def hears_nothing(self, for_s: float = 0.3) -> "Client":
        """Write down what comes within this time; usually nothing."""
        self._hear(for_s)
        return self

    def hears_all(self, patience_s: float = PATIENCE_S) -> "Client":
        """Write down all frames until the connection ends."""
        while self._hear(patience_s):
            pass
        return self

    def ends(self) -> None:
        """Say goodbye, and write down what comes until the connection ends."""
        self.say(GOODBYE).hears_all()

    def stops_saying(self) -> "Client":
        """Close the sending half of the connection."""
        self._wire.end_sending()
        return self

    def leaves(self) -> None:
        """Close the connection."""
        self._wire.close()

    def _hear(self, patience_s: float) -> bool:
        end = time.monotonic() + patience_s
        try:
            while True:
                size = int.from_bytes(self._wire.read(4, end), "big")
                data = self._wire.read(size, end)
                if self.answers_heartbeats and data[4:] == b"_heartbeat_":
                    self.say(b"NOP\n")
                    continue
                break
        except TimeoutError:
            self._note("nothing")
            return False
        except EOFError:
            self._note("the end")
            return False
        kind, data = int.from_bytes(data[:4], "big"), data[4:]
        if kind == MESSAGE:
            message = Message(data)
            self._talk.know(message.id)
            self._note(f"message {message.id!r} attempts {message.attempts} {message.body[:100]!r}")
        else:
            self._note(f"{_KINDS.get(kind, kind)} {data!r}")
        return True

    def _note(self, text: str) -> None:
        self._talk.note(f"{self._name} hears {text}")


class Talk:
    """One conversation with one queue. `transcript`: what came back, line by line."""

    def __init__(self, queue: QueueProcess, topic: str) -> None:
        self.queue, self.topic = queue, topic
        self.transcript: list[str] = []
        self._clients: list[Client] = []
        self._ids: list[bytes] = []

    def note(self, line: str) -> None:
        """Add a line to the transcript."""
        for number, id in enumerate(self._ids):
            line = line.replace(id.decode("latin-1"), f"{{id{number}}}")
        self.transcript.append(masked(line, self.queue))

    def know(self, id: bytes) -> None:
        """A message with this id came."""
        if id not in self._ids:
            self._ids.append(id)

    def filled(self, piece: bytes) -> bytes:
        """The bytes with the topic and the ids in their places."""
        piece = piece.replace(b"{topic}", self.topic.encode())
        for number, id in enumerate(self._ids):
            piece = piece.replace(b"{id%d}" % number, id)
        return piece

    # TCP.

    def client(self, magic: bytes = MAGIC) -> Client:
        """A new connection."""
        client = Client(self, "abc"[len(self._clients)], magic)
        self._clients.append(client)
        return client

    def identified(self, **settings: object) -> Client:
        """A new connection, after an IDENTIFY whose answer is not written down."""
        client = self.client().say(identify(**settings))
        client.hears()
        self.transcript.pop()
        return client

    def subscriber(self, ready: int = 1, channel: bytes = b"c", **settings: object) -> Client:
        """A new connection, after IDENTIFY, SUB and RDY. What answers IDENTIFY is not written down."""
        settings = {"output_buffer_timeout": 25} | settings  # so that nsqd holds no message back for long
        client = self.identified(**settings).say(b"SUB {topic} %b\n" % channel).hears()
        return client.say(b"RDY %d\n" % ready) if ready else client

    # HTTP.

    def http(
        self, method: str, target: str, *lines: str, body: bytes = b"", length: int | None = None
    ) -> "Talk":
        """A request with these header lines. `length`: another Content-Length than the body's."""
        size = len(body) if length is None else length
        extent = [f"Content-Length: {size}"] if body or length is not None else []
        head = [f"{method} {target} HTTP/1.1", "Host: {http_address}", *lines, *extent, "", ""]
        return self.raw_http("\r\n".join(head).encode("latin-1") + self.filled(body))

    def raw_http(self, request: bytes, *, answers: int = 1, whole: bool = False) -> "Talk":
        """Send these bytes, and write down so many answers, and whether the connection stays open.

        `whole`: write down all headers, also those of `masks.HEADERS_LEFT_OUT`.
        """
        request = self.filled(request).replace(b"{http_address}", self.queue.http_address.encode())
        methods = [line.split(b" ")[0] for line in request.split(b"\r\n") if line.endswith(b" HTTP/1.1")]
        wire = HttpWire(self.queue.http_address)
        with contextlib.closing(wire):
            wire.send(request)
            for number in range(answers):
                if not self._write_down(wire, methods[number : number + 1] == [b"HEAD"], whole):
                    return self
            wire.send(b"GET /ping HTTP/1.1\r\nHost: %b\r\n\r\n" % self.queue.http_address.encode())
            with contextlib.suppress(EOFError, TimeoutError):
                wire.answer(False, time.monotonic() + PATIENCE_S)
                self.note("http stays open")
                return self
            self.note("http ends")
        return self

    def post(self, target: str, body: bytes = b"") -> None:
        """A request that is not written down and has to be answered 200."""
        self.queue.post(target.replace("{topic}", self.topic), body)

    def stats(self, query: str = "") -> "Talk":
        """Ask for the figures of the topic as JSON."""
        return self.http("GET", f"/stats?format=json&include_mem=false&topic={self.topic}{query}")

    def until(self, holds: Callable[[dict[str, Any]], object]) -> None:
        """Wait until this holds of the topic's figures: nsqd moves messages in its own time."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            topic = self.queue.topic(self.topic)
            if topic is not None and holds(topic):
                return
            time.sleep(0.01)
        self.note("what was waited for did not come")

    def _write_down(self, wire: HttpWire, is_head: bool, whole: bool) -> bool:
        try:
            status, headers, body = wire.answer(is_head, time.monotonic() + PATIENCE_S)
        except TimeoutError:
            self.note("http hears nothing")
            return False
        except EOFError:
            self.note("http hears the end")
            return False
        self.note(f"http hears {status}")
        for line in shown_headers(headers, whole):
            self.note(f"http hears {line}")
        for text in body.decode("latin-1").split("\n"):
            self.note(f"http hears | {text}")
        return True

    def close(self) -> None:
        """Close what is open, and delete the topics that are not another conversation's."""
        for client in self._clients:
            client.leaves()
        for name in [topic["topic_name"] for topic in self.queue.stats()["topics"] or []]:
            if name.startswith(self.topic) or not name.startswith(TOPIC):
                self.queue.http("POST", f"/topic/delete?topic={name.replace('#', '%23')}")


def identify(**settings: object) -> bytes:
    """An IDENTIFY with features negotiated."""
    return b"IDENTIFY\n" + sized(json.dumps({"feature_negotiation": True} | settings).encode())


def spoken(name: str, *pieces: bytes) -> Conversation:
    """One client says this, then goodbye; the answers, and whether the connection had ended before."""
    return Conversation(name, lambda talk: talk.client().say(*pieces).ends())
