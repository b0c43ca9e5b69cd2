"""The client's answers over HTTP: read within bounds, and judged.

Tornado's parsers parse the heads. Connections and requests are not this module's business.
"""

import asyncio
import email.utils
import logging
import math
import time
from datetime import UTC
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line

from ..core.dispatcher.attempts import Outcome
from .delivery import Delivery

log = logging.getLogger(__name__)

# Answers of a proxy that does not know whether the client behind it took the batch.
UNKNOWN_STATUSES = {408, 502, 504}
# 4xx that mean "not now". All others mean that the request itself is wrong.
PASSING_STATUSES = {408, 425, 429}
RETRY_AFTER_S_MAX = 10**9  # a longer pause is a mistake; publish.retry_after_max_s limits the pause further
ANSWER_HEAD_BYTES_MAX = 64 * 1024
ANSWER_BODY_BYTES_MAX = 64 * 1024
ANSWER_BODY_PATIENCE_S = 0.5
LINE_CHARACTERS_MAX = 200
INTERIM_ANSWERS_MAX = 10
TORN = "the connection closed in the middle of one"


class NothingCame(EOFError):
    """The connection closed before the first byte of an answer."""


class Answer(NamedTuple):
    """An answer. `keeps`: whether the connection can carry the next request. `body`: its first bytes."""

    status: int
    reason: str
    headers: HTTPHeaders
    keeps: bool
    body: bytes = b""


async def read_head(reader: asyncio.StreamReader) -> Answer:
    """Read the final answer's head. Raises `NothingCame`, `EOFError`, or `ValueError` if it is not HTTP."""
    for number in range(INTERIM_ANSWERS_MAX):
        try:
            first = await _read_line(reader)
        except (EOFError, ConnectionError) as error:
            if number or (error.args and error.args[0] == TORN):
                raise
            raise NothingCame(str(error)) from error
        try:
            start = parse_response_start_line(first.rstrip("\r\n"))
            head, size = "", 0
            while (line := await _read_line(reader)).strip():
                size += len(line)
                if size > ANSWER_HEAD_BYTES_MAX:
                    raise ValueError(f"its headers are longer than {ANSWER_HEAD_BYTES_MAX} bytes")
                head += line
            if start.code >= 200:
                headers = HTTPHeaders.parse(head)
                keeps = start.version == "HTTP/1.1" and headers.get("Connection", "").lower() != "close"
                return Answer(start.code, start.reason, headers, keeps)
        except HTTPInputError as error:
            raise ValueError(str(error)) from error
    raise ValueError(f"{INTERIM_ANSWERS_MAX} interim answers and no final one")


async def read_answer(reader: asyncio.StreamReader, ends_s: float) -> Answer:
    """Read an answer: the head until `ends_s` (the loop's time), and the part of the body that comes soon.

    The head decides. A body that is long, slow or broken off only costs the connection. Raises what
    `read_head` raises, and `TimeoutError`.
    """
    async with asyncio.timeout_at(ends_s):
        answer = await read_head(reader)
    body, whole = bytearray(), False
    try:
        async with asyncio.timeout(ANSWER_BODY_PATIENCE_S):
            whole = await _read_body(reader, answer, body)
    except (TimeoutError, EOFError, OSError, ValueError):
        log.debug("what followed the client's %d was not read to its end", answer.status)
    return answer._replace(keeps=answer.keeps and whole, body=bytes(body))


async def _read_body(reader: asyncio.StreamReader, answer: Answer, body: bytearray) -> bool:
    """Read the body into `body`, up to a size. Returns whether that was all."""
    if answer.status in (204, 304):
        return True
    if answer.headers.get("Transfer-Encoding", "").lower() == "chunked":
        return await _read_chunks(reader, body)
    length = answer.headers.get("Content-Length", "")
    known = _is_number(length) and int(length) <= ANSWER_BODY_BYTES_MAX
    size = int(length) if known else ANSWER_BODY_BYTES_MAX
    while len(body) < size and (piece := await reader.read(size - len(body))):
        body += piece
    return known and len(body) == size


async def _read_chunks(reader: asyncio.StreamReader, body: bytearray) -> bool:
    """Read a chunked body (RFC 9112, section 7.1). Returns whether that was all."""
    while True:
        size = int((await _read_line(reader)).partition(";")[0], 16)
        if size == 0:
            while (await _read_line(reader)).strip():
                pass  # trailers
            return True
        if not 0 < size <= ANSWER_BODY_BYTES_MAX - len(body):
            return False
        body += await reader.readexactly(size)
        if (await _read_line(reader)).strip():
            return False


async def _read_line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError(TORN if line else "the connection closed")
    return line.decode("latin1")


def judge(answer: Answer) -> Delivery:
    """What an answer means for the batch."""
    told = f"it answered {answer.status} {answer.reason}".rstrip()
    if 200 <= answer.status < 300:
        return Delivery(Outcome.ACCEPTED, notice=_page_notice(answer, told))
    if 300 <= answer.status < 400:
        leads = answer.headers.get("Location", "nowhere")
        told += f" (to {leads[:200]}); redirects are not followed: set publish.url to where it leads"
    elif line := first_line(answer.body):
        told += f": {line}"
    outcome = Outcome.UNKNOWN if answer.status in UNKNOWN_STATUSES else Outcome.REFUSED
    rejected = 400 <= answer.status < 500 and answer.status not in PASSING_STATUSES
    return Delivery(outcome, told, _retry_after_ms(answer.headers), rejected)


def _page_notice(answer: Answer, told: str) -> str:
    """A notice if the answer is an HTML page: a proxy or a login may have answered in the client's place."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != "text/html":
        return ""
    return (
        f"{told} with a page ({kind}: {first_line(answer.body)!r}), expected the client's own answer. As "
        "any 2xx it counts as accepted; if a proxy or a login stands there, correct publish.url"
    )


def first_line(body: bytes) -> str:
    """The first line of a body that is not empty, fit for a log: short, and without control characters."""
    lines = (line.strip() for line in body.decode("utf-8", "replace").splitlines())
    line = next((line for line in lines if line), "")
    return "".join(one if one.isprintable() else " " for one in line[:LINE_CHARACTERS_MAX])


def _retry_after_ms(headers: HTTPHeaders) -> int | None:
    """The pause of a Retry-After header in ms, if there is one (RFC 9110, section 10.2.3).

    A date is by the client's clock. So the pause counts from the answer's own Date, if it has one.
    """
    value = headers.get("Retry-After", "").strip()
    if _is_number(value):
        return min(int(value), RETRY_AFTER_S_MAX) * 1000
    at_s = _date_s(value)
    if at_s is None:
        return None
    answered_s = _date_s(headers.get("Date", ""))
    pause_s = at_s - (time.time() if answered_s is None else answered_s)
    return math.ceil(min(max(0.0, pause_s), RETRY_AFTER_S_MAX) * 1000)


def _date_s(value: str) -> float | None:
    """An HTTP date in seconds since 1970; None if it is not a date. A date without a time zone is in UTC."""
    try:
        at = email.utils.parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def accepts_gzip(headers: HTTPHeaders) -> bool | None:
    """Whether the client takes requests in gzip (RFC 7694); None if it does not say."""
    value = headers.get("Accept-Encoding")
    if value is None:
        return None
    for part in value.lower().split(","):
        coding, *parameters = (word.strip() for word in part.split(";"))
        if coding in ("gzip", "x-gzip"):
            return not any(one.replace(" ", "").rstrip("0") in ("q=", "q=0.") for one in parameters)
    return False


def _is_number(text: str) -> bool:
    # `int` raises for thousands of digits.
    return text.isascii() and text.isdigit() and len(text) <= 18
