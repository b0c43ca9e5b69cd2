"""Carries effects out, one after the other. While a store can't be written for now (a full disk), what comes
waits behind it, and the process goes on to answer: nothing is done before what stands before it is durable.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from ..core.effects import Send
from ..system.exits import NotWritten

log = logging.getLogger(__name__)

RETRY_S = 0.5

Effect = TypeVar("Effect")


class Performer(Generic[Effect]):
    """The effects of one actor that are still to be carried out; at most what NSQ's flow control lets in."""

    def __init__(self, carry_out: Callable[[Effect], None], done: Callable[[], None] = lambda: None):
        """`carry_out` may raise `NotWritten`, and is called again. `done`: nothing is left to do."""
        self._carry_out = carry_out
        self._done = done
        self._todo: deque[Effect] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry these out after all that were given before. Raises `StoreFailure`."""
        self._todo.extend(effects)
        if self._retry is None:
            self._go_on()

    def forget(self, peer: str) -> None:
        """A peer is gone: what it has not been told is not for the next one, who counts anew."""
        self._todo = deque(one for one in self._todo if not (isinstance(one, Send) and one.peer == peer))

    def _go_on(self) -> None:
        self._retry = None
        while self._todo:
            try:
                self._carry_out(self._todo[0])
            except NotWritten as failure:
                log.error("%s, trying again: nothing is lost", failure)
                self._retry = asyncio.get_running_loop().call_later(RETRY_S, self._go_on)
                return
            self._todo.popleft()
        self._done()
