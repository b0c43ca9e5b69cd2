"""Log lines that all actors write in the same way. This module also silences the logs of libraries."""

import logging
from collections.abc import Callable

from ..core.recurring import Recurring

log = logging.getLogger(__name__)


def quiet_libraries() -> None:
    """Keep out of playtally's log what playtally logs itself.

    That is pynsq's log, tornado's access log, and what tornado says of a lost connection.

    The forkserver calls this function too, so the children that it forks inherit the quiet loggers.
    """
    for name in ("nsq", "tornado.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("tornado.general").addFilter(_is_not_of_a_lost_connection)


def _is_not_of_a_lost_connection(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(("SSL Error on", "error on read"))


class WriteOutage:
    """Logs an outage of a store: when it begins, once a minute while it lasts, and when it is over."""

    def __init__(self, monotonic_ms: Callable[[], int]):
        """`monotonic_ms` is `Host.monotonic_ms`."""
        self._monotonic_ms = monotonic_ms
        self._trouble = Recurring()

    def tried(self, failure: Exception | None) -> None:
        """Note the result of a write. `failure`: why the write failed; None if it succeeded."""
        now_ms = self._monotonic_ms()
        if failure is not None:
            if self._trouble.seen(now_ms):
                log.error("%s, trying again: nothing is lost", failure)
            return
        lasted_ms = self._trouble.over(now_ms)
        if lasted_ms is not None:
            log.info("the store can be written again, after %.1f s; nothing is lost", lasted_ms / 1000)
