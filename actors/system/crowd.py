"""Which connection of a full listener gives way to a new one. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

One = TypeVar("One")


class Crowd(Generic[One]):
    """The connections of one listener. One that waits for a request is idle, from its first moment on."""

    def __init__(self) -> None:
        self._idle: dict[One, bool] = {}  # in the order in which they became idle or busy

    def waits(self, one: One) -> bool:
        """Note that a connection waits for a request. Returns whether it is its first."""
        is_first = self._idle.pop(one, None) is None
        self._idle[one] = True
        return is_first

    def works(self, one: One) -> None:
        """Note that a connection has sent a request."""
        if self._idle.pop(one, None) is not None:
            self._idle[one] = False

    def gone(self, one: One) -> None:
        """Note that a connection is closed."""
        self._idle.pop(one, None)

    def longest_idle(self) -> One | None:
        """The connection that has been idle for the longest time; None if all are busy."""
        return next((one for one, is_idle in self._idle.items() if is_idle), None)


def most_of(peers: Iterable[str]) -> str:
    """Say which address most connections are from. `peers`: the address of each, at least one."""
    peer, count = Counter(peers).most_common(1)[0]
    return f"{count} of them from {peer}"
