"""nsqd as far as the protocol can tell: it gives messages at least once, on connections that break.

Pure and in memory: bytes out (real NSQ frames), FINs in. It forgets a message only when it is
finished on the connection that holds it; everything else comes again, now or later, in any order.
"""

import struct
from random import Random

MESSAGE_TYPE = 2


class Message:
    """One message on the queue: its id as NSQ writes it, its stamp, its body."""

    def __init__(self, number: int, arrived_ns: int, body: bytes):
        self.id = b"%016x" % number
        self.arrived_ns = arrived_ns
        self.body = body

    def frame(self, attempts: int) -> bytes:
        """The message as nsqd sends it."""
        head = struct.pack(">qH", self.arrived_ns, min(attempts, 65_535))
        data = head + self.id + self.body
        return struct.pack(">ii", 4 + len(data), MESSAGE_TYPE) + data


class SimulatedQueue:
    """One nsqd with one channel. `source` is what the consumer calls it."""

    def __init__(self, source: str, first_number: int):
        self.source = source
        self.messages: dict[bytes, Message] = {}
        self._next_number = first_number
        self._waiting: list[bytes] = []
        self._held: dict[int, list[bytes]] = {}

    def put(self, body: bytes, arrived_ns: int) -> Message:
        """A message arrives. Ids grow; two queues give the same ones."""
        message = Message(self._next_number, arrived_ns, body)
        self._next_number += 1
        self.messages[message.id] = message
        self._waiting.append(message.id)
        return message

    @property
    def empty(self) -> bool:
        """Whether all is finished."""
        return not self.messages

    @property
    def has_waiting(self) -> bool:
        """Whether there is something to give."""
        return bool(self._waiting)

    def connect(self, connection: int) -> None:
        """A consumer is there."""
        self._held[connection] = []

    def disconnect(self, connection: int) -> None:
        """A consumer is gone: what it held waits again."""
        for message_id in self._held.pop(connection):
            if message_id in self.messages and message_id not in self._waiting:
                self._waiting.append(message_id)

    def time_out(self, connection: int, random: Random) -> None:
        """Some of what a connection holds has been held too long: it waits again."""
        held = self._held[connection]
        for message_id in [one for one in held if random.random() < 0.5]:
            held.remove(message_id)
            self._waiting.append(message_id)

    def give(self, connection: int, messages_max: int, random: Random) -> bytes:
        """Some waiting messages, as the bytes of one or several frames."""
        if random.random() < 0.3:
            random.shuffle(self._waiting)
        given, self._waiting = self._waiting[:messages_max], self._waiting[messages_max:]
        self._held[connection] += given
        return b"".join(self.messages[one].frame(random.randint(1, 9)) for one in given)

    def finish(self, connection: int, ids: list[bytes]) -> None:
        """FIN. Of a message that this connection does not hold it fails, as nsqd's E_FIN_FAILED."""
        held = self._held.get(connection, [])
        for message_id in ids:
            if message_id in held:
                held.remove(message_id)
                del self.messages[message_id]
