"""How fast plays were counted and publishes made, over the last minutes, as a line of bars. Pure.

Callers pass the time in seconds since 1970. A rate is known from one status to the next, and for the time of
which the service told its history. Where nothing is known, a line has a gap.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

BARS = "▁▂▃▄▅▆▇█"
GAP = " "
STEP_S = 5.0  # of one bar
STRETCHES_MAX = 4_000  # an hour of a status each second, and the history of an hour


class Stretch(NamedTuple):
    """What was done from one time to another."""

    from_s: float
    to_s: float
    plays_per_s: float
    publishes_per_minute: float


class Rates:
    """The rates of the last hour."""

    def __init__(self) -> None:
        self._stretches: deque[Stretch] = deque(maxlen=STRETCHES_MAX)
        self._last: tuple[float, int, int] | None = None  # when, plays, publishes

    def note(self, now_s: float, plays: int, publishes: int) -> None:
        """Note what a status says. A restarted service counts some things from 0 again: that makes a gap."""
        if self._last is not None:
            then_s, plays_before, publishes_before = self._last
            seconds, more_plays, more = now_s - then_s, plays - plays_before, publishes - publishes_before
            if seconds > 0 and more_plays >= 0 and more >= 0:
                stretch = Stretch(then_s, now_s, more_plays / seconds, more / seconds * 60)
                self._stretches.append(stretch)
        self._last = now_s, plays, publishes

    def interrupted(self) -> None:
        """The service did not answer: what it does meanwhile is not known."""
        self._last = None

    def told(self, history: Mapping[str, Any]) -> None:
        """Take in what GET /history answers, for the time before the first status."""
        step_s, times_s = float(history["step_s"]), history["times_s"]
        series: Mapping[str, Sequence[float | None]] = history["series"]
        begin_s = self._stretches[0].from_s if self._stretches else float("inf")
        of_publishes = [values for name, values in series.items() if name.startswith("publishes_per_minute")]
        older = [
            Stretch(at_s, at_s + step_s, plays, sum(values[place] or 0.0 for values in of_publishes))
            for place, (at_s, plays) in enumerate(zip(times_s, series["counted_per_s"], strict=True))
            if plays is not None and at_s + step_s <= begin_s
        ]
        self._stretches.extendleft(reversed(older))

    def plays(self, now_s: float, columns: int) -> str:
        """The bars of plays a second, the present one last."""
        return bars(self._averages(now_s, columns, [one.plays_per_s for one in self._stretches]))

    def publishes(self, now_s: float, columns: int) -> str:
        """The bars of publishes a minute, the present one last."""
        return bars(self._averages(now_s, columns, [one.publishes_per_minute for one in self._stretches]))

    def present(self, now_s: float, over_s: float = 2 * STEP_S) -> tuple[float, float] | None:
        """Plays a second and publishes a minute, over the last seconds; None if they are not known."""
        plays = self._average([one.plays_per_s for one in self._stretches], now_s - over_s, now_s)
        publishes = self._average(
            [one.publishes_per_minute for one in self._stretches], now_s - over_s, now_s
        )
        return None if plays is None or publishes is None else (plays, publishes)

    def _averages(self, now_s: float, columns: int, values: list[float]) -> list[float | None]:
        end_s = (now_s // STEP_S) * STEP_S + STEP_S  # so that bars stand still until the next one begins
        ends = [end_s - STEP_S * (columns - place - 1) for place in range(columns)]
        return [self._average(values, one - STEP_S, one) for one in ends]

    def _average(self, values: list[float], from_s: float, to_s: float) -> float | None:
        known_s = sum_of = 0.0
        for one, value in zip(self._stretches, values, strict=True):
            seconds = min(one.to_s, to_s) - max(one.from_s, from_s)
            if seconds > 0:
                known_s += seconds
                sum_of += seconds * value
        return sum_of / known_s if known_s else None


def bars(values: Iterable[float | None]) -> str:
    """One bar a value, as high as its part of the greatest; 0 has the lowest."""
    values = list(values)
    greatest = max((one for one in values if one is not None), default=0.0)
    return "".join(GAP if one is None else _bar(one, greatest) for one in values)


def _bar(value: float, greatest: float) -> str:
    if value <= 0 or greatest <= 0:
        return BARS[0]
    return BARS[max(1, round(value / greatest * (len(BARS) - 1)))]
