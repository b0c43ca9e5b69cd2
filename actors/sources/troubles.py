"""Says what is wrong, once a minute for each cause while it lasts, and says once that it is over.

At most `LINES_MAX` causes are said in a minute.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)

REPEAT_S = 60.0
LINES_MAX = 100  # within that time: an nsqlookupd may name any number of nsqds that are none
_MORE = "more"


class Troubles:
    """The causes of trouble. A cause that comes and goes is said once a minute at most, too."""

    def __init__(self, clock: Callable[[], float]):
        """`clock`: seconds since some moment, never set."""
        self._clock = clock
        self._said_s: dict[str, float] = {}
        self._lasting: set[str] = set()

    def wrong(self, cause: str, text: str, **about: str) -> None:
        """Something is wrong. `text` says why, and what to do. `about`: what, for a field of the log."""
        now_s = self._clock()
        self._said_s = {one: at_s for one, at_s in self._said_s.items() if now_s - at_s < REPEAT_S}
        if cause in self._said_s or len(self._said_s) > LINES_MAX:
            return
        if len(self._said_s) == LINES_MAX:
            self._said_s[_MORE] = now_s
            log.warning("more than %d troubles within a minute: the others are not said", LINES_MAX)
            return
        self._said_s[cause] = now_s
        self._lasting.add(cause)
        log.warning("%s (said once a minute)", text, extra=about)

    def over(self, cause: str, text: str, **about: str) -> None:
        """It is over. Says so if it was said to be wrong. `about`: as for `wrong`."""
        if cause in self._lasting:
            self._lasting.discard(cause)
            log.info("%s", text, extra=about)

    def forget(self, cause: str) -> None:
        """The cause can't come any more."""
        self._lasting.discard(cause)
        self._said_s.pop(cause, None)
