"""When an address is tried again: after a second, then after twice as long each time, with some luck.

Pure: callers pass the time, and the random numbers.
"""

from random import Random

FIRST_S = 1.0
LONGEST_S = 4.0
JITTER = 0.25  # a wait is longer by up to this part of it, so that not all come back at one moment


class Retries:
    """The addresses that failed. An address that was never tried is due at once."""

    def __init__(self, random: Random):
        self._random = random
        self._waits_s: dict[str, float] = {}
        self._due_s: dict[str, float] = {}

    def is_due(self, address: str, now_s: float) -> bool:
        """Whether to try this address now."""
        return now_s >= self._due_s.get(address, now_s)

    def failed(self, address: str, now_s: float) -> None:
        """A connection could not be made, or was lost."""
        wait_s = self._waits_s.get(address, FIRST_S)
        self._waits_s[address] = min(LONGEST_S, 2 * wait_s)
        self._due_s[address] = now_s + wait_s * self._random.uniform(1, 1 + JITTER)

    def worked(self, address: str) -> None:
        """A connection works: the next failure is the first one again."""
        self._waits_s.pop(address, None)
