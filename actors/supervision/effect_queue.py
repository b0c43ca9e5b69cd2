"""Carries effects out, one after the other: no effect overtakes another.

While one can't be carried out for now (a full disk), the others wait behind it, and the process goes on to
answer.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from .loop import Timer

RETRY_S = 0.5

Effect = TypeVar("Effect")


class EffectHost(Protocol):
    """What a queue of effects needs of its actor's `Host`."""

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        """Call that after this many seconds, unless the timer is cancelled."""

    def cork(self) -> None:
        """Hold back what is sent from now on."""

    def uncork(self) -> None:
        """Write what was held back."""


class EffectQueue(Generic[Effect]):
    """The effects of one actor that are still to be carried out."""

    def __init__(
        self,
        carry_out: Callable[[Effect], None],
        retry_on: type[Exception],
        host: "EffectHost",
        tried: Callable[[Exception | None], None],
        done: Callable[[], None] = lambda: None,
    ):
        """`carry_out` that raises `retry_on` is called again with the same effect, after `RETRY_S` seconds.
        `tried` is called with each such failure, and with None when the effect is carried out after failures.
        `done` is called when no effect is left. What `carry_out` sends is held back until the last effect
        that can be carried out now.
        """
        self._carry_out = carry_out
        self._retry_on = retry_on
        self._host = host
        self._tried = tried
        self._done = done
        self._todo: deque[Effect] = deque()
        self._retry: Timer | None = None

    def perform(self, effects: Iterable[Effect]) -> None:
        """Carry these out after all given before. Raises what `carry_out` raises, but for `retry_on`."""
        self._todo.extend(effects)
        if self._retry is None:
            self._go_on()

    def forget(self, is_obsolete: Callable[[Effect], bool]) -> None:
        """Drop the effects that are not carried out yet and are obsolete now."""
        self._todo = deque(one for one in self._todo if not is_obsolete(one))

    def _go_on(self) -> None:
        failed, self._retry = self._retry is not None, None
        self._host.cork()
        try:
            while self._todo:
                try:
                    self._carry_out(self._todo[0])
                except self._retry_on as failure:
                    self._retry = self._host.call_later(RETRY_S, self._go_on)
                    self._tried(failure)
                    return
                self._todo.popleft()
                if failed:
                    failed = False
                    self._tried(None)
            self._done()
        finally:
            self._host.uncork()
