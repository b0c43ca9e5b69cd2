"""Calls an actor at a time that its rules name, and may move."""

from collections.abc import Callable

from .actor import Host
from .loop import Timer


class Alarm:
    """One call to come. If its time is moved out or taken back, the timer stays and finds nothing to do then.

    That costs less than a new timer for each time, unless it wakes the process for nothing each time.
    """

    def __init__(self, host: Host, call: Callable[[], None], cancels: bool = False):
        """`call`: what to do when the time has come. `cancels`: the time is mostly taken back before that, so
        the timer goes with it.
        """
        self._cancels = cancels
        self._host = host
        self._call = call
        self._due_ms: int | None = None
        self._timer: Timer | None = None
        self._timer_ms = 0  # when the timer ends

    def set(self, due_ms: int | None) -> None:
        """Call once at this time of `Host.monotonic_ms`, in place of the time before; None: don't call."""
        self._due_ms = due_ms
        if due_ms is None and self._cancels and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due_ms is None or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        delay_ms = max(0, due_ms - self._host.monotonic_ms())
        self._timer = self._host.call_later(delay_ms / 1000, self._ring)

    def _ring(self) -> None:
        self._timer, due_ms = None, self._due_ms
        if due_ms is None:
            return
        if self._host.monotonic_ms() < due_ms:
            self.set(due_ms)
            return
        self._due_ms = None
        self._call()
