"""Logs that too few publishes can be made for the deadlines: at once, once a minute, and when it is over."""

import logging
from collections.abc import Callable

from ..core.dispatcher.shortage import Shortage
from ..core.recurring import Recurring

log = logging.getLogger(__name__)

LOOK_EVERY_MS = 1000


class ShortageLog:
    """Looks once a second, because a look takes longer with more pending videos."""

    def __init__(self, monotonic_ms: Callable[[], int]):
        """`monotonic_ms` is `Host.monotonic_ms`."""
        self._monotonic_ms = monotonic_ms
        self._looked_ms: int | None = None
        self._trouble = Recurring()

    def look(self, shortage_at: Callable[[int], Shortage | None], in_flight_max: int) -> None:
        """Log what `shortage_at(now_ms)` returns, if a line is due.

        `in_flight_max`: how many publishes may be on their way.
        """
        now_ms = self._monotonic_ms()
        if self._looked_ms is not None and now_ms < self._looked_ms + LOOK_EVERY_MS:
            return
        self._looked_ms = now_ms
        found = shortage_at(now_ms)
        if found is not None:
            if self._trouble.seen(now_ms):
                log.warning("%s", _told(found, in_flight_max))
        elif (lasted_ms := self._trouble.over(now_ms)) is not None:
            log.info("enough publishes can be made for the deadlines again, after %.1f s", lasted_ms / 1000)


def _told(found: Shortage, in_flight_max: int) -> str:
    needed = f"the deadlines of the pending videos need {found.needed_per_s:.1f} publishes/s"
    if found.by_rate_limit:
        return (
            f"{needed}, and publish.rate_max_per_s allows {found.possible_per_s:g}: totals will be late, "
            "and none is lost. Raise publish.rate_max_per_s or dispatch.deadline_s"
        )
    return (
        f"{needed}, and the client takes {found.possible_per_s:.1f}/s (a publish takes "
        f"{found.publish_ms:.0f} ms, {in_flight_max} at once): totals will be late, and none is "
        "lost. Raise publish.in_flight_max or dispatch.deadline_s, or have the client answer sooner"
    )
