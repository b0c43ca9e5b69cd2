"""Logs broken promises: the first at once, and once a minute how many more there were.

After an outage thousands of totals may be late. The report counts them all and keeps the first ones; a line
for each would hide everything else.
"""

import logging
from collections import Counter
from collections.abc import Sequence

from ..core.client.promises import Broken, Promise
from ..core.recurring import EVERY_MS

log = logging.getLogger(__name__)


class BrokenLog:
    """What was broken since the last line."""

    def __init__(self) -> None:
        self._counts: Counter[Promise] = Counter()
        self._first: Broken | None = None
        self._said_ms: int | None = None

    def note(self, broken: Sequence[Broken], now_ms: int) -> None:
        """Note what a publish broke, nothing included, and log a line if one is due.

        `now_ms`: of a clock that is never set.
        """
        self._counts.update(one.promise for one in broken)
        self._first = self._first or next(iter(broken), None)
        first = self._first
        if first is None or (self._said_ms is not None and now_ms - self._said_ms < EVERY_MS):
            return
        log.warning(
            "client: broken promises: %s; first: %s, batch %s, video %s, expected %s, found %s",
            ", ".join(f"{count} {promise.value}" for promise, count in sorted(self._counts.items())),
            first.promise.value,
            first.batch,
            first.video_id,
            first.expected,
            first.found,
            extra={"batch": first.batch, "video": first.video_id},
        )
        self._said_ms, self._first = now_ms, None
        self._counts.clear()
