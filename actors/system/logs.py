"""Log lines that all actors write in the same way. This module also silences the logs of libraries."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, MutableMapping
from typing import Any

from ..core.recurring import Recurring

log = logging.getLogger(__name__)

LIBRARY_TEXT_MAX = 300  # characters of a library's line, which may repeat what a stranger sent
# A lost connection is noticed where it is used; too long a request: see `http_stream.py`.
_SAID_BY_US = ("SSL Error on", "error on read", "Unsatisfiable read", "Reached maximum read buffer size")
_MALFORMED = "Malformed HTTP message from %s: %s"  # from None: from whom we asked


def quiet_libraries() -> None:
    """Keep out of playtally's log what playtally logs itself.

    That is pynsq's log, tornado's access log, and what tornado says of a lost connection.

    The forkserver calls this function too, so the children that it forks inherit the quiet loggers.
    """
    for name in ("nsq", "tornado.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("tornado.general").addFilter(_SELDOM)


class _Seldom(logging.Filter):
    """Lets each kind of line through once a minute, and cuts it: anybody who reaches a listener can cause it.

    A kind is a place in the code of the library. What playtally says itself is kept out, and what tornado
    says of an answer that we can't read: it does not know whom we asked, and who asked says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str, int], Recurring] = defaultdict(Recurring)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is logged. Called by logging."""
        if str(record.msg).startswith(_SAID_BY_US):
            return False
        if record.msg == _MALFORMED and isinstance(record.args, tuple) and record.args[0] is None:
            return False
        now_ms = time.monotonic_ns() // 1_000_000
        if not self._kinds[record.pathname, record.lineno].seen(now_ms):
            return False
        text = record.getMessage()
        cut = text[:LIBRARY_TEXT_MAX] + "…" if len(text) > LIBRARY_TEXT_MAX else text
        record.msg, record.args = f"{cut} (said once a minute)", ()
        return True


_SELDOM = _Seldom()


def of_batch(log: logging.Logger, key: str, nsqd: str = "") -> logging.LoggerAdapter[logging.Logger]:
    """Return `log` for lines about a batch: each begins with its key, and has it as the field "batch".

    `nsqd`: where the batch was sent to, if to an nsqd, for the field "nsqd".
    """
    return _OfBatch(log, {"batch": key, **({"nsqd": nsqd} if nsqd else {})})


class _OfBatch(logging.LoggerAdapter[logging.Logger]):
    def process(self, msg: str, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Put the key before a message. Called by logging."""
        assert self.extra is not None
        return f"batch {self.extra['batch']}: {msg}", {**kwargs, "extra": self.extra}


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
