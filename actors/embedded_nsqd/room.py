"""Which TCP connection gives way to a new one when the listener is full. Pure."""

from typing import Generic, TypeVar

from ..system.crowd import Crowd

One = TypeVar("One")


class Room(Generic[One]):
    """The connections. First one gives way that never sent a command, then one that sent none for longest.

    A client that has subscribed never gives way: it waits for messages, and may hold some.
    """

    def __init__(self) -> None:
        self._new: Crowd[One] = Crowd()
        self._known: Crowd[One] = Crowd()

    def enter(self, one: One) -> None:
        """Note a new connection."""
        self._new.waits(one)

    def act(self, one: One, *, is_subscribed: bool) -> None:
        """Note that a connection has sent a command. An answer to a heartbeat is one, too."""
        self._new.gone(one)
        self._known.waits(one)
        if is_subscribed:
            self._known.works(one)

    def leave(self, one: One) -> None:
        """Note that a connection is closed."""
        self._new.gone(one)
        self._known.gone(one)

    def first_to_go(self) -> One | None:
        """The connection that gives way; None if all have subscribed."""
        return self._new.longest_idle() or self._known.longest_idle()
