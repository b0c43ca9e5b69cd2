"""Which connection of a full listener gives way to a new one. Pure."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain
from typing import Generic, TypeVar

One = TypeVar("One")


class Crowd(Generic[One]):
    """The connections of one listener. One that waits for a request is idle, from its first moment on.

    One whose request does not end, or whose answer is not read, gives way where none is idle: else a few
    programs that leave it at that fill a listener.
    """

    def __init__(self) -> None:
        # Each in the order in which they became so; the value means nothing.
        self._idle: dict[One, None] = {}
        self._hanging: dict[One, None] = {}
        self._busy: dict[One, None] = {}

    def waits(self, one: One) -> bool:
        """Note that a connection waits for a request. Returns whether it is its first."""
        was_here = self._leaves(one)
        self._idle[one] = None
        return not was_here

    def hangs(self, one: One) -> None:
        """Note that a request has begun and not ended, or that its answer is made and not read."""
        if self._leaves(one):
            self._hanging[one] = None

    def works(self, one: One) -> None:
        """Note that a connection has sent a request to its end."""
        if self._leaves(one):
            self._busy[one] = None

    def gone(self, one: One) -> None:
        """Note that a connection is closed."""
        self._leaves(one)

    def longest_idle(self) -> One | None:
        """The connection that has been idle for the longest time, else hanging; None if all are busy."""
        return next(chain(self._idle, self._hanging), None)

    def _leaves(self, one: One) -> bool:
        for some in (self._idle, self._hanging, self._busy):
            if one in some:
                del some[one]
                return True
        return False


def most_of(peers: Iterable[str]) -> str:
    """Say which address most connections are from. `peers`: the address of each, at least one."""
    peer, count = Counter(peers).most_common(1)[0]
    return f"{count} of them from {peer}"
