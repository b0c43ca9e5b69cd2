"""Log lines that anybody who reaches a port can cause: one a minute of each kind, and how many more."""

import logging
from collections import Counter, defaultdict

from ..core.recurring import Recurring

log = logging.getLogger(__name__)


class Seldom:
    """The lines of one nsqd. The kinds are few: none has a stranger's text in it.

    `about`: the fields of each line.
    """

    def __init__(self) -> None:
        self.about: dict[str, str] = {}
        self._kinds: dict[str, Recurring] = defaultdict(Recurring)
        self._left_out: Counter[str] = Counter()

    def warn(self, kind: str, text: str, now_ms: int) -> None:
        """Log `text` if no line of its kind was logged for a minute."""
        if not self._kinds[kind].seen(now_ms):
            self._left_out[kind] += 1
        elif left_out := self._left_out.pop(kind, 0):
            log.warning("%s (%d more like it since the last such line)", text, left_out, extra=self.about)
        else:
            log.warning("%s", text, extra=self.about)
