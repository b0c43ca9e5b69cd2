"""nsqd as far as the protocol can tell: it gives messages at least once, on connections that break.

In memory: real frames out, FINs in. It forgets a message only when it is finished on the connection
that holds it, and not for good: a restart brings back what it finished last.
"""

import struct
from random import Random

from .clock import START_MS

MESSAGE_TYPE = 2
MAX_READY_COUNT = 2500
NODE = 7  # of both: the ids of two nsqds collide, only their names tell the messages apart


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
    """One nsqd with one channel. `source` is what the consumer calls it."""

    def __init__(self, source: str):
        self.source = source
        self.messages: dict[bytes, Message] = {}
        self.ready: dict[int, int] = {}
        self._waiting: list[Message] = []
        self._held: dict[int, dict[bytes, Message]] = {}
        self._finished: list[Message] = []
        self._number = 0

    def put(self, now_ms: int, age_ms: int, body: bytes) -> int:
        """A message arrives and is acknowledged: its number. Numbers grow with time, as NSQ's do."""
        pseudo_ms = (START_MS + now_ms) * 1_000_000 >> 20
        self._number = max(self._number + 1, pseudo_ms << 22 | NODE << 12)
        message = Message(self._number, (START_MS + now_ms - age_ms) * 1_000_000, body)
        self.messages[message.id] = message
        self._waiting.append(message)
        return self._number

    def connect(self, connection: int) -> None:
        """A consumer is there; it is given nothing before its RDY."""
        self._held[connection] = {}
        self.ready[connection] = 0

    def disconnect(self, connection: int) -> None:
        """A consumer is gone: what it held waits again."""
        self.ready.pop(connection, None)
        self._waiting += self._held.pop(connection, {}).values()

    def give(self, connection: int, random: Random) -> list[Message]:
        """What waits, as far as RDY allows; often in order, as nsqd's is not promised."""
        held = self._held[connection]
        room = self.ready[connection] - len(held)
        if room <= 0 or not self._waiting:
            return []
        if random.random() < 0.2:
            random.shuffle(self._waiting)
        given, self._waiting = self._waiting[:room], self._waiting[room:]
        held.update((message.id, message) for message in given)
        return given

    def time_out(self, connection: int, given: list[Message]) -> None:
        """These were held too long: what of them is not finished waits again."""
        held = self._held.get(connection, {})
        self._waiting += [held.pop(message.id) for message in given if message.id in held]

    def held(self, connection: int) -> list[Message]:
        """What is in flight on a connection."""
        return list(self._held.get(connection, {}).values())

    def finish(self, connection: int, ids: list[bytes]) -> None:
        """FIN. Of a message that this connection does not hold it fails, as nsqd's E_FIN_FAILED."""
        held = self._held.get(connection, {})
        for message_id in ids:
            if held.pop(message_id, None) is not None:
                self._finished.append(self.messages.pop(message_id))

    def restart(self, replayed: int) -> None:
        """It dies and is back: no connection, and the last that it finished wait again."""
        for connection in list(self._held):
            self.disconnect(connection)
        for message in self._finished[len(self._finished) - min(replayed, len(self._finished)) :]:
            self.messages[message.id] = message
            self._waiting.append(message)
        self._finished.clear()
