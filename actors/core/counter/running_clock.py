"""The time in which a ledger's messages can be finished: a redelivery is recognised for so long. Pure.

It is in milliseconds since the ledger was made, over all lives of its counter. It runs while a counter does,
and stands still while the disk takes no commit: then nothing is finished on nsqd, and all of it comes again.
"""


class RunningClock:
    """The clock of one ledger. Callers pass the monotonic time in milliseconds."""

    def __init__(self, ran_ms: int, now_ms: int):
        """`ran_ms`: what the last commit has stored."""
        self._began_ms = now_ms - ran_ms
        self._stood_ms: int | None = None  # since when it stands still

    def ran_ms(self, now_ms: int) -> int:
        """How long it has run."""
        return (now_ms if self._stood_ms is None else self._stood_ms) - self._began_ms

    def stand_still(self, now_ms: int) -> None:
        """Stand still from now on: the disk takes no commit."""
        if self._stood_ms is None:
            self._stood_ms = now_ms

    def go_on(self, now_ms: int) -> None:
        """Run again: the disk takes commits."""
        if self._stood_ms is not None:
            self._began_ms += now_ms - self._stood_ms
            self._stood_ms = None
