"""The pipes between the simulated actors: real bytes of real messages, cut anywhere, broken for good.

What a killed actor had written may be read to the end, or breaks off at any byte; what was written to
it is lost. The supervisor hands the ends of a fresh link to two actors at two moments, and an end may
come before the end of the old link was noticed: then the old one is lost first, as `actor.py` has it.
"""

from random import Random
from typing import Any

from actors.core.counter.rules import CONSUMER, DISPATCHER
from actors.core.messages import ConsumerInbox, CounterInbox, DispatcherInbox
from actors.supervision.mailbox import Decoder, encode

INBOXES = {CONSUMER: ConsumerInbox, DISPATCHER: DispatcherInbox}


class End:
    """One end of a link: what its owner has yet to read of what the other wrote."""

    def __init__(self, owner: Any):
        self.owner = owner
        self.other: End
        self.ended = False  # the other end is closed
        self.read_is_due = False
        self._unread = b""
        self._decoder = Decoder(INBOXES.get(owner.name, CounterInbox))

    @property
    def peer(self) -> str:
        """Whose the other end is."""
        return self.other.owner.name

    @property
    def is_over(self) -> bool:
        """Whether the next read finds the end."""
        return self.ended and not self._unread

    @property
    def has_unread(self) -> bool:
        """Whether something waits, be it the end."""
        return self.ended or bool(self._unread)

    def write(self, message: Any) -> None:
        """Put a message into the pipe. To an end that is closed it is dropped."""
        if not self.ended:
            self.other._unread += encode(message)

    def read(self, random: Random) -> list[Any]:
        """What is there, or the first part of it: the messages that it completes."""
        size = len(self._unread)
        cut = size if random.random() < 0.7 else random.randint(0, size)
        data, self._unread = self._unread[:cut], self._unread[cut:]
        return self._decoder.feed(data) if data else []

    def break_off(self, random: Random) -> None:
        """The other end's owner was killed: some of what it wrote may not have got into the pipe."""
        self.ended = True
        if random.random() < 0.5:
            self._unread = self._unread[: random.randint(0, len(self._unread))]


def link(one: Any, other: Any) -> tuple[End, End]:
    """A fresh link between two incarnations."""
    first, second = End(one), End(other)
    first.other, second.other = second, first
    return first, second
