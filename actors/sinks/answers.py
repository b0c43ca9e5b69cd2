"""What a client's answer over HTTP means for the batch. Connections are not this module's business."""

import email.utils
import itertools
import math
import time
from collections.abc import Mapping
from datetime import UTC
from typing import NamedTuple

from ..core.dispatcher.attempts import About, Outcome
from .delivery import Delivery

# 4xx that mean "not now". All others mean that the request itself is wrong.
PASSING_STATUSES = {408, 425, 429}
BUSY_STATUSES = {429, 503}
# 4xx that say nothing about the videos: who is calling, where, and how. Any batch would get them.
ENDPOINT_STATUSES = {401, 402, 403, 404, 405, 406, 407, 410, 411, 417, 421, 426, 428, 431, 451}
CONFLICT = 409
TOO_LARGE = 413
UNSUPPORTED_MEDIA_TYPE = 415
RETRY_AFTER_S_MAX = 10**9  # a longer pause is a mistake; publish.retry_after_max_s limits the pause further
LINE_CHARACTERS_MAX = 200


class Answer(NamedTuple):
    """An answer. `headers`: by their names in lower case. `body`: its first bytes.

    `keeps`: whether the connection can carry the next request.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    keeps: bool
    body: bytes = b""

    @property
    def told(self) -> str:
        """Its status and reason, fit for a log."""
        return f"{self.status} {fit_for_log(self.reason)}".rstrip()


def judge(answer: Answer) -> Delivery:
    """What an answer means for the batch."""
    if 200 <= answer.status < 300:
        return Delivery(Outcome.ACCEPTED, notice=_page_notice(answer), status=str(answer.status))
    told = f"it answered {answer.told}"
    if 300 <= answer.status < 400:
        leads = fit_for_log(answer.headers.get("location", "nowhere"))
        told += f" (to {leads}); redirects are not followed: set publish.url to where it leads"
    elif line := first_line(answer.body):
        told += f": {line}"
    # An answer means that the batch was not taken, a proxy's 502 or 504 too: only no answer is unknown.
    rejected = 400 <= answer.status < 500 and answer.status not in PASSING_STATUSES
    pause_ms, server_error = _retry_after_ms(answer.headers), answer.status >= 500
    busy, about = answer.status in BUSY_STATUSES, _about(answer.status, pause_ms)
    words = ": ".join(filter(None, [answer.told, first_line(answer.body)]))
    return Delivery(
        Outcome.REFUSED,
        told,
        pause_ms,
        rejected,
        busy=busy,
        server_error=server_error,
        about=about,
        answer=words,
        status=str(answer.status),
    )


def _about(status: int, pause_ms: int | None) -> About:
    """What a refusal with this status is about."""
    if 300 <= status < 400 or status in ENDPOINT_STATUSES:
        return About.EVERYTHING
    if not 400 <= status < 500 or status in PASSING_STATUSES:
        return About.MOMENT
    if status == TOO_LARGE:
        # A 413 with Retry-After is temporary (RFC 9110, section 15.5.14).
        return About.WIDTH if pause_ms is None else About.MOMENT
    return About.CONFLICT if status == CONFLICT else About.CONTENT


def _page_notice(answer: Answer) -> str:
    """A notice if the answer is an HTML page: a proxy or a login may have answered in the client's place."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/html":
        return ""
    return (
        f"it answered {answer.told} with a page ({kind}: {first_line(answer.body)!r}), expected the client's "
        "own answer. As any 2xx it counts as accepted; if a proxy or a login stands there, correct "
        "publish.url"
    )


def first_line(body: bytes) -> str:
    """The first line of a body that is not empty, fit for a log: short, with control characters escaped."""
    lines = (line.strip() for line in body.decode("utf-8", "replace").splitlines())
    line = next((line for line in lines if line), "")
    return fit_for_log(line)


def fit_for_log(text: str) -> str:
    """The beginning of a text that came from outside, with control characters escaped."""
    if text.isprintable():
        return text[:LINE_CHARACTERS_MAX]
    fit = (one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
    return "".join(itertools.islice(fit, LINE_CHARACTERS_MAX))


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The pause of a Retry-After header in ms, if there is one (RFC 9110, section 10.2.3).

    A date is by the client's clock. So the pause counts from the answer's own Date, if it has one.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        digits = value.lstrip("0") or "0"  # `int` raises for thousands of digits
        return min(int(digits), RETRY_AFTER_S_MAX) * 1000 if len(digits) <= 18 else RETRY_AFTER_S_MAX * 1000
    at_s = _date_s(value)
    if at_s is None:
        return None
    answered_s = _date_s(headers.get("date", ""))
    pause_s = at_s - (time.time() if answered_s is None else answered_s)
    return math.ceil(min(max(0.0, pause_s), RETRY_AFTER_S_MAX) * 1000)


def _date_s(value: str) -> float | None:
    """An HTTP date in seconds since 1970; None if it is not a date. A date without a time zone is in UTC."""
    try:
        at = email.utils.parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def accepts_gzip(headers: Mapping[str, str]) -> bool | None:
    """Whether the client takes requests in gzip (RFC 7694); None if it does not say."""
    value = headers.get("accept-encoding")
    if value is None:
        return None
    for part in value.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        if coding in ("gzip", "x-gzip"):
            return not any(one.replace(" ", "").rstrip("0") in ("q=", "q=0.") for one in parameters)
    return False
