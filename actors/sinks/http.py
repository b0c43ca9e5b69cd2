"""One POST a batch, and what the answer means.

Written on plain streams because it has to tell what was never sent from what may have been taken:
tornado's simple client says the same of both (docs/decisions/0008). Heads are parsed by tornado's
parsers.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import socket
import ssl
import urllib.parse
from typing import NamedTuple

from tornado.httputil import HTTPHeaders, HTTPInputError, parse_response_start_line

from ..core.dispatching import Outcome
from ..core.outbox import Batch, payload
from ..exits import Failure
from .delivery import Delivery

log = logging.getLogger(__name__)

# Answers that a proxy gives when it does not know whether the client behind it took the batch.
UNKNOWN_STATUSES = {408, 502, 504}
RETRY_AFTER_S_MAX = 3600
ANSWER_HEAD_BYTES_MAX = 64 * 1024
ANSWER_BODY_BYTES_MAX = 64 * 1024
ANSWER_BODY_PATIENCE_S = 0.5
INTERIM_ANSWERS_MAX = 10
TORN = "the connection closed in the middle of one"
HAPPY_EYEBALLS_S = 0.25  # RFC 8305, section 8: a host's next address is tried after so long


class HttpSink:
    """POSTs a batch to the client, signed if there is a secret; the connection is kept for the next."""

    def __init__(self, url: str, timeout_s: float, secret: bytes | None):
        try:
            parts = urllib.parse.urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Failure(f"publish.url = {url!r}: {error}; expected http://host:port/path") from error
        if not host:
            raise Failure(f"publish.url = {url!r} names no host; expected http://host:port/path")
        secure = parts.scheme.lower() == "https"
        self._address = host, port or (443 if secure else 80)
        self._tls = ssl.create_default_context() if secure else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._target = urllib.parse.quote(target, safe="/?:@!$&'()*+,;=%~-._[]")
        self._headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "User-Agent": "playtally",
            "Content-Type": "application/json",
        }
        if parts.username is not None:
            pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        self._timeout_s = timeout_s
        self._secret = secret
        self._kept: Connection | None = None

    async def deliver(self, batch: Batch) -> Delivery:
        """Send a batch once."""
        ends_s = asyncio.get_running_loop().time() + self._timeout_s
        request = self._request(batch)
        kept, self._kept = self._kept, None
        if kept is not None:
            if kept.usable:
                with contextlib.suppress(NothingCame):
                    return await self._exchange(kept, request, ends_s)
            kept.close()
            # The client had closed it meanwhile. Whether it took the batch first is not known; the key
            # makes sending it again safe (RFC 9110, section 9.2.2, allows that for what is idempotent).
        try:
            async with asyncio.timeout_at(ends_s):
                fresh = Connection(
                    *await asyncio.open_connection(
                        *self._address, ssl=self._tls, limit=ANSWER_HEAD_BYTES_MAX,
                        happy_eyeballs_delay=HAPPY_EYEBALLS_S,
                    )
                )
        except TimeoutError:
            outcome = Outcome.UNKNOWN if kept else Outcome.REFUSED
            return Delivery(outcome, f"no connection within {self._timeout_s:g} s")
        except (OSError, UnicodeError) as error:
            # Nobody listens, the name does not resolve, the certificate is not trusted.
            return Delivery(Outcome.UNKNOWN if kept else Outcome.REFUSED, reason_of(error))
        try:
            return await self._exchange(fresh, request, ends_s)
        except NothingCame as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")

    async def _exchange(self, connection: "Connection", request: bytes, ends_s: float) -> Delivery:
        """Send, and judge the answer. Raises `NothingCame`."""
        # From here on the client may have the batch, whatever happens, unless it says that it has not.
        try:
            connection.writer.write(request)
            async with asyncio.timeout_at(ends_s):
                answer = await _read_answer(connection.reader)
            patience_s = asyncio.get_running_loop().time() + ANSWER_BODY_PATIENCE_S
            if await _read_over(connection.reader, answer, min(ends_s, patience_s)):
                self._kept = connection
            return _judge(answer)
        except NothingCame:
            raise
        except TimeoutError:
            return Delivery(Outcome.UNKNOWN, f"no answer within {self._timeout_s:g} s")
        except (EOFError, OSError) as error:
            return Delivery(Outcome.UNKNOWN, f"no answer: {reason_of(error)}")
        except (ValueError, HTTPInputError) as error:
            return Delivery(Outcome.UNKNOWN, f"the answer is no HTTP ({error})")
        finally:
            if self._kept is not connection:
                connection.close()

    def _request(self, batch: Batch) -> bytes:
        body = json.dumps(payload(batch), separators=(",", ":")).encode()
        headers = {**self._headers, "Idempotency-Key": batch.key, "Content-Length": str(len(body))}
        if self._secret is not None:
            digest = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-Playtally-Signature"] = f"sha256={digest}"
        lines = [f"POST {self._target} HTTP/1.1", *(f"{name}: {headers[name]}" for name in headers)]
        return "\r\n".join([*lines, "", ""]).encode() + body


class NothingCame(EOFError):
    """The connection closed before the first byte of an answer."""


class Connection:
    """A connection to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader = reader
        self.writer = writer

    @property
    def usable(self) -> bool:
        """Whether another request may go on it: open, and nothing lies in it that nobody asked for,
        as that would be taken for the next answer."""
        unasked = bool(self.reader._buffer)  # type: ignore[attr-defined] - asyncio has no other way to peek
        return not (unasked or self.reader.at_eof() or self.writer.is_closing())

    def close(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


class Answer(NamedTuple):
    """The head of what a client answered. `keeps`: the connection stays open, as far as it says."""

    status: int
    reason: str
    headers: HTTPHeaders
    keeps: bool


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    """The head of the final answer. Raises `EOFError` without one, `ValueError` when it is no HTTP."""
    for number in range(INTERIM_ANSWERS_MAX):
        try:
            first = await _read_line(reader)
        except (EOFError, ConnectionError) as error:
            if number or (error.args and error.args[0] == TORN):
                raise
            raise NothingCame(reason_of(error)) from error
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
    raise ValueError(f"{INTERIM_ANSWERS_MAX} interim answers and no final one")


async def _read_line(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError(TORN if line else "the connection closed")
    return line.decode("latin1")


async def _read_over(reader: asyncio.StreamReader, answer: Answer, until_s: float) -> bool:
    """Take what follows the head, for a while and up to a size. Whether that was all of it, so that the
    connection can be kept. The head has said all: closing early would only show in the client's log.
    """
    length = answer.headers.get("Content-Length", "")
    known = answer.status in (204, 304) or (_is_number(length) and int(length) <= ANSWER_BODY_BYTES_MAX)
    left = int(length) if known and _is_number(length) else 0 if known else ANSWER_BODY_BYTES_MAX
    try:
        async with asyncio.timeout_at(until_s):
            while left > 0 and (piece := await reader.read(left)):
                left -= len(piece)
    except (TimeoutError, OSError):
        log.debug("what followed the client's %d was not read to its end", answer.status)
    return known and left == 0 and answer.keeps


def _judge(answer: Answer) -> Delivery:
    """What an answer means for the batch."""
    if 200 <= answer.status < 300:
        return Delivery(Outcome.ACCEPTED)
    why = f"it answered {answer.status} {answer.reason}".rstrip()
    if 300 <= answer.status < 400:
        leads = answer.headers.get("Location", "nowhere")
        why += f" (to {leads[:200]}); redirects are not followed: set publish.url to where it leads"
    outcome = Outcome.UNKNOWN if answer.status in UNKNOWN_STATUSES else Outcome.REFUSED
    return Delivery(outcome, why, _retry_after_ms(answer.headers))


def _retry_after_ms(headers: HTTPHeaders) -> int | None:
    """The pause that the client asks for with Retry-After in seconds (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "")
    return min(int(value), RETRY_AFTER_S_MAX) * 1000 if _is_number(value) else None


def _is_number(text: str) -> bool:
    # No longer than that: `int` refuses thousands of digits with an error.
    return text.isascii() and text.isdigit() and len(text) <= 18


def reason_of(error: Exception) -> str:
    """Why there is no connection, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there (connection refused)"
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)  # asyncio puts the call that failed into its own text
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
