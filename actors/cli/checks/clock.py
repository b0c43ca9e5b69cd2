"""How far the clock of an nsqd is from ours. Deadlines count from nsqd's stamps, so they depend on it.

nsqd's HTTP says its time in whole seconds (the header Date). Each answer bounds the difference: the clock was
within that second at some moment between question and answer. A dozen answers within a second bound it well.
"""

import contextlib
import email.utils
import http.client
import ssl
import time
from urllib.parse import urlsplit

from msgspec import Struct

SAMPLES = 12
PAUSE_S = 0.09  # so that the answers are spread over a second
TIMEOUT_S = 2.0
SKEW_MAX_S = 0.5


class Skew(Struct, frozen=True):
    """How many seconds an nsqd's clock is ahead of ours: between `low_s` and `high_s`."""

    low_s: float
    high_s: float

    @property
    def is_large(self) -> bool:
        """Whether it is certainly more than `SKEW_MAX_S`, either way."""
        return self.low_s > SKEW_MAX_S or self.high_s < -SKEW_MAX_S

    def __str__(self) -> str:
        middle_s, about_s = (self.low_s + self.high_s) / 2, (self.high_s - self.low_s) / 2
        if abs(middle_s) <= about_s:
            return f"as ours, to within {max(abs(self.low_s), abs(self.high_s)):.2f} s"
        way = "ahead of" if middle_s > 0 else "behind"
        return f"{abs(middle_s):.2f} s {way} ours, to within {about_s:.2f} s"


def skew_of(samples: list[tuple[float, float, float]]) -> Skew | None:
    """Return the skew that fits all samples: when asked, when answered (both ours), and nsqd's second.

    All in Unix seconds. None without samples, or if a clock was set meanwhile, so that nothing fits.
    """
    if not samples:
        return None
    low_s = max(told_s - answered_s for _, answered_s, told_s in samples)
    high_s = min(told_s + 1 - asked_s for asked_s, _, told_s in samples)
    return Skew(low_s, high_s) if low_s <= high_s else None


def measure(http_address: str, tls: ssl.SSLContext | None = None) -> Skew | None:
    """Ask the nsqd whose HTTP is at `http_address` ("host:port" or a URL) for a second. Blocks.

    Returns None without usable answers.
    """
    parts = urlsplit(http_address if "://" in http_address else f"http://{http_address}")
    samples: list[tuple[float, float, float]] = []
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=tls
        )
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        connection.connect()
        for _ in range(SAMPLES):
            asked_s = time.time()
            connection.request("GET", "/ping")
            with connection.getresponse() as answer:
                date = answer.headers["Date"] or ""
                answer.read()
            told = email.utils.parsedate_to_datetime(date)
            samples.append((asked_s, time.time(), told.timestamp()))
            time.sleep(PAUSE_S)
    return skew_of(samples)
