"""Carries effects out, one after the other: no effect overtakes another.

While one can't be carried out for now (a full disk), the others wait behind it, and the process goes on to
answer.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from .loop import Timer

RETRY_S = 0.5

Effect = TypeVar("Effect")


class EffectQueue(Generic[Effect]):
    """The effects of one actor that are still to be carried out."""

    def __init__(
        self,
        carry_out: Callable[[Effect], None],
        retry_on: type[Exception],
        call_later: Callable[[float, Callable[[], None]], Timer],
        tried: Callable[[Exception | None], None],
        done: Callable[[], None] = lambda: None,
    ):
        """`carry_out` that raises `retry_on` is called again with the same effect, after `RETRY_S` seconds by
        `call_later`, which is `Host.call_later`. `tried` is called with each such failure, and with None when
        the effect is carried out after failures. `done` is called when no effect is left.
        """
        self._carry_out = carry_out
        self._retry_on = retry_on
        self._call_later = call_later
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
        while self._todo:
            try:
                self._carry_out(self._todo[0])
            except self._retry_on as failure:
                self._retry = self._call_later(RETRY_S, self._go_on)
                self._tried(failure)
                return
            self._todo.popleft()
            if failed:
                failed = False
                self._tried(None)
        self._done()
