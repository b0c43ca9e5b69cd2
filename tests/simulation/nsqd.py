"""A simulated nsqd: it delivers messages at least once, on connections that break.

It is in memory: real frames out, FINs in. It forgets a message only when the message is finished on the
connection that holds it. A restart brings back the messages that were finished last.

It counts the messages in flight on each connection, and that count can be wrong. After a crash it may have
messages twice under one id. When both copies are in flight on one connection, it counts both, and the FIN of
the second copy fails, so that one copy stays counted for ever. For a new connection the count begins at 0.
"""

import struct
from random import Random

from .clock import START_MS

MESSAGE_TYPE = 2
MAX_READY_COUNT = 2500


class Message:
    """One message on the queue: its id as NSQ writes it, its stamp, its body."""

    __slots__ = ("attempts", "body", "id", "stamp_ns")

    def __init__(self, number: int, stamp_ns: int, body: bytes):
        self.id = b"%016x" % number
        self.stamp_ns = stamp_ns
        self.body = body
        self.attempts = 0

    def frame(self) -> bytes:
        """The message as nsqd sends it."""
        self.attempts += 1
        data = struct.pack(">qH", self.stamp_ns, self.attempts) + self.id + self.body
        return struct.pack(">ii", 4 + len(data), MESSAGE_TYPE) + data


class Nsqd:
    """One nsqd with one channel. `name`: which one it is, wherever it listens.

    Two with one node id give the same ids: only the source tells such messages apart.
    """

    def __init__(self, name: str, node: int):
        self.name = name
        self.node = node
        self._moves = 0
        self.messages: dict[bytes, Message] = {}
        self.ready: dict[int, int] = {}
        self._waiting: list[Message] = []
        self._held: dict[int, dict[bytes, Message]] = {}
        self._in_flight: dict[int, int] = {}
        self._finished: list[Message] = []
        self._number = 0
        self._back_ms = 0
        self._times_set_back = 0

    @property
    def source(self) -> str:
        """Its address and the topic, as the consumer has them."""
        return f"{self.name}:{4150 + self._moves}/plays"

    def move(self) -> None:
        """Listen at another address from now on."""
        self._moves += 1

    def put(self, now_ms: int, age_ms: int, body: bytes) -> Message:
        """Add a message. Ids grow with nsqd's clock, as NSQ's do.

        Messages that get the same id after the clock was set back have stamps that differ by a nanosecond.
        """
        pseudo_ms = (START_MS + now_ms - self._back_ms) * 1_000_000 >> 20
        self._number = max(self._number + 1, pseudo_ms << 22 | self.node << 12)
        while b"%016x" % self._number in self.messages:
            self._number += 1  # a real nsqd would mix up two that it has at once
        stamp_ns = (START_MS + now_ms - age_ms) * 1_000_000 + self._times_set_back
        message = Message(self._number, stamp_ns, body)
        self.messages[message.id] = message
        self._waiting.append(message)
        return message

    def set_back(self, by_ms: int) -> None:
        """Its clock was set back while it did not run: from now on it gives ids again."""
        self._back_ms += by_ms
        self._times_set_back += 1
        self._number = 0

    def connect(self, connection: int) -> None:
        """Connect a consumer. It gets no message before its RDY."""
        self._held[connection] = {}
        self._in_flight[connection] = 0
        self.ready[connection] = 0

    def disconnect(self, connection: int) -> None:
        """Disconnect a consumer: the messages that it held wait again."""
        self.ready.pop(connection, None)
        self._in_flight.pop(connection, None)
        self._waiting += self._held.pop(connection, {}).values()

    def give(self, connection: int, random: Random) -> list[Message]:
        """Deliver waiting messages, as many as RDY allows. Often in order, which nsqd does not promise."""
        room = self.ready[connection] - self._in_flight[connection]
        if room <= 0 or not self._waiting:
            return []
        if random.random() < 0.2:
            random.shuffle(self._waiting)
        given, self._waiting = self._waiting[:room], self._waiting[room:]
        self._in_flight[connection] += len(given)
        for message in given:
            if not any(message.id in held for held in self._held.values()):
                self._held[connection][message.id] = message
        return given

    def time_out(self, connection: int, given: list[Message]) -> None:
        """The timeout of these messages is over: those that are not finished wait again."""
        held = self._held.get(connection, {})
        timed_out = [held.pop(message.id) for message in given if message.id in held]
        self._waiting += timed_out
        if connection in self._in_flight:
            self._in_flight[connection] -= len(timed_out)

    def held(self, connection: int) -> list[Message]:
        """The messages in flight on a connection."""
        return list(self._held.get(connection, {}).values())

    def finish(self, connection: int, ids: list[bytes]) -> list[bytes]:
        """FIN. It fails for a message that this connection does not hold. Returns the ids of those."""
        held, failed = self._held.get(connection, {}), []
        for message_id in ids:
            message = held.pop(message_id, None)
            if message is None:
                failed.append(message_id)
                continue
            self._in_flight[connection] -= 1
            if self.messages.pop(message_id, None) is not None:  # else its other copy was finished before
                self._finished.append(message)
        return failed

    def leak(self, connection: int, messages: int) -> None:
        """Count so many messages too many in flight on a connection."""
        self._in_flight[connection] += messages

    @property
    def depth(self) -> int:
        """The messages that wait, as /stats says."""
        return len(self._waiting)

    def restart(self, replayed: int, twice: bool = False) -> None:
        """Die and come back: no connection is left, and the messages that were finished last wait again.

        `twice`: this was a crash, and each message that waits is there twice.
        """
        for connection in list(self._held):
            self.disconnect(connection)
        for message in self._finished[len(self._finished) - min(replayed, len(self._finished)) :]:
            self.messages[message.id] = message
            self._waiting.append(message)
        self._finished.clear()
        if twice:
            self._waiting = [message for message in self._waiting for _ in range(2)]
