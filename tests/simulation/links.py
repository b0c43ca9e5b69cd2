"""The pipes between the simulated actors: real bytes of real messages, which may be cut at any byte.

After a kill, the bytes that the killed actor had written are read to the end or break off anywhere. The
bytes that were written to it are lost. The supervisor hands the two ends of a new link to two actors at two
moments. So an end may come before its actor has noticed the end of the old link. Then the old link is lost
first, as in `actor.py`.
"""

from random import Random
from typing import Any

from actors.core.messages import ConsumerInbox, CounterInbox, DispatcherInbox
from actors.supervision.mailbox import Decoder, encode

INBOXES = {"consumer": ConsumerInbox, "counter": CounterInbox, "dispatcher": DispatcherInbox}


class End:
    """One end of a link: the bytes that its owner has not read yet."""

    def __init__(self, owner: Any):
        self.owner = owner
        self.other: End
        self.ended = False  # the other end is closed
        self.read_is_due = False
        self._unread = b""
        self._decoder = Decoder(INBOXES[owner.name.partition("-")[0]])

    @property
    def peer(self) -> str:
        """The owner of the other end."""
        return self.other.owner.name

    @property
    def is_over(self) -> bool:
        """Whether the next read finds the end of the link."""
        return self.ended and not self._unread

    @property
    def has_unread(self) -> bool:
        """Whether there is something to read, or the end of the link."""
        return self.ended or bool(self._unread)

    def write(self, message: Any) -> None:
        """Put a message into the pipe. It is dropped if the other end is closed."""
        if not self.ended:
            self.other._unread += encode(message)

    def read(self, random: Random) -> list[Any]:
        """Read all bytes, or the first part of them. Returns the messages that they complete."""
        size = len(self._unread)
        cut = size if random.random() < 0.7 else random.randint(0, size)
        data, self._unread = self._unread[:cut], self._unread[cut:]
        return self._decoder.feed(data) if data else []

    def break_off(self, random: Random) -> None:
        """The other end's owner was killed: drop a random part of its last bytes."""
        self.ended = True
        if random.random() < 0.5:
            self._unread = self._unread[: random.randint(0, len(self._unread))]


def link(one: Any, other: Any) -> tuple[End, End]:
    """A new link between two incarnations."""
    first, second = End(one), End(other)
    first.other, second.other = second, first
    return first, second
