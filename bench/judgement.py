"""When one of two checkouts is slower: a rule over ratios that were measured in pairs. Pure.

A pair's ratio is new/old. One noisy pair decides nothing: "slower" needs the lower quartile above the limit,
which of nine ratios is the middle between the second and the third from below. Who goes first alternates, so
that what the first one always pays falls on both.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLOWER_ABOVE = 1.03
SIDES = ("old", "new")


@dataclass(frozen=True)
class Judged:
    """Ratios by their median and quartiles."""

    lower: float
    median: float
    upper: float

    @property
    def slower(self) -> bool:
        """Whether three quarters of the ratios say so."""
        return self.lower > SLOWER_ABOVE

    @property
    def verdict(self) -> str:
        """The same in words."""
        return "slower" if self.slower else "not slower"


def judge(ratios: Sequence[float]) -> Judged:
    """The quartiles of at least one ratio, as `statistics.quantiles` has them: those of all the ratios that
    could have been measured, of which these are a few.
    """
    if len(ratios) == 1:
        return Judged(ratios[0], ratios[0], ratios[0])
    return Judged(*statistics.quantiles(ratios, n=4))


def turns(pair: int, rounds: int) -> list[tuple[str, str]]:
    """Who goes first and who second in each round of a pair; both are counted from 0."""
    old, new = SIDES
    return [(old, new) if (pair + number) % 2 == 0 else (new, old) for number in range(rounds)]
