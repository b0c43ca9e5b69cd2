"""Decides whether the new one of two checkouts is slower, by ratios that were measured in pairs. Pure.

A pair's ratio is new/old. One noisy pair decides nothing: the result is "slower" only if the lower quartile
is above the limit. The lower quartile of nine ratios is the middle between the second and the third from
below. The side that goes first alternates, so that both pay the cost of going first equally often.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SLOWER_ABOVE = 1.03
SIDES = ("old", "new")


@dataclass(frozen=True)
class Judged:
    """The median and the quartiles of the ratios."""

    lower: float
    median: float
    upper: float

    @property
    def slower(self) -> bool:
        """Whether the new side is slower: the lower quartile is above the limit."""
        return self.lower > SLOWER_ABOVE

    @property
    def verdict(self) -> str:
        """`slower` in words."""
        return "slower" if self.slower else "not slower"


def judge(ratios: Sequence[float]) -> Judged:
    """The quartiles of at least one ratio.

    As `statistics.quantiles` does by default, this takes the ratios as a sample of all possible ones.
    """
    if len(ratios) == 1:
        return Judged(ratios[0], ratios[0], ratios[0])
    return Judged(*statistics.quantiles(ratios, n=4))


def turns(pair: int, rounds: int) -> list[tuple[str, str]]:
    """Which side goes first and which second in each round of a pair. Pairs and rounds count from 0."""
    old, new = SIDES
    return [(old, new) if (pair + number) % 2 == 0 else (new, old) for number in range(rounds)]
