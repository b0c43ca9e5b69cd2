"""The clock of the window of seen messages. It runs only while a ledger works. Pure.

It stands still while the service doesn't run, and while the disk takes no commit: nothing is finished on nsqd
then, and all of it comes again.
"""


class WindowClock:
    """How long a ledger has worked, in ms. `now_ms` is monotonic everywhere."""

    def __init__(self, ran_ms: int, now_ms: int):
        """`ran_ms`: how long it had worked before."""
        self._began_ms = now_ms - ran_ms
        self._stood_ms: int | None = None  # since when it stands still

    def ran_ms(self, now_ms: int) -> int:
        """How long the ledger has worked."""
        return (now_ms if self._stood_ms is None else self._stood_ms) - self._began_ms

    def stand_still(self, now_ms: int) -> None:
        """Stand still from now on."""
        if self._stood_ms is None:
            self._stood_ms = now_ms

    def go_on(self, now_ms: int) -> None:
        """Run again."""
        if self._stood_ms is not None:
            self._began_ms += now_ms - self._stood_ms
            self._stood_ms = None
